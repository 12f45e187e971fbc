"""flatstep: the step between a gradient and the next parameters, as Deeplearning4j takes it."""

from __future__ import annotations

from pathlib import Path

from ._core import (
    __version__,
    available_isas,
    get_num_threads,
    isa,
    set_isa,
    set_num_threads,
)
from .checkpoint import load_updater
from .configuration import LayerConfiguration, MultiLayerConfiguration, ParamConfiguration
from .dl4j import DL4JModel, DL4JModelError, load_dl4j, save_dl4j
from .errors import CheckpointError, NonFiniteGradientError, ParameterKeyError
from .history import HistoryListener
from .history_plot import plot_history
from .last_step import LastStep, LayerStep, ParamStep
from .learning_rate_policy import LearningRatePolicy
from .listeners import CSVWriter, JSONLWriter, Listener, ProgressListener
from .multi_layer_updater import (
    ComputationGraphUpdater,
    LayerUpdater,
    MultiLayerUpdater,
    Slot,
    UpdaterBlock,
    aggregate,
    create_updater,
)
from .normalization import GradientNormalization
from .parameters import flatten
from .schedules import (
    CosineSchedule,
    CycleSchedule,
    ExponentialSchedule,
    FixedSchedule,
    InverseSchedule,
    MapSchedule,
    PolySchedule,
    RampSchedule,
    Schedule,
    SigmoidSchedule,
    StepSchedule,
)
from .serialization import register_updater
from .solver import StochasticGradientDescent
from .updaters import (
    AdaBelief,
    AdaDelta,
    AdaGrad,
    Adam,
    AdaMax,
    AdamW,
    AMSGrad,
    CustomUpdater,
    Nadam,
    Nesterovs,
    NoOp,
    RmsProp,
    Sgd,
    Updater,
)
from .views import as_views

__all__ = [
    "AMSGrad",
    "AdaBelief",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adam",
    "AdamW",
    "CSVWriter",
    "CheckpointError",
    "ComputationGraphUpdater",
    "CosineSchedule",
    "CustomUpdater",
    "CycleSchedule",
    "DL4JModel",
    "DL4JModelError",
    "ExponentialSchedule",
    "FixedSchedule",
    "GradientNormalization",
    "HistoryListener",
    "InverseSchedule",
    "JSONLWriter",
    "LastStep",
    "LayerConfiguration",
    "LayerStep",
    "LayerUpdater",
    "LearningRatePolicy",
    "Listener",
    "MapSchedule",
    "MultiLayerConfiguration",
    "MultiLayerUpdater",
    "Nadam",
    "Nesterovs",
    "NoOp",
    "NonFiniteGradientError",
    "ParamConfiguration",
    "ParamStep",
    "ParameterKeyError",
    "PolySchedule",
    "ProgressListener",
    "RampSchedule",
    "RmsProp",
    "Schedule",
    "Sgd",
    "SigmoidSchedule",
    "Slot",
    "StepSchedule",
    "StochasticGradientDescent",
    "Updater",
    "UpdaterBlock",
    "__version__",
    "aggregate",
    "as_views",
    "available_isas",
    "create_updater",
    "flatten",
    "get_cmake_dir",
    "get_include",
    "get_num_threads",
    "isa",
    "load_dl4j",
    "load_updater",
    "plot_history",
    "register_updater",
    "save_dl4j",
    "set_isa",
    "set_num_threads",
]


def _installed(folder: str) -> str:
    # An editable install has its Python files and what the build installs in different places.
    places = [Path(entry) / folder for entry in __path__]
    return str(next((place for place in places if place.is_dir()), places[0]))


def get_include() -> str:
    """The directory of the C++ headers: ``#include <flatstep/flatstep.hpp>``."""
    return _installed("include")


def get_cmake_dir() -> str:
    """The directory of the CMake package, for ``find_package(flatstep)``."""
    return _installed("cmake")
