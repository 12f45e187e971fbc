"""``python -m flatstep``: the demo, or one of the commands that ``--help`` shows."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
