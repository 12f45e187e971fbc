"""flatstep: the step between a gradient and the next parameters, as Deeplearning4j takes it."""

# ruff: isort: skip_file
# Sorted, each name that is imported as itself would be a statement of its own.
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import errors, layout, presets, schedules, updaters
from ._core import (
    __version__ as __version__,
    available_isas as available_isas,
    get_num_threads as get_num_threads,
    isa as isa,
    set_isa as set_isa,
    set_num_threads as set_num_threads,
)
from .averaging import aggregate as aggregate
from .configuration import (
    LayerConfiguration as LayerConfiguration,
    MultiLayerConfiguration as MultiLayerConfiguration,
    ParamConfiguration as ParamConfiguration,
)
from .dl4j import (
    DL4JModel as DL4JModel,
    DL4JModelError as DL4JModelError,
    load_dl4j as load_dl4j,
    save_dl4j as save_dl4j,
)
from .errors import *  # noqa: F403
from .last_step import LastStep as LastStep, LayerStep as LayerStep, ParamStep as ParamStep
from .layout import *  # noqa: F403
from .learning_rate_policy import LearningRatePolicy as LearningRatePolicy
from .loading import load_updater as load_updater
from .multi_layer_updater import (
    ComputationGraphUpdater as ComputationGraphUpdater,
    LayerUpdater as LayerUpdater,
    MultiLayerUpdater as MultiLayerUpdater,
    create_updater as create_updater,
)
from .normalization import GradientNormalization as GradientNormalization
from .parameters import flatten as flatten
from .schedules import *  # noqa: F403
from .settings import ParamSettings as ParamSettings, Settings as Settings
from .snapshot import Snapshot as Snapshot
from .training import (
    CSVWriter as CSVWriter,
    DynamicLossScale as DynamicLossScale,
    EarlyStopping as EarlyStopping,
    HistoryListener as HistoryListener,
    JSONLWriter as JSONLWriter,
    Listener as Listener,
    ProgressListener as ProgressListener,
    ReduceLROnPlateau as ReduceLROnPlateau,
    StochasticGradientDescent as StochasticGradientDescent,
    TensorBoardWriter as TensorBoardWriter,
    plot_history as plot_history,
)
from .updaters import *  # noqa: F403
from .views import as_views as as_views

if TYPE_CHECKING:
    from . import mpi as mpi

if not TYPE_CHECKING:  # which knows literal lists only, and exports what is imported as itself
    __all__ = [
        "CSVWriter",
        "ComputationGraphUpdater",
        "DL4JModel",
        "DL4JModelError",
        "DynamicLossScale",
        "EarlyStopping",
        "GradientNormalization",
        "HistoryListener",
        "JSONLWriter",
        "LastStep",
        "LayerConfiguration",
        "LayerStep",
        "LayerUpdater",
        "LearningRatePolicy",
        "Listener",
        "MultiLayerConfiguration",
        "MultiLayerUpdater",
        "ParamConfiguration",
        "ParamSettings",
        "ParamStep",
        "ProgressListener",
        "ReduceLROnPlateau",
        "Settings",
        "Snapshot",
        "StochasticGradientDescent",
        "TensorBoardWriter",
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
        "mpi",
        "plot_history",
        "presets",
        "save_dl4j",
        "set_isa",
        "set_num_threads",
        *errors.__all__,
        *layout.__all__,
        *schedules.__all__,
        *updaters.__all__,
    ]


def __getattr__(name: str) -> Any:
    # Who trains in one process does not wait for what many need.
    if name == "mpi":
        from importlib import import_module

        return import_module(".mpi", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _installed(folder: str) -> str:
    # An editable install has its Python files and what the build installs in different places.
    places = [Path(entry) / folder for entry in __path__]  # noqa: F405
    return str(next((place for place in places if place.is_dir()), places[0]))


def get_include() -> str:
    """The directory of the C++ headers: ``#include <flatstep/flatstep.hpp>``."""
    return _installed("include")


def get_cmake_dir() -> str:
    """The directory of the CMake package, for ``find_package(flatstep)``."""
    return _installed("cmake")
