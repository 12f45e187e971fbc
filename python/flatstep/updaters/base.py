"""The base classes of updaters."""

from __future__ import annotations

from flatstep import _core
from flatstep._coerce import take_fields
from flatstep.serialization import Named

__all__ = ["Updater"]


class Updater(Named):
    """What all updaters share: the classes of this package, and subclasses of CustomUpdater."""


class BuiltIn(Updater):
    """An updater of the core's registry, found there by the name of its class."""

    def __post_init__(self) -> None:
        take_fields(type(self).__name__, self)
        _core.validate_updater(self)
