"""The parameters of each kind of DL4J layer: names, shapes, memory orders, and what they are.

A kind is listed here where recorded runs of DL4J show its layout. Others are refused by name: a
layout that is guessed would put numbers into the wrong weights without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .json_node import Node

_MAX_DIMENSION = 2**31 - 1


@dataclass(frozen=True)
class Parameter:
    """One parameter of a layer.

    ``role`` is "weight", "bias", "statistic", or "other": what is regularised and updated as
    neither weight nor bias (BatchNormalization's gamma and beta, a visible bias).
    """

    name: str
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    role: str


def parameters_of(kind: str, layer: Node) -> list[Parameter]:
    """The parameters of a layer of ``kind``, in the order in which they lie in the flat view."""
    if kind not in _KINDS:
        layer.fail(
            f"layers of kind {kind[:80]} are not supported; flatstep knows the parameter layout of "
            f"{', '.join(sorted(_KINDS))}, and takes any layer that has no parameters"
        )
    return _KINDS[kind](layer)


def _size(layer: Node, key: str) -> int:
    return layer[key].integer(1, _MAX_DIMENSION)


def _weight(name: str, rows: int, columns: int) -> Parameter:
    return Parameter(name, (rows, columns), "F", "weight")


def _bias(layer: Node, size: int) -> list[Parameter]:
    if not layer.get("hasBias").flag(default=True):
        return []
    return [Parameter("b", (size,), "C", "bias")]


def _dense(layer: Node) -> list[Parameter]:
    if layer.get("hasLayerNorm").flag(default=False):
        layer.fail("layer normalisation (hasLayerNorm) is not supported")
    n_in, n_out = _size(layer, "nin"), _size(layer, "nout")
    return [_weight("W", n_in, n_out), *_bias(layer, n_out)]


def _auto_encoder(layer: Node) -> list[Parameter]:
    return [*_dense(layer), Parameter("vb", (_size(layer, "nin"),), "C", "other")]


def _convolution(layer: Node) -> list[Parameter]:
    kernel = [size.integer(1, _MAX_DIMENSION) for size in layer["kernelSize"]]
    if len(kernel) != 2:
        layer["kernelSize"].fail(f"expected two sizes, got {len(kernel)}")
    n_in, n_out = _size(layer, "nin"), _size(layer, "nout")
    return [*_bias(layer, n_out), Parameter("W", (n_out, n_in, *kernel), "C", "weight")]


def _lstm(layer: Node, peepholes: int = 0) -> list[Parameter]:
    n_in, n_out = _size(layer, "nin"), _size(layer, "nout")
    return [
        _weight("W", n_in, 4 * n_out),
        _weight("RW", n_out, 4 * n_out + peepholes),
        Parameter("b", (4 * n_out,), "C", "bias"),
    ]


def _graves_lstm(layer: Node) -> list[Parameter]:
    return _lstm(layer, peepholes=3)


def _batch_normalization(layer: Node) -> list[Parameter]:
    learned = [] if layer.get("lockGammaBeta").flag(default=False) else ["gamma", "beta"]
    deviation = "log10stdev" if layer.get("useLogStd").flag(default=False) else "var"
    shape = (_size(layer, "nout"),)
    return [
        *(Parameter(name, shape, "C", "other") for name in learned),
        *(Parameter(name, shape, "C", "statistic") for name in ("mean", deviation)),
    ]


_KINDS: dict[str, Callable[[Node], list[Parameter]]] = {
    "AutoEncoder": _auto_encoder,
    "BatchNormalization": _batch_normalization,
    "ConvolutionLayer": _convolution,
    "DenseLayer": _dense,
    "GravesLSTM": _graves_lstm,
    "LSTM": _lstm,
    "OutputLayer": _dense,
    "RnnOutputLayer": _dense,
}
