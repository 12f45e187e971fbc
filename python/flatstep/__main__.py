"""``python -m flatstep``: the demo, or one of the commands that ``--help`` shows."""

import os
import sys

from .cli import main


def run() -> int:
    """Run the command line, and end quietly where nobody reads on: ``python -m flatstep … | head``.

    The status is then that of a program which the closed pipe has ended, 128 + SIGPIPE.
    """
    try:
        try:
            return main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer goes nowhere, and not into another traceback at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(run())
