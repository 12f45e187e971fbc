"""Where `flatstep.training.history` was in release 0.1, for pickles and programs that name it."""

from .training.history import History, HistoryListener, LayerHistory

__all__ = ["History", "HistoryListener", "LayerHistory"]
