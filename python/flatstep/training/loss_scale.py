"""A loss scale that follows what half precision can hold: PyTorch's GradScaler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flatstep import _core
from flatstep._coerce import at_least, flag, number, wrong_type
from flatstep._shown import shown
from flatstep.errors import NonFiniteGradientError
from flatstep.network_updater import NetworkUpdater

from .scores import finite, require_like

__all__ = ["DynamicLossScale"]

_VERSION = 1
#: What a step can divide by, as powers of two: `gradient_scale` is from 1e-30 to 1e30.
_LEAST, _LARGEST = 2.0**-99, 2.0**99


class DynamicLossScale:
    """Multiplies a loss by as much as its gradients in half precision can bear.

    PyTorch's rules, those of ``torch.amp.GradScaler``. The loss is multiplied by the scale before
    the backward pass, and the step divides the gradients by it. A step whose gradients are not
    finite is not taken, and multiplies the scale by ``backoff_factor``; ``growth_interval`` steps
    in a row that are taken multiply it by ``growth_factor``. The scale is a number of float32, as
    there. One that would leave 2⁻⁹⁹ to 2⁹⁹, which a step can divide by, stays as it is.

    Micro-batches are added up by `accumulate` here, not by the updater's: a step of which one was
    refused is not taken, and all of them have one scale.

    Args:
        updater: whose steps to take, with ``on_nonfinite="raise"`` or "skip".
        init_scale: the scale to begin with.
        growth_factor: what it is multiplied by when it grows, > 1.
        backoff_factor: what it is multiplied by when a step was refused, in (0, 1).
        growth_interval: how many steps in a row make it grow, ≥ 1.

    Attributes:
        good_steps: how many steps in a row were taken at this scale.
        skipped_steps: how many were not taken.

    Raises:
        ValueError, TypeError: an argument that is none of these; the text says which.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.zeros(2, np.float32)
        >>> updater = fs.create_updater(fs.MultiLayerConfiguration(updater=fs.Sgd(1.0)), {"w": w})
        >>> loss_scale = fs.DynamicLossScale(updater, init_scale=2.0**18)
        >>> for _ in range(3):
        ...     half = loss_scale.scale(np.array([0.25, 0.5], np.float16))  # the backward pass
        ...     taken = loss_scale.step({"w": half.astype(np.float32)})
        ...     print(taken, loss_scale.value, w)
        False 131072.0 [0. 0.]
        False 65536.0 [0. 0.]
        True 65536.0 [-0.25 -0.5 ]
    """

    def __init__(
        self,
        updater: NetworkUpdater,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        where = type(self).__name__
        if not isinstance(updater, _core.Updater):
            raise TypeError(
                f"{where}: updater: expected an updater such as MultiLayerUpdater, got "
                f"{type(updater).__name__}"
            )
        if updater.configuration.on_nonfinite == "propagate":
            raise ValueError(
                f'{where}: updater: expected one with on_nonfinite="raise" or "skip", got '
                '"propagate", with which no step is refused: a scale that is too large would put '
                "NaN into the parameters, and stay"
            )
        self.updater = updater
        self._value = _legal_scale(where, "init_scale", init_scale)
        self.growth_factor = finite(where, "growth_factor", growth_factor)
        if not self.growth_factor > 1:
            raise ValueError(
                f"{where}: growth_factor: expected a finite number > 1, got {growth_factor!r}"
            )
        self.backoff_factor = finite(where, "backoff_factor", backoff_factor)
        if not 0 < self.backoff_factor < 1:
            raise ValueError(
                f"{where}: backoff_factor: expected a number in (0, 1), got {backoff_factor!r}"
            )
        self.growth_interval = at_least(1, where, "growth_interval", growth_interval)
        self.good_steps = 0
        self.skipped_steps = 0
        # Whether a micro-batch of the step to come was refused.
        self._refused = False

    @property
    def value(self) -> float:
        """The scale now."""
        return self._value

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: {self.value:g}, {self.good_steps} good steps, "
            f"{self.skipped_steps} skipped>"
        )

    def scale(self, x: Any) -> Any:
        """A loss or an array, times the scale.

        Of a NumPy array or number in half precision the product is rounded to its dtype: what is
        too large becomes an infinity, which the step will refuse.

        Raises:
            TypeError: it cannot be multiplied.
        """
        if isinstance(x, (np.ndarray, np.generic)) and _is_half(x.dtype):
            with np.errstate(over="ignore"):
                product = np.multiply(x, np.float32(self._value), dtype=np.float32)
                return product.astype(x.dtype)
        try:
            return x * self._value
        except TypeError as problem:
            where = "DynamicLossScale.scale"
            raise wrong_type(where, "x", "a number or an array", x) from problem

    def accumulate(self, gradients: Any, **arguments: Any) -> bool:
        """``updater.accumulate``, of gradients at this scale, for the next `step` without any.

        Where one micro-batch is refused, that step will not be taken, and the scale backs off.

        Args:
            gradients, arguments: as of ``updater.accumulate``.

        Returns:
            Whether they were added.

        Raises:
            TypeError, ValueError, ParameterKeyError: bad input; nothing was added.
        """
        try:
            added: bool = self.updater.accumulate(gradients, **arguments)
        except NonFiniteGradientError:
            added = False
        self._refused |= not added
        return added

    def step(self, gradients: Any = None, *, gradient_scale: float = 1.0, **arguments: Any) -> bool:
        """``updater.step``, with the gradients divided by the scale; then the scale's own rules.

        A step that is not taken leaves parameters, state and iteration as they are, and discards
        what was accumulated for it: the next one has another scale.

        Args:
            gradients: of the scaled loss, as of ``updater.step``; None: the accumulated ones, else
                the bound ones.
            gradient_scale: what the gradients are multiplied by besides, as of ``updater.step``.
            arguments: the other arguments of ``updater.step``.

        Returns:
            Whether the step was taken.

        Raises:
            TypeError, ValueError, ParameterKeyError: bad input, or gradients are given while others
                are accumulated, which would be left for a step with another scale; nothing changes.
            RuntimeError: a step of the updater is under way in another thread; nothing changes.
        """
        where = "DynamicLossScale.step"
        own = number(where, "gradient_scale", gradient_scale)
        if gradients is not None and (self._refused or self.updater.accumulated is not None):
            raise ValueError(
                f"{where}: gradients: expected none, as there are accumulated ones, of this scale; "
                "call step() with those first"
            )
        taken = not self._refused and self._take(
            gradients, gradient_scale=own / self._value, **arguments
        )
        if not taken and gradients is None:
            self.updater.discard_accumulated()
        self._refused = False
        self._update(taken)
        return taken

    def _take(self, gradients: Any, **arguments: Any) -> bool:
        """The updater's step, and whether it was taken."""
        before = self.updater.skipped_steps
        try:
            self.updater.step(gradients, **arguments)
        except NonFiniteGradientError:
            return False
        return self.updater.skipped_steps == before

    def _update(self, taken: bool) -> None:
        factor = 1.0
        if not taken:
            self.skipped_steps += 1
            self.good_steps = 0
            factor = self.backoff_factor
        elif self.good_steps + 1 >= self.growth_interval:
            self.good_steps = 0
            factor = self.growth_factor
        else:
            self.good_steps += 1
        value = _as_float32(self._value * factor)
        if _LEAST <= value <= _LARGEST:
            self._value = value

    # --------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """What `step` may change, as plain data: the scale and the counts.

        Gradients that are accumulated, and at which scale they are so, go together: keep this
        beside the updater's own checkpoint.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"0_W": np.ones(3)})
            >>> saved = fs.DynamicLossScale(updater, init_scale=1024.0).state_dict()
            >>> loss_scale = fs.DynamicLossScale(updater)
            >>> loss_scale.load_state_dict(saved)
            >>> loss_scale.value
            1024.0
        """
        return {
            "version": _VERSION,
            "value": self._value,
            "good_steps": self.good_steps,
            "skipped_steps": self.skipped_steps,
            "refused": self._refused,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave: all of it or nothing.

        Raises:
            ValueError: another version, a missing or unknown name, a count below 0, a scale that no
                step can divide by.
            TypeError: a value of another type.
        """
        where = "DynamicLossScale.load_state_dict"
        require_like(where, state_dict, self.state_dict())
        value = _legal_scale(where, "value", state_dict["value"])
        good, skipped = (
            at_least(0, where, name, state_dict[name]) for name in ("good_steps", "skipped_steps")
        )
        refused = flag(where, "refused", state_dict["refused"])
        self._value, self.good_steps, self.skipped_steps = value, good, skipped
        self._refused = refused


def _is_half(dtype: np.dtype[Any]) -> bool:
    """Whether it is float16 or bfloat16, which is of the kind V to NumPy."""
    return dtype.itemsize == 2 and dtype.kind in "fV"


def _as_float32(value: float) -> float:
    """The nearest number of float32, which PyTorch keeps the scale in; infinity beyond."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def _legal_scale(where: str, argument: str, value: Any) -> float:
    taken = _as_float32(number(where, argument, value))
    if not _LEAST <= taken <= _LARGEST:
        raise ValueError(
            f"{where}: {argument}: expected a number from 2**-99 to 2**99, got {shown(value)}"
        )
    return taken
