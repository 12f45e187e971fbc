"""What a flat vector is divided into: slots, and the blocks that order the state view."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Slot", "UpdaterBlock"]


class Slot(NamedTuple):
    """One parameter's range in the flat vector."""

    key: str
    layer: str
    param: str
    offset: int
    size: int
    shape: tuple[int, ...]
    order: Literal["C", "F"]


class UpdaterBlock(NamedTuple):
    """A run of neighbouring slots with equal updaters: what orders the state view.

    Under dl4j-0.8 every slot is a block of its own.
    """

    updater: str
    keys: tuple[str, ...]
    param_start: int
    param_end: int
    state_start: int
    state_end: int
