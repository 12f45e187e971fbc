"""The base class of updaters."""

from __future__ import annotations

from flatstep.serialization import Named

__all__ = ["Updater"]


class Updater(Named):
    """What all updaters share: the classes of this package, and subclasses of CustomUpdater."""
