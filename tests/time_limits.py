"""How much processor time a test may take where everything is slower: traced, or not optimised."""

from __future__ import annotations

import os

#: How many times longer than usual; `nox -s coverage` sets FLATSTEP_SLOWER.
SLOWER = float(os.environ.get("FLATSTEP_SLOWER", "1"))
