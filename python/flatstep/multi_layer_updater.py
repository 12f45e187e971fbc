"""The updaters: of a network, of a graph, of one layer. Pickles of 0.1 look here for `Slot`,
`UpdaterBlock` and `_restore`, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, TypeAlias

from .configuration import MultiLayerConfiguration
from .layout import Slot as Slot
from .layout import UpdaterBlock as UpdaterBlock
from .network_updater import SAVED_CLASSES, NetworkUpdater
from .network_updater import _restore as _restore
from .parameters import Arrays, KeyStyle

__all__ = [
    "UPDATER_CLASSES",
    "ComputationGraphUpdater",
    "LayerUpdater",
    "MultiLayerUpdater",
    "create_updater",
]


class MultiLayerUpdater(NetworkUpdater):
    r"""The updater of a network of numbered layers: DL4J's MultiLayerUpdater.

    Args:
        configuration: what to do.
        params: the parameters: ``{"0_W": a, "0_b": b}`` (split at the first ``_``; the layer is an
            integer), ``{0: {"W": a}}``, ``[{"W": a}, …]`` or ``[[a, b], …]`` (named by position:
            "0_0", "0_1"). NumPy arrays of one dtype, float32 or float64, C- or F-contiguous and
            writable. They stay the caller's and are updated in place; a layer's are neighbours.
        monitor: also measure ‖update‖/‖parameter‖ in each step, for `last_step`.

    Raises:
        ParameterKeyError, TypeError, ValueError: naming the parameter, what was expected and what
            to do.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> W, b = np.ones((4, 3), np.float32), np.zeros(3, np.float32)
        >>> config = fs.MultiLayerConfiguration(
        ...     updater=fs.Sgd(0.5), gradient_normalization="ClipL2PerLayer"
        ... )
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": W, "0_b": b})
        >>> updater.step({"0_W": np.zeros_like(W), "0_b": np.array([3, 0, 4], np.float32)})
        >>> b
        array([-0.3,  0. , -0.4], dtype=float32)
        >>> updater.last_step.layers["0"].gradient_norm
        5.0
    """

    key_style: ClassVar[KeyStyle] = KeyStyle.MULTI_LAYER


class ComputationGraphUpdater(NetworkUpdater):
    """The updater of a graph: layers have names, and the mapping's order is the topological one.

    Arguments as of `MultiLayerUpdater`; flat keys split at the last ``_``, and nested mappings
    ``{"fc1": {"kernel": a, "bias": b}}`` may have any names; only ``vb`` means DL4J's visible bias,
    which no updater sees outside of pretraining.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> params = {"fc1": {"kernel": np.ones((2, 2)), "bias": np.zeros(2)}}
        >>> updater = fs.ComputationGraphUpdater(fs.MultiLayerConfiguration(), params)
        >>> [slot.key for slot in updater.layout]
        ['fc1_kernel', 'fc1_bias']
    """

    key_style: ClassVar[KeyStyle] = KeyStyle.COMPUTATION_GRAPH


class LayerUpdater(NetworkUpdater):
    """The updater of one layer, whose name is "0": keys are parameter types, ``{"W": a, "b": b}``.

    Arguments as of `MultiLayerUpdater`.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> W, b = np.ones((2, 2)), np.zeros(2)
        >>> config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5))
        >>> fs.LayerUpdater(config, {"W": W, "b": b}).step({"W": np.ones((2, 2)), "b": np.ones(2)})
        >>> b
        array([-0.5, -0.5])
    """

    key_style: ClassVar[KeyStyle] = KeyStyle.LAYER


_AnyUpdater: TypeAlias = MultiLayerUpdater | ComputationGraphUpdater | LayerUpdater

#: The classes that a checkpoint can name.
UPDATER_CLASSES: dict[str, type[_AnyUpdater]] = {
    cls.__name__: cls for cls in (MultiLayerUpdater, ComputationGraphUpdater, LayerUpdater)
}
SAVED_CLASSES.update(UPDATER_CLASSES)


def create_updater(
    configuration: MultiLayerConfiguration, params: Arrays, *, monitor: bool = False
) -> _AnyUpdater:
    """The updater that fits the parameters, as DL4J's UpdaterCreator picks it.

    Numbered layers (and sequences): a `MultiLayerUpdater`. Keys without any layer: a
    `LayerUpdater`. Named layers: a `ComputationGraphUpdater`.
    """
    return _class_for(params)(configuration, params, monitor=monitor)


def _class_for(params: Arrays) -> type[_AnyUpdater]:
    if not isinstance(params, Mapping):
        return MultiLayerUpdater
    nested = any(isinstance(value, Mapping) for value in params.values())
    keys = [str(key) for key in params]
    if not nested and keys and not any("_" in key for key in keys):
        return LayerUpdater
    layers = keys if nested else [key.partition("_")[0] for key in keys]
    if all(layer.isascii() and layer.isdigit() for layer in layers):
        return MultiLayerUpdater
    return ComputationGraphUpdater
