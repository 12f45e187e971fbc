"""Learning-rate policies: the stateful decay of Deeplearning4j 0.8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from flatstep import _core
from flatstep._coerce import KnowsItsArguments, integer, number, take_fields, wrong_type

__all__ = ["LearningRatePolicy"]

# What each kind computes with. C++ says which values are legal.
_NEEDED: dict[str, tuple[str, ...]] = {
    "None": (),
    "Exponential": ("decay_rate",),
    "Inverse": ("decay_rate", "power"),
    "Step": ("decay_rate", "steps"),
    "TorchStep": ("decay_rate", "steps"),
    "Poly": ("power", "num_iterations"),
    "Sigmoid": ("decay_rate", "steps"),
    "Schedule": ("schedule",),
    "Score": ("decay_rate",),
}


@dataclass(frozen=True, repr=False)
class LearningRatePolicy(KnowsItsArguments):
    r"""Deeplearning4j 0.8's learning-rate decay, for ``semantics="dl4j-0.8"`` only.

    Unlike a schedule, a policy compounds: each step changes the rate that the step before it left,
    and the rate is part of the updater's state. With r = ``decay_rate`` and it = the iteration:

    =============  ============================================  ==============================
    kind           effect                                        needs
    =============  ============================================  ==============================
    None           nothing (switches off an inherited policy)
    Exponential    lr ← lr·r^it                                  ``decay_rate``
    Inverse        lr ← lr/(1 + r·it)^power                      ``decay_rate, power``
    Step           lr ← lr·r^⌊it/steps⌋                          ``decay_rate, steps``
    TorchStep      lr ← lr·r if it > 1 and steps % it == 0       ``decay_rate, steps``
    Poly           lr ← lr·(1 − it/num_iterations)^power         ``power, num_iterations``
    Sigmoid        lr ← lr/(1 + exp(−r·(it − steps)))            ``decay_rate, steps``
    Schedule       lr ← schedule[it] where it has the key        ``schedule``
    Score          lr ← lr·(r + 10⁻⁵) when the score stands      ``decay_rate``
    =============  ============================================  ==============================

    These are the formulas of release 0.8 to the letter, odd ones included: Exponential has decayed
    by r^(it·(it+1)/2) after step it, and TorchStep decays at the divisors of ``steps``. Poly's rate
    is 0 from ``num_iterations`` on, where 0.8 itself gives NaN. For new work use a schedule.

    Score (0.8's learningRateScoreBasedDecay) is the solver's to apply: after a step of a
    `StochasticGradientDescent` whose score s and the one before, s', have
    2·\|s − s'\| ≤ 10⁻⁵(\|s\| + \|s'\| + 10⁻⁴), unless the step changed no parameter. In a loop of
    your own call `MultiLayerUpdater.apply_learning_rate_score_decay`.

    Args:
        kind: one of the names above.
        decay_rate, steps, power, num_iterations: the numbers of the formula; those that the kind
            does not need may be given and are ignored.
        schedule: ``{iteration: learning rate}``.

    Raises:
        ValueError: an unknown kind, a needed argument is missing, or the formula cannot take a
            value.
        TypeError: an argument of another type.

    Example:
        >>> import flatstep as fs
        >>> policy = fs.LearningRatePolicy("Step", decay_rate=0.5, steps=2)
        >>> rates, rate = [], 0.1
        >>> for iteration in range(4):
        ...     rate = policy.next(rate, iteration)
        ...     rates.append(rate)
        >>> rates
        [0.1, 0.1, 0.05, 0.025]
    """

    kind: str
    decay_rate: float | None = None
    steps: float | None = None
    power: float | None = None
    num_iterations: float | None = None
    schedule: Mapping[int, float] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str):
            raise wrong_type("LearningRatePolicy", "kind", "a string", self.kind)
        if self.kind not in _NEEDED:
            names = ", ".join(f'"{name}"' for name in _NEEDED)
            raise ValueError(
                f'LearningRatePolicy: kind: expected one of {names}, got "{self.kind}"'
            )
        where = f'LearningRatePolicy "{self.kind}"'
        take_fields(where, self)
        for name in _NEEDED[self.kind]:
            if getattr(self, name) is None:
                expected = "a mapping {iteration: rate}" if name == "schedule" else "a number"
                raise ValueError(
                    f"{where}: {name}: expected {expected}, got none; "
                    f"this kind needs {' and '.join(_NEEDED[self.kind])}"
                )
        _core.validate_policy(self)

    def __repr__(self) -> str:
        given = [repr(self.kind)]
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if value is not None:
                given.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(given)})"

    def next(self, learning_rate: float, iteration: int) -> float:
        """The rate of step `iteration`, from `learning_rate`, which the step before it left."""
        return _core.policy_next(
            self,
            number("next", "learning_rate", learning_rate),
            integer("next", "iteration", iteration),
        )
