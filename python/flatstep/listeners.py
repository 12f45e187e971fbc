"""Where `flatstep.training.listeners` was in release 0.1, for pickles and programs that name it."""

from .training.listeners import CSVWriter, GroupStep, JSONLWriter, ProgressListener
from .training.solver import Listener

__all__ = ["CSVWriter", "GroupStep", "JSONLWriter", "Listener", "ProgressListener"]
