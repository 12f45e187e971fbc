"""What a row of the oracle's tables of updaters says, and what their formulas share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from oracle.schedules import raised
from oracle.settings import Schedule

Array = Any  # a NumPy array, or a Bounded one
State = Mapping[str, Array]
Result = tuple[Array, dict[str, Array]]

#: What the tests give a hyper-parameter of that name, besides its default. Those of none of these
#: names are decays, from 0 to 1.
VALUES: Mapping[str, tuple[Any, ...]] = {
    "epsilon": (1e-14, 1e-8, 1e-6, 1e-3),
    "epsilon_root": (0.0, 1e-14, 1e-8, 1e-3),
    "initial_accumulator": (0.0, 1e-8, 0.1, 1.0),
    "corrected_epsilon": (False, True),
    "bias_correction": (False, True),
    "nesterov": (False, True),
    "rate_in_velocity": (False, True),
    "epsilon_placement": ("none", "gradient", "divisor"),
    "momentum_decay": (0.0, 4e-3, 1.0),
    "threshold": (4.5, 5.0, 1e3),
    "alpha": (0.0, 5.0, 8.0),
    "weight_decay": (0.0, 1e-2),
    "warmup_steps": (0.0, 2.5, 40.0, 1e4),
    "weights": ("rate", "equal"),
    "weight_power": (0.0, 0.5, 2.0),
    "trust_coefficient": (0.0, 1e-3, 1.0),
    "trust_epsilon": (0.0, 1e-8, 1.0),
    "decay_first": (False, True),
}
#: Those that may follow a schedule.
SCHEDULED = ("learning_rate", "momentum", "beta1", "beta3", "alpha")
#: But the beta1 of these, whose formulas hold for one that stays.
CONSTANT_BETA1 = ("NAdam", "ScheduleFreeAdamW")


def may_follow_a_schedule(updater: str, argument: str) -> bool:
    """Whether an updater's hyper-parameter may."""
    return argument in SCHEDULED and not (argument == "beta1" and updater in CONSTANT_BETA1)


@dataclass(frozen=True)
class StateArray:
    """What a state array starts at, and what numbers it may hold: of either sign, or squares."""

    signed: bool = False
    #: Of the updater's hyper-parameters and the order; 0 unless given.
    initial: Callable[[Mapping[str, Any], str], float] = lambda values, semantics: 0.0
    #: Numbers beside which the formula loses no digits of g, given random shares in (0, 0.25].
    beside: Callable[[Any, Any], Any] = lambda g, share: g * g * share
    starts_at_parameter: bool = False


@dataclass(frozen=True)
class Updater:
    """All that the tests know about one updater."""

    formula: Callable[..., Result]
    #: The hyper-parameters and their defaults, in the order of the constructor's arguments.
    defaults: Mapping[str, Any]
    #: By name, in the order of the state view.
    state: Mapping[str, StateArray] = field(default_factory=dict)
    #: Arguments that the tests make it with, besides none at all.
    configurations: tuple[Mapping[str, Any], ...] = ()
    #: The bound on the rounding error of an update in which no digits cancel, in unit roundoffs: a
    #: few operations more than the formula has.
    roundoffs: int = 0
    #: Whether the formula takes the parameter, p.
    reads_parameter: bool = False
    #: What a trust ratio scales, of the hyper-parameters: the "gradient", the "direction" before
    #: its decay, the finished "update"; "" for nothing.
    trusts: Callable[[Mapping[str, Any]], str] = lambda hyper: ""
    #: That ratio, of the hyper-parameters, what is taken of p besides, ‖p‖ and ‖x‖.
    trust_ratio: Callable[[Mapping[str, Any], float, Any, Any], Any] | None = None


def moments(g: Array, state: State, beta1: float, beta2: float) -> tuple[Array, Array]:
    return beta1 * state["m"] + (1 - beta1) * g, beta2 * state["v"] + (1 - beta2) * g * g


def bias(beta: float, t: int, corrects: bool = True) -> float:
    return 1 - raised(beta, t) if corrects else 1.0


def corrected_moment(m: Array, g: Array, beta1: float, t: int, nesterov: bool) -> Array:
    """m̂, which with `nesterov` looks a step ahead."""
    if not nesterov:
        return (1 / bias(beta1, t)) * m
    return (beta1 / bias(beta1, t + 1)) * m + ((1 - beta1) / bias(beta1, t)) * g


ADAM = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
ADAM_CONFIGURATIONS: tuple[Mapping[str, Any], ...] = (
    {"learning_rate": 0.05, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-3},
    {"beta1": 0.0, "beta2": 0.0},
    {
        "learning_rate": Schedule(
            "Cycle",
            {
                "initial": 0.01,
                "max": 0.1,
                "cycle_length": 10,
                "annealing_length": 2,
                "annealing_decay": 0.5,
            },
        )
    },
    {"learning_rate": 0.0},
)

MOMENT = StateArray(signed=True, beside=lambda g, share: g * share)
SQUARE = StateArray()
