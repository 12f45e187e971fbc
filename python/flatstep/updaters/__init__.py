r"""Updaters (optimizers): how a gradient g becomes the update u that is subtracted from a
parameter.

Each class holds hyper-parameters and no state, can be compared, hashed and pickled, and is
validated when it is made: a value out of range is a ValueError, an argument of another type a
TypeError, both naming the argument. ``learning_rate`` and ``momentum`` are numbers or schedules;
most else is a number. t = iteration + 1. State arrays have their parameter's size
and start at 0 unless said; ``MultiLayerUpdater.state("0_W")`` shows them by the names given here.
The formulas are Deeplearning4j's where it has the updater, which a docstring says where they differ
from the paper's or PyTorch's; the others are those of the library that a docstring names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import (
    adafactor,
    adaptive,
    base,
    built_in,
    custom,
    further,
    layerwise,
    moments,
    muon,
    optimistic,
    schedule_free,
    sign_based,
)
from .adafactor import *  # noqa: F403
from .adaptive import *  # noqa: F403
from .base import *  # noqa: F403
from .built_in import *  # noqa: F403
from .custom import *  # noqa: F403
from .further import *  # noqa: F403
from .layerwise import *  # noqa: F403
from .moments import *  # noqa: F403
from .muon import *  # noqa: F403
from .optimistic import *  # noqa: F403
from .schedule_free import *  # noqa: F403
from .sign_based import *  # noqa: F403

if not TYPE_CHECKING:  # which knows literal lists only, and exports what comes with a star
    __all__ = sorted(
        name
        for module in (
            base,
            built_in,
            moments,
            further,
            custom,
            adafactor,
            adaptive,
            layerwise,
            muon,
            optimistic,
            schedule_free,
            sign_based,
        )
        for name in module.__all__
    )

    for _name in __all__:
        # Where programs, pickles and messages find it, whichever file it is written in.
        globals()[_name].__module__ = __name__
