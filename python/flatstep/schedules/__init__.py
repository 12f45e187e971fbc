r"""Schedules: a learning rate or momentum as a pure function of the iteration and the epoch.

A schedule goes wherever an updater takes a learning rate or a momentum. Below, i is the iteration,
or the epoch for ``schedule_type="EPOCH"``; both count from 0. Schedules hold no state, can be
compared, hashed and pickled, and are validated when they are made: a number that the formula cannot
take is a ValueError, an argument of another type a TypeError, both naming the argument. They can be
multiplied: ``0.5 * schedule``, ``schedule * schedule``.

Those that are Deeplearning4j's say so where it computes something else. A schedule in which others
stand (a ramp, a sequence, a product) is made of at most 100 such, itself included; make what would
be more a `TableSchedule`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import base, cycles, decays, sequences
from .base import *  # noqa: F403
from .cycles import *  # noqa: F403
from .decays import *  # noqa: F403
from .sequences import *  # noqa: F403

if not TYPE_CHECKING:  # which knows literal lists only, and exports what comes with a star
    __all__ = [*base.__all__, *cycles.__all__, *decays.__all__, *sequences.__all__]
    __all__.sort()

    for _name in __all__:
        if _name != "ScheduleType":
            # Where programs, pickles and messages find it, whichever file it is written in.
            globals()[_name].__module__ = __name__
