"""Muon: the momentum of a matrix, made orthogonal; AdamW for what is no matrix."""

# No postponed annotations: see built_in.py.
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

import numpy as np

from flatstep._coerce import number, take_as, wrong_type
from flatstep.schedules import Schedule

from .shipped import Ranges, Shipped, direction_of_adam

__all__ = ["Muon"]

Triple: TypeAlias = tuple[float, float, float]
Coefficients: TypeAlias = Triple | tuple[Triple, ...]


def _coefficients(where: str, argument: str, given: Any) -> Any:
    """A triple of numbers, or some of them."""
    if not isinstance(given, (tuple, list)) or len(given) == 0:
        raise wrong_type(where, argument, "three numbers, or triples of them", given)
    if any(isinstance(each, (tuple, list)) for each in given):
        return tuple(_coefficients(where, argument, each) for each in given)
    if len(given) != 3:
        raise ValueError(f"{where}: {argument}: expected three numbers, got {len(given)}")
    return tuple(number(where, argument, each) for each in given)


take_as(Coefficients, _coefficients)


@dataclass(frozen=True, eq=False)
class Muon(Shipped):
    r"""Muon: u = lr·scale·NS(m̂) for a matrix, AdamW for every other parameter.

    The momentum, ``momentum_form``: "corrected" m = β·m + (1 − β)·g, divided by 1 − βᵗ (optax);
    "average" the same, not divided (PyTorch); "sum" m = β·m + g (Keras). With ``nesterov`` it looks
    ahead: β·m + (1 − β)·g, β·m + g of a sum.

    NS is the Newton-Schulz iteration X ← a·X + (b·A + c·A²)·X, A = X·Xᵀ, which takes the singular
    values to about 1, by NumPy's matrix product. X starts divided by ‖X‖ + ε or, with
    ``epsilon_placement="floor"``, by max(‖X‖, ε). ``preconditioning`` chooses the norm:
    "frobenius", "spectral", or "aol" and "schatten", which rescale in the first iteration instead.

    The scale of a matrix of n rows and k columns: "columns" √max(1, k/n) (optax), "rows"
    √max(1, n/k) (PyTorch), "rms" rms_rate·√max(n, k) (Moonshot's, all three), "none".
    ``weight_decay``·lr·p is added for a matrix, ``adam_weight_decay``·lr·p for the rest.

    A parameter of more than two dimensions is a matrix whose rows are its first axis; with
    ``matrices="two"`` it is none, as in optax and Keras. State: m, and v for AdamW's.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; Liu et al. 2025,
    https://arxiv.org/abs/2502.16982. In NumPy, in the parameter's type: PyTorch iterates in
    bfloat16.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        momentum: β in [0, 1].
        nesterov: whether the momentum looks ahead.
        ns_coefficients: (a, b, c), or one such triple for each iteration.
        ns_steps: how many iterations.
        epsilon: ε ≥ 0.
        weight_decay: ≥ 0, of matrices.
        momentum_form: "corrected", "average" or "sum".
        epsilon_placement: "added" or "floor".
        preconditioning: "frobenius", "spectral", "aol" or "schatten".
        adaptive: whether the orthogonal update O is multiplied by ⟨m̂, O⟩.
        scale: "columns", "rows", "rms" or "none".
        rms_rate: the factor of the scale "rms".
        matrices: of how many dimensions a matrix is: "two or more", "two"; "none": all is AdamW's.
        others: what is no matrix belongs to "adamw" or is "refused" when the updater is made.
        adam_rate: the factor of lr for AdamW, ≥ 0.
        adam_beta1, adam_beta2: in [0, 1].
        adam_epsilon: ≥ 0, beside the root of the corrected v; with ``adam_dl4j`` that of v itself.
        adam_epsilon_root: ≥ 0, under that root.
        adam_weight_decay: ≥ 0.
        adam_nesterov: whether AdamW's m̂ looks ahead.
        adam_dl4j: whether AdamW is Deeplearning4j's and Keras'.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> params = {"0_W": np.eye(2), "0_b": np.zeros(2)}  # Muon for W, AdamW for b
        >>> config = fs.MultiLayerConfiguration(updater=fs.Muon(0.1))
        >>> fs.MultiLayerUpdater(config, params).step({"0_W": np.eye(2), "0_b": np.ones(2)})
        >>> params["0_b"].round(6)
        array([-0.1, -0.1])
        >>> bool(abs(params["0_W"] - 0.9 * np.eye(2)).max() < 0.05)
        True
    """

    state: ClassVar[tuple[str, ...]] = ("m", "v")
    ranges: ClassVar[Ranges] = MappingProxyType(
        {
            "momentum": (0.0, 1.0),
            "ns_steps": (0.0, None),
            "epsilon": (0.0, None),
            "weight_decay": (0.0, None),
            "adam_rate": (0.0, None),
            "adam_beta1": (0.0, 1.0),
            "adam_beta2": (0.0, 1.0),
            "adam_epsilon": (0.0, None),
            "adam_epsilon_root": (0.0, None),
            "adam_weight_decay": (0.0, None),
        }
    )
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {
            "momentum_form": ("corrected", "average", "sum"),
            "epsilon_placement": ("added", "floor"),
            "preconditioning": ("frobenius", "spectral", "aol", "schatten"),
            "scale": ("columns", "rows", "rms", "none"),
            "others": ("adamw", "refused"),
            "matrices": ("two or more", "two", "none"),
        }
    )

    learning_rate: float | Schedule = 1e-3
    momentum: float = 0.95
    nesterov: bool = True
    ns_coefficients: Coefficients = (3.4445, -4.775, 2.0315)
    ns_steps: int = 5
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    momentum_form: str = "corrected"
    epsilon_placement: str = "added"
    preconditioning: str = "frobenius"
    adaptive: bool = False
    scale: str = "columns"
    rms_rate: float = 0.2
    matrices: str = "two or more"
    others: str = "adamw"
    adam_rate: float = 1.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    adam_epsilon_root: float = 0.0
    adam_weight_decay: float = 0.0
    adam_nesterov: bool = False
    adam_dl4j: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._triples()

    def _triples(self) -> list[Triple]:
        """The coefficients of each iteration."""
        if isinstance(self.ns_coefficients[0], float):
            return [self.ns_coefficients] * self.ns_steps
        given = self.ns_coefficients
        if len(given) < self.ns_steps:
            raise ValueError(
                f"Muon: ns_coefficients: expected a triple for each of {self.ns_steps} iterations, "
                f"got {len(given)}; lower ns_steps"
            )
        return list(given[len(given) - self.ns_steps :])

    def _is_matrix(self, shape: tuple[int, ...]) -> bool:
        if self.matrices == "none":
            return False
        return len(shape) == 2 or (len(shape) > 2 and self.matrices == "two or more")

    def state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """No v for a matrix."""
        if self._is_matrix(shape):
            return {"v": (0,)}
        if self.others == "refused":
            raise ValueError(
                f"Muon: expected matrices only, got a parameter of shape {shape}; give it another "
                "updater in layers="
            )
        return {}

    def get_gradient(
        self, g: Any, state: Any, learning_rate: Any, iteration: int, parameter: Any = None
    ) -> None:
        """The formula."""
        t = iteration + 1
        if not self._is_matrix(g.shape):
            rate = learning_rate * self.adam_rate
            decay = self.adam_weight_decay * (learning_rate if self.adam_dl4j else rate)
            g[...] = rate * self._adam(g, state, t) + decay * parameter
            return
        look = self._momentum(g, state["m"], t)
        matrix = np.reshape(look, (look.shape[0], -1))
        update = self._orthogonal(matrix)
        if self.adaptive:
            update = np.sum(matrix * update) * update
        update = np.reshape(self._scale_of(matrix.shape) * update, g.shape)
        g[...] = learning_rate * (update + self.weight_decay * parameter)

    def _adam(self, g: Any, state: Any, t: int) -> Any:
        beta1, beta2 = self.adam_beta1, self.adam_beta2
        if not self.adam_dl4j:
            return direction_of_adam(
                g,
                state,
                t,
                beta1,
                beta2,
                self.adam_epsilon,
                epsilon_root=self.adam_epsilon_root,
                nesterov=self.adam_nesterov,
            )
        m, v = state["m"], state["v"]
        m[...] = beta1 * m + (1 - beta1) * g
        v[...] = beta2 * v + (1 - beta2) * np.square(g)
        return math.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + self.adam_epsilon)

    def _momentum(self, g: Any, m: Any, t: int) -> Any:
        beta = self.momentum
        if self.momentum_form == "sum":
            m[...] = beta * m + g
            return beta * m + g if self.nesterov else m.copy()
        m[...] = beta * m + (1 - beta) * g
        if self.momentum_form == "average":
            return beta * m + (1 - beta) * g if self.nesterov else m.copy()
        if self.nesterov:
            return beta * m / (1 - beta ** (t + 1)) + (1 - beta) * g / (1 - beta**t)
        return m / (1 - beta**t)

    def _scale_of(self, shape: tuple[int, ...]) -> float:
        rows, columns = shape
        if self.scale == "columns":
            return math.sqrt(max(1.0, columns / rows))
        if self.scale == "rows":
            return math.sqrt(max(1.0, rows / columns))
        return self.rms_rate * math.sqrt(max(rows, columns)) if self.scale == "rms" else 1.0

    def _orthogonal(self, matrix: Any) -> Any:
        """Newton-Schulz, on the side where X·Xᵀ is the smaller."""
        tall = matrix.shape[0] > matrix.shape[1]
        x = matrix.T if tall else matrix
        rescales = self.preconditioning in ("aol", "schatten")
        if not rescales:
            norm = float(np.linalg.norm(x, 2 if self.preconditioning == "spectral" else None))
            placed = norm + self.epsilon
            if self.epsilon_placement == "floor":
                placed = max(norm, self.epsilon)
            x = x / placed
        for place, (a, b, c) in enumerate(self._triples()):
            square = x @ x.T
            if rescales and place == 0:
                x, square = self._rescaled(x, square)
            x = a * x + (b * square + c * square @ square) @ x
        return x.T if tall else x

    def _rescaled(self, x: Any, square: Any) -> Any:
        """The first iteration's X and X·Xᵀ, each row by its own factor or all by one."""
        if self.preconditioning == "aol":
            s = 1 / np.sqrt(np.maximum(np.sum(np.abs(square), axis=-1, keepdims=True), 1e-8))
            return x * s, square * s * s.T
        s = 1 / math.sqrt(max(float(np.linalg.norm(square)), 1e-8))
        return x * s, square * (s * s)
