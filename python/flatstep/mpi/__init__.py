"""Many processes: one updater over MPI.

Every process has all parameters and takes gradients of its own; the step is that of one process on
their mean, to the bit, and each process has its part of the updater state alone. It needs mpi4py
(``pip install 'flatstep[mpi]'``) and an MPI.
"""

from __future__ import annotations

from .averaging import average
from .loading import load_updater
from .updater import DistributedUpdater

__all__ = ["DistributedUpdater", "average", "load_updater"]
