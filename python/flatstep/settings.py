"""What every parameter ends up with, of network, layer and parameter together: `settings()`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["ParamSettings", "Settings"]


class ParamSettings(NamedTuple):
    """What one parameter gets.

    Attributes:
        key: its name, ``"0_W"``.
        layer, param: the parts of it.
        bias: whether it is regularised, and given an updater, as biases are.
        updater: the name of its updater's class; AdamW is Adam with a weight decay.
        learning_rate: its rate now, as a step uses it; None where its updater has none.
        l1, l2, weight_decay: its coefficients, whatever decay filter and layer leave of them.
        strategy: how its gradient is normalised, ``"None"`` where it is not.
        threshold: of a strategy that clips; None for others.
        group: whose norm that is: "none", "layer", "parameter", "network", or "element".
        frozen: whether it does not learn.
        statistic: whether it is a running statistic, which its gradient moves as it stands.
        state_storage: how its state is kept: "full", "16bit" or "8bit".
        master: what is kept beside it where it has fewer bits than steps compute in: "split" or
            "full"; None otherwise.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> updater = fs.create_updater(fs.MultiLayerConfiguration(l2=0.5), {"W": np.ones(2)})
        >>> updater.settings()[0].l2
        0.5
    """

    key: str
    layer: str
    param: str
    bias: bool
    updater: str
    learning_rate: float | None
    l1: float
    l2: float
    weight_decay: float
    strategy: str
    threshold: float | None
    group: str
    frozen: bool
    statistic: bool
    state_storage: str = "full"
    master: str | None = None


class Settings(tuple[ParamSettings, ...]):
    """The settings of all parameters, in the order of the layout; its text is a table.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5), l2=0.001)
        >>> params = {"W1": np.ones((2, 3)), "b1": np.zeros(3)}
        >>> print(fs.create_updater(config, params).settings())
        key  layer  type  bias  updater  rate  decay     normalised
        W1   1      W           Sgd      0.5   l2 0.001
        b1   1      b     bias  Sgd      0.5
    """

    __slots__ = ()

    def __str__(self) -> str:
        columns = dict(_COLUMNS)
        if any(param.state_storage != "full" or param.master for param in self):
            columns["kept"] = _kept
        rows = [tuple(columns)]
        rows += [tuple(text(param) for text in columns.values()) for param in self]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )


def _decay(param: ParamSettings) -> str:
    coefficients = {"l1": param.l1, "l2": param.l2, "weight decay": param.weight_decay}
    return ", ".join(f"{name} {value:g}" for name, value in coefficients.items() if value)


def _normalised(param: ParamSettings) -> str:
    if param.strategy == "None":
        return ""
    at = "" if param.threshold is None else f" at {param.threshold:g}"
    return f"{param.strategy}{at}"


def _updater(param: ParamSettings) -> str:
    if param.frozen:
        return "frozen"
    return "statistic" if param.statistic else param.updater


def _kept(param: ParamSettings) -> str:
    state = "" if param.state_storage == "full" else f"{param.state_storage} state"
    return ", ".join(filter(None, (state, param.master and f"{param.master} master")))


_COLUMNS: dict[str, Callable[[ParamSettings], str]] = {
    "key": lambda param: param.key,
    "layer": lambda param: param.layer,
    "type": lambda param: param.param,
    "bias": lambda param: "bias" if param.bias else "",
    "updater": _updater,
    "rate": lambda param: "" if param.learning_rate is None else f"{param.learning_rate:.6g}",
    "decay": _decay,
    "normalised": _normalised,
}
