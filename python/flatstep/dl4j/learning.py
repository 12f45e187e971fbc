"""DL4J's updaters, schedules and regularisation, from their JSON to flatstep's.

Each is an object whose ``@class`` names it. A field that flatstep does not know is refused: it
could change the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from flatstep import schedules, updaters
from flatstep.schedules import Schedule
from flatstep.updaters import Updater

from .json_node import Node

_Built = TypeVar("_Built")
_UPDATER_PACKAGE = "org.nd4j.linalg.learning.config."
_SCHEDULE_PACKAGE = "org.nd4j.linalg.schedule."
_REGULARIZATION_PACKAGE = "org.nd4j.linalg.learning.regularization."
# The field that holds the coefficient.
_REGULARIZATIONS = {"L1Regularization": "l1", "L2Regularization": "l2", "WeightDecay": "coeff"}
_MAX_RAMPS = 4
_INT_MAX = 2**31 - 1


class _Fields(NamedTuple):
    """A class of flatstep's, and which field of DL4J's gives which of its arguments."""

    build: Callable[..., Any]
    arguments: Mapping[str, str]
    # Integers, where the Java field is one.
    integers: tuple[str, ...] = ()
    # Fields that follow from the others.
    derived: tuple[str, ...] = ()


_MOMENTS = {"beta1": "beta1", "beta2": "beta2", "epsilon": "epsilon"}

_UPDATERS: dict[str, tuple[_Fields, int]] = {
    # With the number of state arrays each parameter has.
    "AMSGrad": (_Fields(updaters.AMSGrad, _MOMENTS), 3),
    "AdaBelief": (_Fields(updaters.AdaBelief, _MOMENTS), 2),
    "AdaDelta": (_Fields(updaters.AdaDelta, {"rho": "rho", "epsilon": "epsilon"}), 2),
    "AdaGrad": (_Fields(updaters.AdaGrad, {"epsilon": "epsilon"}), 1),
    "AdaMax": (_Fields(updaters.AdaMax, _MOMENTS), 2),
    "Adam": (_Fields(updaters.Adam, _MOMENTS), 2),
    "Nadam": (_Fields(updaters.Nadam, _MOMENTS), 2),
    "Nesterovs": (_Fields(updaters.Nesterovs, {}), 1),
    "NoOp": (_Fields(updaters.NoOp, {}), 0),
    "RmsProp": (_Fields(updaters.RmsProp, {"rmsDecay": "rms_decay", "epsilon": "epsilon"}), 1),
    "Sgd": (_Fields(updaters.Sgd, {}), 0),
}
_WITHOUT_RATE = ("AdaDelta", "NoOp")

_SCHEDULES: dict[str, _Fields] = {
    "CycleSchedule": _Fields(
        schedules.CycleSchedule,
        {
            "initialLearningRate": "initial",
            "maxLearningRate": "max",
            "cycleLength": "cycle_length",
            "annealingLength": "annealing_length",
            "annealingDecay": "annealing_decay",
        },
        integers=("cycleLength", "annealingLength"),
        derived=("increment", "stepSize"),
    ),
    "ExponentialSchedule": _Fields(
        schedules.ExponentialSchedule, {"initialValue": "initial", "gamma": "gamma"}
    ),
    "InverseSchedule": _Fields(
        schedules.InverseSchedule, {"initialValue": "initial", "gamma": "gamma", "power": "power"}
    ),
    "PolySchedule": _Fields(
        schedules.PolySchedule,
        {"initialValue": "initial", "power": "power", "maxIter": "max_iter"},
        integers=("maxIter",),
    ),
    "SigmoidSchedule": _Fields(
        schedules.SigmoidSchedule,
        {"initialValue": "initial", "gamma": "gamma", "stepSize": "step"},
        integers=("stepSize",),
    ),
    "StepSchedule": _Fields(
        schedules.StepSchedule,
        {"initialValue": "initial", "decayRate": "decay_rate", "step": "step"},
    ),
}


@dataclass(frozen=True)
class ReadUpdater:
    """An updater, and how many state arrays it keeps for each parameter."""

    updater: Updater
    state_arrays: int


def read_updater(node: Node) -> ReadUpdater:
    """The updater that an ``iupdater`` or ``biasUpdater`` object describes."""
    name = node.class_name(_UPDATER_PACKAGE)
    if name not in _UPDATERS:
        node.fail(f"the updater {name[:80]} is not known; known are {', '.join(_UPDATERS)}")
    fields, state_arrays = _UPDATERS[name]
    known = set(fields.arguments)
    arguments: dict[str, Any] = _read_arguments(node, fields)
    if name not in _WITHOUT_RATE:
        known |= {"learningRate", "learningRateSchedule"}
        arguments["learning_rate"] = _value_or_schedule(
            node, "learningRate", "learningRateSchedule"
        )
    if name == "Nesterovs":
        known |= {"momentum", "momentumISchedule"}
        arguments["momentum"] = _value_or_schedule(node, "momentum", "momentumISchedule")
    _refuse_unknown(node, known, name)
    return ReadUpdater(_build(node, fields.build, arguments), state_arrays)


def _value_or_schedule(node: Node, value: str, schedule: str) -> float | Schedule:
    """A schedule wins; the plain value beside it is null or the string "NaN"."""
    return read_schedule(node[schedule]) if schedule in node else node[value].number()


def read_schedule(node: Node, ramps: int = 0) -> Schedule:
    """The schedule that an ISchedule object describes."""
    name = node.class_name(_SCHEDULE_PACKAGE)
    if name == "FixedSchedule":
        _refuse_unknown(node, {"value"}, name)
        return _build(node, schedules.FixedSchedule, {"value": node["value"].number()})
    if name == "RampSchedule":
        _refuse_unknown(node, {"baseSchedule", "numIter"}, name)
        if ramps == _MAX_RAMPS:
            node.fail("ramps inside ramps: not supported that deep")
        base = read_schedule(node["baseSchedule"], ramps + 1)
        num_iter = node["numIter"].integer(1, _INT_MAX)
        return _build(node, schedules.RampSchedule, {"base": base, "num_iter": num_iter})
    arguments: dict[str, Any] = {"schedule_type": node["scheduleType"].text()}
    if name == "MapSchedule":
        _refuse_unknown(node, {"scheduleType", "values"}, name)
        arguments["values"] = _read_map(node["values"])
        return _build(node, schedules.MapSchedule, arguments)
    if name not in _SCHEDULES:
        node.fail(f"the schedule {name[:80]} is not known")
    fields = _SCHEDULES[name]
    _refuse_unknown(node, {"scheduleType", *fields.arguments, *fields.derived}, name)
    schedule: Schedule = _build(node, fields.build, arguments | _read_arguments(node, fields))
    return schedule


def _read_map(node: Node) -> dict[int, float]:
    values = {}
    for key in node.object():
        if not (key.isascii() and key.isdigit() and len(key) <= 10):
            node.fail(f"the key {key[:40]!r} is not an iteration or epoch")
        values[int(key)] = node[key].number()
    return values


@dataclass(frozen=True)
class Regularization:
    """The sums of a list of regularisation entries, which DL4J applies one after the other."""

    l1: float = 0.0
    l2: float = 0.0
    weight_decay: float = 0.0
    weight_decay_apply_lr: bool = True


NO_REGULARIZATION = Regularization()


def read_regularization(node: Node) -> Regularization:
    """What a ``regularization`` array adds up to; null is an empty one."""
    sums = {"l1": 0.0, "l2": 0.0, "coeff": 0.0}
    apply_lr: set[bool] = set()
    for entry in node if node.value is not None else ():
        name = entry.class_name(_REGULARIZATION_PACKAGE)
        if name not in _REGULARIZATIONS:
            entry.fail(f"expected one of {', '.join(_REGULARIZATIONS)}, got {name[:80]}")
        field = _REGULARIZATIONS[name]
        _refuse_unknown(entry, {field, "applyLR"} if field == "coeff" else {field}, name)
        sums[field] += _coefficient(entry[field], name)
        if field == "coeff":
            apply_lr.add(entry["applyLR"].flag(default=True))
    if len(apply_lr) > 1:
        node.fail("one weight decay that applies the learning rate beside one that does not")
    return Regularization(sums["l1"], sums["l2"], sums["coeff"], apply_lr != {False})


def _coefficient(node: Node, name: str) -> float:
    kind = node.class_name(_SCHEDULE_PACKAGE)
    if kind != "FixedSchedule":
        node.fail(f"{name} that follows a {kind[:80]} is not supported, only a fixed coefficient")
    _refuse_unknown(node, {"value"}, kind)
    value = node["value"].number()
    if value < 0:
        node["value"].fail(f"expected a coefficient >= 0, got {value}")
    return value


def _read_arguments(node: Node, fields: _Fields) -> dict[str, float | int]:
    return {
        argument: node[field].integer(0, _INT_MAX)
        if field in fields.integers
        else node[field].number()
        for field, argument in fields.arguments.items()
    }


def _refuse_unknown(node: Node, known: set[str], name: str) -> None:
    for key in node.object():
        if key not in known and key != "@class":
            node.fail(f"{name} has a field {key[:40]!r} that flatstep does not know")


def _build(node: Node, build: Callable[..., _Built], arguments: Mapping[str, Any]) -> _Built:
    """Call ``build``, whose objections to an argument are objections to ``node``."""
    try:
        return build(**arguments)
    except (TypeError, ValueError) as error:
        node.fail(str(error))
