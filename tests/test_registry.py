"""The Python dataclasses say what the core's registry of updaters says."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

import flatstep as fs
from flatstep import _coerce, _core, configuration
from flatstep.updaters.base import BuiltIn

UPDATERS = pytest.mark.parametrize("info", _core.updater_registry(), ids=lambda info: info.name)
PARAMETERS = pytest.mark.parametrize(
    ("cls", "parameter"),
    [
        pytest.param(getattr(fs, info.name), parameter, id=f"{info.name}-{parameter.name}")
        for info in _core.updater_registry()
        for parameter in info.hyper_parameters
    ],
)


def default_of(parameter: Any) -> Any:
    """As Python has it: the core knows numbers only."""
    if parameter.kind == "choice":
        return parameter.choices[int(parameter.default)]
    if parameter.kind == "flag":
        return bool(parameter.default)
    return None if parameter.optional else parameter.default


NUMBERS = pytest.mark.parametrize(
    ("cls", "parameter"),
    [each for each in PARAMETERS.args[1] if each.values[1].kind == "number"],
)


def test_every_class_is_in_the_registry() -> None:
    """AdamW is a name for Adam with weight decay."""
    exported = {name: getattr(fs, name) for name in fs.updaters.__all__}
    names = {n for n, x in exported.items() if isinstance(x, type) and issubclass(x, BuiltIn)}
    assert names - {"AdamW"} == {info.name for info in _core.updater_registry()}


@UPDATERS
def test_arguments_and_defaults(info: Any) -> None:
    fields = dataclasses.fields(getattr(fs, info.name))
    assert [(field.name, field.default) for field in fields] == [
        (parameter.name, default_of(parameter)) for parameter in info.hyper_parameters
    ]


@UPDATERS
def test_names_of_state(info: Any) -> None:
    made = fs.MultiLayerConfiguration(updater=getattr(fs, info.name)())
    state = fs.MultiLayerUpdater(made, {"0_W": np.zeros(3)}).state("0_W")
    assert list(state) == info.state_names


@NUMBERS
def test_what_may_follow_a_schedule(cls: Any, parameter: Any) -> None:
    special = parameter.role in ("learning_rate", "momentum")
    assert (parameter.role == parameter.name) is special
    schedulable = special or parameter.role == "scheduled"
    kinds = _coerce.field_types(cls)[parameter.name]
    assert kinds == ({float, fs.Schedule} if schedulable else {float})
    made = {parameter.name: fs.FixedSchedule(0.5)}
    if schedulable:
        cls(**made)
    else:
        with pytest.raises(TypeError):
            cls(**made)


@NUMBERS
def test_ends_of_the_interval(cls: Any, parameter: Any) -> None:
    for end, included, beyond in (
        (parameter.low, parameter.low_included, -math.inf),
        (parameter.high, parameter.high_included, math.inf),
    ):
        inside, outside = math.nextafter(end, -beyond), math.nextafter(end, beyond)
        for value, legal in ((inside, True), (end, included), (outside, False)):
            if not legal or not math.isfinite(value):
                with pytest.raises(ValueError, match=f"^{cls.__name__}: {parameter.name}: "):
                    cls(**{parameter.name: value})
            else:
                assert getattr(cls(**{parameter.name: value}), parameter.name) == value


@PARAMETERS
def test_flags_and_names_of_choices(cls: Any, parameter: Any) -> None:
    values: tuple[Any, ...] = ()
    if parameter.kind == "flag":
        values = (False, True)
    elif parameter.kind == "choice":
        values = tuple(parameter.choices)
    elif parameter.optional:
        values = (None, 0.0)
    for value in values:
        assert getattr(cls(**{parameter.name: value}), parameter.name) == value
        made = fs.MultiLayerConfiguration(updater=cls(**{parameter.name: value}))
        fs.MultiLayerUpdater(made, {"0_W": np.zeros(3)})


def test_every_field_has_a_known_type() -> None:
    """But the type of a schedule, which the core takes."""
    modules = (fs.updaters, fs.schedules, configuration)
    classes = [getattr(module, name) for module in modules for name in module.__all__]
    for cls in (each for each in classes if dataclasses.is_dataclass(each)):
        for name, kinds in _coerce.field_types(cls).items():
            assert kinds in _coerce._TAKE or name == "schedule_type", f"{cls.__name__}.{name}"
