"""What a flat vector is divided into: slots, and the blocks that order the state view."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Slot", "UpdaterBlock"]


class Slot(NamedTuple):
    """One parameter's range in the flat vector.

    Attributes:
        key: its name, ``"0_W"``.
        layer, param: the parts of it.
        offset, size: where it begins in the flat vector, and how many elements it has.
        shape, order: of the parameter's array; "C" or "F".

    Example:
        >>> import numpy as np, flatstep as fs
        >>> params = {"0_W": np.ones((2, 3)), "0_b": np.zeros(3)}
        >>> updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), params)
        >>> updater.layout[1]
        Slot(key='0_b', layer='0', param='b', offset=6, size=3, shape=(3,), order='C')
    """

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

    Attributes:
        updater: the name of its class.
        keys: the slots.
        param_start, param_end: the block's range in the flat vector.
        state_start, state_end: its range in the state view.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> config = fs.MultiLayerConfiguration(updater=fs.Adam(), bias_updater=fs.Sgd())
        >>> params = {"0_W": np.ones((2, 3)), "0_b": np.zeros(3)}
        >>> for block in fs.MultiLayerUpdater(config, params).updater_blocks:
        ...     print(block.updater, block.keys, block.state_start, block.state_end)
        Adam ('0_W',) 0 12
        Sgd ('0_b',) 12 12
    """

    updater: str
    keys: tuple[str, ...]
    param_start: int
    param_end: int
    state_start: int
    state_end: int
