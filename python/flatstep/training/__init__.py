"""Training with an updater: the solver, its listeners, the history of a run, and pictures."""

from .early_stopping import EarlyStopping
from .history import History, HistoryListener, LayerHistory
from .history_plot import plot_history
from .listeners import CSVWriter, JSONLWriter, ProgressListener
from .loss_scale import DynamicLossScale
from .plateau import ReduceLROnPlateau
from .recorder import Recorder
from .solver import Listener, StochasticGradientDescent
from .tensorboard import TensorBoardWriter

__all__ = [
    "CSVWriter",
    "DynamicLossScale",
    "EarlyStopping",
    "History",
    "HistoryListener",
    "JSONLWriter",
    "LayerHistory",
    "Listener",
    "ProgressListener",
    "Recorder",
    "ReduceLROnPlateau",
    "StochasticGradientDescent",
    "TensorBoardWriter",
    "plot_history",
]
