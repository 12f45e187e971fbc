"""The updaters: of a network, of a graph, of one layer. Pickles of 0.1 look here for `Slot`,
`UpdaterBlock` and `_restore`, too."""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

from numpy.typing import NDArray

from .configuration import MultiLayerConfiguration
from .layout import Slot as Slot
from .layout import UpdaterBlock as UpdaterBlock
from .names import LayerOf, named_by_rules
from .network_updater import SAVED_CLASSES, NamedParameters, NetworkUpdater
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
            writable. They stay the caller's and are updated in place. The layout has a layer's
            next to each other. `create_updater` takes any names.
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


_STYLES: dict[KeyStyle, type[_AnyUpdater]] = {
    cls.key_style: cls for cls in UPDATER_CLASSES.values()
}


def create_updater(
    configuration: MultiLayerConfiguration,
    params: Arrays | NDArray[Any],
    *,
    layer_of: LayerOf | None = None,
    monitor: bool = False,
) -> _AnyUpdater:
    """The updater for parameters in whatever form they are; it picks the class.

    ``{"W1": a, "b1": b, "W2": …}``, ``{"Wxh": …, "Whh": …, "bh": …}``, ``{"enc.fc1.weight": …}``,
    nested dicts of any depth, sequences, one bare array: gradients are given in the same form, by
    the same keys. `MultiLayerUpdater.settings` shows what came of it.

    The layer that a key of a flat dict names is, by the first rule that fits all the key:

    1. what stands before the last ``.`` or ``/``: ``enc.fc1.weight`` is weight of layer enc.fc1;
    2. what stands before ``_`` and the name of a parameter (W, w, U, u, V, v, b, weight, bias,
       kernel, gamma, beta), or after such a name and ``_``: ``enc_W`` is W of layer enc, ``W_out``
       W of layer out;
    3. a trailing number: ``W1`` and ``conv_1`` are W and conv of layer 1, and ``enc_W1`` is W of
       layer enc1;
    4. what stands before the last ``_``: ``fc1_scale`` is scale of layer fc1;
    5. none. Where all keys are such, they are one layer, else each is a layer of its own.

    Where all keys begin with a number and ``_``, they are DL4J's, ``0_W``: only that counts. The
    names and positions of nested dicts and lists are layers down to the last,
    ``{"enc": {"fc1": {"weight": a}}}``, ``{"blocks": [{"W": a}, …]}``. Arrays
    of one layer come next to each other in the layout, in the order of their first one; a flat
    gradient is in the layout's order.

    Args:
        configuration: what to do.
        params: the parameters; as of `MultiLayerUpdater`, or one array.
        layer_of: a function of a flat dict's key that says its layer, or a pair of layer and
            parameter type, where these rules do not.
        monitor: as of `MultiLayerUpdater`.

    Returns:
        A `MultiLayerUpdater` where all layers are numbers, a `LayerUpdater` where there is one
        layer without a name, else a `ComputationGraphUpdater`.

    Raises:
        ParameterKeyError: two keys are read as one parameter of one layer; and as of
            `MultiLayerUpdater`.
        TypeError, ValueError: as of `MultiLayerUpdater`.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> params = {"W1": np.ones((2, 3)), "b1": np.zeros(3), "W2": np.ones((3, 1))}
        >>> updater = fs.create_updater(fs.MultiLayerConfiguration(updater=fs.Sgd(0.5)), params)
        >>> [(slot.key, slot.layer, slot.param) for slot in updater.layout]
        [('W1', '1', 'W'), ('b1', '1', 'b'), ('W2', '2', 'W')]
        >>> w = np.ones(2)
        >>> fs.create_updater(fs.MultiLayerConfiguration(updater=fs.Sgd(0.5)), w).step(np.ones(2))
        >>> w
        array([0.5, 0.5])
    """
    named, style = named_by_rules(params, layer_of)
    return _STYLES[style](configuration, NamedParameters(named), monitor=monitor)
