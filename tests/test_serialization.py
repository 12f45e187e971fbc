"""Configurations to dicts and JSON and back: everything by name, and nothing that is not known."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any

import network_strategies
import networks
import numpy as np
import pytest
from hypothesis import given, settings
from oracle.schedules import EXAMPLES
from snapshots import bits
from updater_table import BUILT_IN, CONFIGURATIONS, HeavyBall, UpdaterRow, configuration_id

import flatstep as fs
from flatstep import schedules as schedule_module
from flatstep import serialization

Configuration = fs.MultiLayerConfiguration


@pytest.fixture(autouse=True)
def _only_heavy_ball_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialization, "_registered", {"HeavyBall": HeavyBall})


def there_and_back(config: Any) -> Any:
    """The data that `config` becomes, having checked that it becomes `config` again."""
    data = config.to_dict()
    text = config.to_json()
    assert json.loads(text) == data
    assert bits(json.loads(text)) == bits(data)
    for read in (Configuration.from_dict(data), Configuration.from_json(text)):
        assert read == config
        assert hash(read) == hash(config)
        assert read.to_json() == text
    assert Configuration.from_json(config.to_json(indent=2)) == config
    return data


def refusal(call: Any, exception: type[Exception]) -> str:
    with pytest.raises(exception) as caught:
        call()
    assert caught.type is exception
    return str(caught.value)


# ------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize(("row", "arguments"), CONFIGURATIONS, ids=configuration_id)
def test_every_updater(row: UpdaterRow, arguments: Any) -> None:
    """Every hyper-parameter is there by name, given or not; None says nothing."""
    data = there_and_back(Configuration(updater=row.constructor(**arguments)))["updater"]
    assert data["class"] == row.name
    values = {**row.defaults, **arguments}
    assert set(data) == {"class", *(name for name, value in values.items() if value is not None)}
    for name in set(data) - {"class"}:
        value = values[name]
        if isinstance(value, schedule_module.Schedule):
            assert data[name]["class"] == type(value).__name__
        else:
            assert data[name] == value


SCHEDULES = tuple(map(networks.schedule, EXAMPLES))


def test_the_schedules_are_all_there_are() -> None:
    made = {type(schedule).__name__ for schedule in SCHEDULES}
    assert made == {name for name in schedule_module.__all__ if name.endswith("Schedule")} - {
        "Schedule"
    }


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_every_schedule(schedule: Any) -> None:
    data = there_and_back(
        Configuration(
            updater=fs.Nesterovs(schedule, momentum=schedule), bias_learning_rate=schedule
        )
    )
    names = {field.name for field in dataclasses.fields(schedule)}
    for found in (data["updater"]["learning_rate"], data["bias_learning_rate"]):
        assert set(found) == {"class", *names}


def test_keys_of_a_map_are_strings_in_numeric_order() -> None:
    data = there_and_back(Configuration(updater=fs.Sgd(fs.MapSchedule({10: 0.5, 9: 1.0, 0: 2.0}))))
    values = data["updater"]["learning_rate"]["values"]
    assert list(values.items()) == [("0", 2.0), ("9", 1.0), ("10", 0.5)]


POLICIES = (
    fs.LearningRatePolicy("None"),
    fs.LearningRatePolicy("Exponential", decay_rate=0.9),
    fs.LearningRatePolicy("Inverse", decay_rate=0.9, power=0.5),
    fs.LearningRatePolicy("Step", decay_rate=0.9, steps=3),
    fs.LearningRatePolicy("TorchStep", decay_rate=0.9, steps=3),
    fs.LearningRatePolicy("Poly", power=2, num_iterations=100),
    fs.LearningRatePolicy("Sigmoid", decay_rate=0.9, steps=3, power=7),
    fs.LearningRatePolicy("Schedule", schedule={3: 0.1, 0: 0.2, 20: 0.3}),
)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.kind)
def test_every_policy(policy: Any) -> None:
    config = Configuration(
        semantics="dl4j-0.8",
        learning_rate_policy=policy,
        layers={"0": fs.LayerConfiguration(learning_rate_policy=policy)},
    )
    data = there_and_back(config)
    assert data["learning_rate_policy"]["kind"] == policy.kind
    assert data["layers"]["0"]["learning_rate_policy"] == data["learning_rate_policy"]


@settings(max_examples=30)
@given(network_strategies.network_specs())
def test_any_network(spec: Any) -> None:
    there_and_back(networks.configuration(spec))


# One of everything. This is the form, version 1: a change of it needs a new version, and whatever
# is here must be read for ever.
EVERYTHING = Configuration(
    updater=fs.Adam(fs.MapSchedule({0: 0.1, 100: 0.01}), beta1=0.8),
    bias_updater=fs.NoOp(),
    gradient_normalization="ClipL2Global",
    gradient_normalization_threshold=2,
    l1=1 / 3,
    l2=1e-300,
    weight_decay_apply_lr=False,
    on_nonfinite="skip",
    bias_params=("b",),
    layers={
        "10": fs.LayerConfiguration(
            updater=fs.Nesterovs(momentum=fs.FixedSchedule(0.5)), momentum_schedule={}
        ),
        "2": fs.LayerConfiguration(
            gradient_normalization="None",
            kind="BatchNormalization",
            frozen=True,
            params={
                "mean": fs.ParamConfiguration(statistic=True),
                "W": fs.ParamConfiguration(updater=fs.AdaDelta(), l2=0.0, learning_rate=1),
            },
        ),
    },
)
#: As 0.1 wrote it: what came to an updater since then has its default.
SINCE_0_1 = '"corrected_epsilon": false, "bias_correction": true'
NETWORKS_SINCE_0_1 = (
    '"maximize": false, "gradient_normalization_epsilon": 0.0, "state_storage": "full", '
    '"storage_seed": 0'
)
VERSION_1 = """
{"version": 1,
 "updater": {"class": "Adam",
  "learning_rate": {"class": "MapSchedule", "values": {"0": 0.1, "100": 0.01},
   "schedule_type": "ITERATION"},
  "beta1": 0.8, "beta2": 0.999, "epsilon": 1e-08},
 "bias_updater": {"class": "NoOp"},
 "gradient_normalization": "ClipL2Global", "gradient_normalization_threshold": 2.0,
 "l1": 0.3333333333333333, "l2": 1e-300, "l1_bias": 0.0, "l2_bias": 0.0,
 "weight_decay": 0.0, "weight_decay_bias": 0.0, "weight_decay_apply_lr": false,
 "mini_batch": true, "semantics": "dl4j-1.0", "on_nonfinite": "skip", "bias_params": ["b"],
 "layers": {
  "2": {"gradient_normalization": "None", "kind": "BatchNormalization", "frozen": true,
   "pretrain": false,
   "params": {
    "W": {"updater": {"class": "AdaDelta", "rho": 0.95, "epsilon": 1e-06},
     "learning_rate": 1.0, "l2": 0.0},
    "mean": {"statistic": true}}},
  "10": {"updater": {"class": "Nesterovs", "learning_rate": 0.1,
    "momentum": {"class": "FixedSchedule", "value": 0.5, "schedule_type": "ITERATION"}},
   "momentum_schedule": {}, "frozen": false, "pretrain": false, "params": {}}}}
"""


def test_version_1() -> None:
    assert Configuration.from_json(VERSION_1) == EVERYTHING
    there_and_back(EVERYTHING)
    written = VERSION_1.replace('"epsilon": 1e-08', f'"epsilon": 1e-08, {SINCE_0_1}')
    written = written.rstrip()[:-1] + f", {NETWORKS_SINCE_0_1}}}"
    assert EVERYTHING.to_json() == re.sub(r"\n *", " ", written).replace("{ ", "{").strip()


def test_equal_configurations_are_written_alike() -> None:
    """In whatever order their mappings were made."""
    layers = dict(sorted(EVERYTHING.layers.items(), reverse=True))
    other = dataclasses.replace(EVERYTHING, layers=layers)
    assert list(other.layers) != list(EVERYTHING.layers)
    assert other == EVERYTHING
    assert other.to_json() == EVERYTHING.to_json()


def test_what_is_missing_has_its_default() -> None:
    assert Configuration.from_dict({"version": 1}) == Configuration()
    read = Configuration.from_json('{"version": 1, "l2": 1, "updater": {"class": "Adam"}}')
    assert read == Configuration(l2=1.0, updater=fs.Adam())


def test_dicts_may_have_integers_as_iterations_and_layers() -> None:
    data = {
        "version": 1,
        "semantics": "dl4j-0.8",
        "updater": {"class": "Nesterovs"},
        "momentum_schedule": {3: 0.8},
        "layers": {7: {"frozen": True}},
    }
    assert Configuration.from_dict(data) == Configuration(
        semantics="dl4j-0.8",
        updater=fs.Nesterovs(),
        momentum_schedule={3: 0.8},
        layers={"7": fs.LayerConfiguration(frozen=True)},
    )
    assert data["version"] == 1  # what is given is left alone


# -------------------------------------------------------------------------------------- refusals

NAMES = ", ".join(sorted(["HeavyBall", *(row.name for row in BUILT_IN)]))
UPDATER = "configuration.updater"
# (the JSON text without '{"version": 1, ', exception, text)
REFUSED: dict[str, tuple[str, type[Exception], str]] = {
    "a field": (
        '"layers": {"2": {"params": {"W": {"lr": 1}}}}}',
        ValueError,
        "configuration.layers.2.params.W: unknown field lr; expected updater, learning_rate, "
        "learning_rate_policy, momentum_schedule, l1, l2, weight_decay, weight_decay_apply_lr, "
        "statistic, learning_rate_scale, pretrain_only, state_storage, master",
    ),
    "a field of the policy": (
        '"learning_rate_policy": {"kind": "None", "class": "LearningRatePolicy"}}',
        ValueError,
        "configuration.learning_rate_policy: unknown field class; expected kind, decay_rate, "
        "steps, power, num_iterations, schedule",
    ),
    "an argument": (
        '"updater": {"class": "Adam", "beta1": 0.5, "beta3": 1, "amsgrad": true}}',
        ValueError,
        f"{UPDATER}: unknown field beta3, amsgrad; expected learning_rate, beta1, beta2, epsilon, "
        "corrected_epsilon, bias_correction",
    ),
    "an argument of none": (
        '"updater": {"class": "NoOp", "learning_rate": 1}}',
        ValueError,
        f"{UPDATER}: unknown field learning_rate; expected none",
    ),
    "a missing argument": (
        '"updater": {"class": "Sgd", "learning_rate": {"class": "StepSchedule", "initial": 1}}}',
        ValueError,
        f"{UPDATER}.learning_rate: expected the field decay_rate, got none",
    ),
    "a missing kind": (
        '"learning_rate_policy": {"decay_rate": 1}}',
        ValueError,
        "configuration.learning_rate_policy: expected the field kind, got none",
    ),
    "a value out of range": (
        '"updater": {"class": "Adam", "beta1": 2}}',
        ValueError,
        f"{UPDATER}: Adam: beta1: expected a number in [0, 1], got 2",
    ),
    "a value of another type": (
        '"updater": {"class": "Adam", "beta1": null}}',
        TypeError,
        f"{UPDATER}: Adam: beta1: expected a number or a schedule, got None of type NoneType",
    ),
    "settings that do not go together": (
        '"weight_decay": 0.5, "semantics": "dl4j-0.8"}',
        ValueError,
        'configuration: network: weight_decay: expected 0 under semantics="dl4j-0.8", whose order '
        'has no place for weight decay, got 0.5; use l2, or semantics="dl4j-1.0"',
    ),
    "a schedule as the updater": (
        '"updater": {"class": "FixedSchedule", "value": 1}}',
        TypeError,
        "configuration: MultiLayerConfiguration: updater: expected an updater such as Adam() or "
        "Sgd(0.1), got FixedSchedule(value=1.0, schedule_type='ITERATION') of type FixedSchedule",
    ),
    "an updater as a rate": (
        '"updater": {"class": "Sgd", "learning_rate": {"class": "NoOp"}}}',
        TypeError,
        f"{UPDATER}: Sgd: learning_rate: expected a number or a schedule, got NoOp() of type NoOp",
    ),
    "a list as the layers": (
        '"layers": [{}]}',
        TypeError,
        "configuration.layers: expected an object, got [{}] of type list",
    ),
    "a number as a layer": (
        '"layers": {"0": 7}}',
        TypeError,
        "configuration.layers.0: expected an object, got 7 of type int",
    ),
    "a fraction of an iteration": (
        '"momentum_schedule": {"1.0": 0.5}}',
        ValueError,
        "configuration.momentum_schedule: expected different integers as keys, got '1.0'",
    ),
    "another way to write an iteration": (
        '"momentum_schedule": {"1": 0.5, "01": 0.5}}',
        ValueError,
        "configuration.momentum_schedule: expected different integers as keys, got '01'",
    ),
    "an iteration out of range": (
        '"momentum_schedule": {"9999999999999999999": 0.5}, "semantics": "dl4j-0.8"}',
        ValueError,
        "configuration: iteration: expected an integer of 64 bits, got 9999999999999999999",
    ),
    "a number out of float's range": (
        f'"l1": 1{"0" * 400}}}',
        ValueError,
        "configuration: MultiLayerConfiguration: l1: expected a number below 1e308, got an integer "
        "of 1329 bits",
    ),
}


@pytest.mark.parametrize(("text", "exception", "expected"), REFUSED.values(), ids=REFUSED)
def test_refused(text: str, exception: type[Exception], expected: str) -> None:
    text = '{"version": 1, ' + text
    assert refusal(lambda: Configuration.from_json(text), exception) == expected
    assert refusal(lambda: Configuration.from_dict(json.loads(text)), exception) == expected


@pytest.mark.parametrize("name", ['"Foo"', '"HeavyBalls"', "null", "7", '["Adam"]', '"object"'])
def test_unknown_classes_are_refused_by_name(name: str) -> None:
    text = '{"version": 1, "layers": {"3": {"updater": {"class": ' + name + "}}}}"
    message = refusal(lambda: Configuration.from_json(text), ValueError)
    assert message.startswith("configuration.layers.3.updater: class: expected one of ")
    for row in BUILT_IN:
        assert f" {row.name}," in message
    assert message.endswith(
        f"HeavyBall, got {json.loads(name)!r}; a CustomUpdater's class must be registered before: "
        "flatstep.register_updater(cls)"
    )


@pytest.mark.parametrize("version", ["0", "2", "1.0", "true", '"1"', "null"])
def test_other_versions_are_refused(version: str) -> None:
    text = '{"version": ' + version + ', "future": 1}'
    message = refusal(lambda: Configuration.from_json(text), ValueError)
    got = f"configuration: version: expected 1, got {json.loads(version)!r}"
    assert message == got + (
        "; a newer flatstep wrote it, which can read it" if version == "2" else ""
    )
    assert refusal(lambda: Configuration.from_json("{}"), ValueError).endswith("got None")


NO_JSON = {
    "": "Expecting value: line 1 column 1 (char 0)",
    '{"version": 1': "Expecting ',' delimiter: line 1 column 14 (char 13)",
    "{'version': 1}": "Expecting property name enclosed in double quotes",
    '{"version": 1} 2': "Extra data: line 1 column 16 (char 15)",
    '{"version": 1, "l1": NaN}': "expected a finite number, got NaN",
    '{"version": 1, "l1": Infinity}': "expected a finite number, got Infinity",
    '{"version": 1, "l1": -Infinity}': "expected a finite number, got -Infinity",
    '{"version": 1, "l1": 1e999}': "expected a finite number, got 1e999, which is out of range",
    '{"version": 1, "l1": 0.5, "l1": 0.5}': 'expected each key once, got "l1" twice',
    '{"version": 1, "layers": {"\\ud800": {}}}': "surrogates not allowed",
    "[" * 100_000: "expected less nesting",
    '{"version": 1, "l1": 1' + "0" * 5000 + "}": "",
}


@pytest.mark.parametrize(("text", "why"), NO_JSON.items(), ids=lambda text: text[:40])
def test_json_is_read_strictly(text: str, why: str) -> None:
    message = refusal(lambda: Configuration.from_json(text), ValueError)
    assert message.startswith("configuration: ")
    assert why in message


def ramps(depth: int) -> str:
    ramp = '{"class": "RampSchedule", "num_iter": 1, "base": '
    rate = ramp * depth + "1" + "}" * depth
    return '{"version": 1, "updater": {"class": "Sgd", "learning_rate": ' + rate + "}}"


def test_nesting() -> None:
    """Deeper than Python's stack, but not than the parser's, is refused as well."""
    assert Configuration.from_json(ramps(50)).to_json().count("RampSchedule") == 50
    message = refusal(lambda: Configuration.from_json(ramps(900)), ValueError)
    assert message.endswith("expected less nesting")


def test_what_is_no_text_or_object_is_refused() -> None:
    for data in (b'{"version": 1}', {"version": 1}, None):
        message = refusal(lambda data=data: Configuration.from_json(data), TypeError)
        assert message.startswith("configuration: JSON: expected a string, got ")
    for data in ([], "{}", None, 1):
        message = refusal(lambda data=data: Configuration.from_dict(data), TypeError)
        assert message == (
            f"configuration: expected an object, got {data!r} of type {type(data).__name__}"
        )


def test_numbers_that_json_has_not() -> None:
    """They can only be where they have no effect."""
    config = Configuration(gradient_normalization_threshold=float("inf"))
    assert refusal(config.to_json, ValueError) == (
        "configuration.gradient_normalization_threshold: expected a finite number, as JSON has no "
        "others, got inf"
    )
    policy = fs.LearningRatePolicy("None", decay_rate=float("nan"))
    config = Configuration(layers={"1": fs.LayerConfiguration(learning_rate_policy=policy)})
    assert refusal(config.to_dict, ValueError).startswith(
        "configuration.layers.1.learning_rate_policy.decay_rate: expected a finite number"
    )


def test_subclasses_are_refused() -> None:
    """What they add would be lost."""

    class Eager(fs.Adam):
        pass

    class Ramp(fs.RampSchedule):
        pass

    class Layer(fs.LayerConfiguration):
        pass

    class Network(Configuration):
        pass

    for config, where in (
        (Configuration(updater=Eager()), "configuration.updater: "),
        (Configuration(updater=fs.Sgd(Ramp(1.0, 2))), "configuration.updater.learning_rate: "),
        (Configuration(layers={"0": Layer()}), "configuration.layers.0: "),
        (Network(), "configuration: "),
    ):
        message = refusal(config.to_dict, TypeError)
        assert message.startswith(f"{where}what is saved: expected ")


# -------------------------------------------------------------------------------- own updaters


class Own(fs.CustomUpdater):
    """An updater whose arguments are of every kind."""

    state = ("x",)

    def __init__(self, *, learning_rate: Any = 0.1, inner: Any = None, options: Any = ()) -> None:
        self.learning_rate = learning_rate
        self.inner = inner
        self.options = options
        self.initial_state = {"x": 1.0}  # public, and no argument

    def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
        g *= 2


def test_own_updaters_must_be_registered() -> None:
    config = Configuration(updater=Own(learning_rate=0.5))
    assert refusal(config.to_json, ValueError) == (
        "configuration.updater: expected an updater that files can name, got "
        f"{config.updater!r}, whose class is not registered; call flatstep.register_updater(Own) "
        "once, after its definition"
    )
    text = '{"version": 1, "updater": {"class": "Own"}}'
    assert "got 'Own'; a CustomUpdater's class" in refusal(
        lambda: Configuration.from_json(text), ValueError
    )
    assert fs.register_updater(Own) is Own
    assert fs.register_updater(Own) is Own
    there_and_back(config)
    assert Configuration.from_json(text).updater == Own()


def test_arguments_of_own_updaters() -> None:
    fs.register_updater(Own)
    schedule = fs.StepSchedule(0.1, 0.5, 10)
    options = (1, 2.5, "text", None, True, [schedule, fs.Adam(schedule)], np.float32(0.1))
    updater = Own(learning_rate=schedule, inner=fs.AdaMax(0.25), options=options)
    data = there_and_back(Configuration(updater=updater))["updater"]
    assert list(data) == ["class", "learning_rate", "inner", "options"]
    assert data["inner"]["class"] == "AdaMax"
    assert data["options"][:5] == [1, 2.5, "text", None, True]
    assert data["options"][6] == float(np.float32(0.1))


def test_arguments_that_cannot_be_saved() -> None:
    fs.register_updater(Own)
    for options, exception, text in (
        (object, TypeError, "configuration.updater.options: what is saved: expected plain data"),
        (np.ones(2), TypeError, "configuration.updater.options: what is saved: expected plain"),
        ([1, {"a": 1}], ValueError, "configuration.updater.options[1]: class: expected one of"),
        ({"a": 1}, TypeError, "configuration.updater: Own.options: expected plain data but no map"),
        (float("nan"), ValueError, "configuration.updater.options: expected a finite number"),
        (HeavyBall(float("inf")), ValueError, "configuration.updater.options.learning_rate: exp"),
    ):
        updater = Own(options=options)
        data = serialization._plain
        assert refusal(lambda u=updater, d=data: d(UPDATER, u), exception).startswith(text)


def test_arguments_of_own_updaters_are_refused_by_name() -> None:
    text = '{"version": 1, "updater": {"class": "HeavyBall", "decay": 0.5, "dampening": 1}}'
    assert refusal(lambda: Configuration.from_json(text), ValueError) == (
        "configuration.updater: unknown field dampening; expected learning_rate, decay"
    )


def test_constructors_that_do_not_keep_their_arguments() -> None:
    class Private(Own):
        def __init__(self, decay: float = 0.5) -> None:
            super().__init__()
            self._decay = decay

    class Lossy(Own):
        def __init__(self, learning_rate: float = 0.5) -> None:
            super().__init__(learning_rate=learning_rate / 2)

    fs.register_updater(Private)
    fs.register_updater(Lossy)
    assert refusal(Configuration(updater=Private()).to_dict, ValueError) == (
        "configuration.updater: Private: expected its constructor's argument decay in the public "
        "attribute decay, which is not there"
    )
    updater = Lossy()
    assert refusal(Configuration(updater=updater).to_dict, ValueError) == (
        "configuration.updater: expected an updater that its constructor makes again from its "
        f"arguments, got {updater!r}, which Lossy(learning_rate) does not"
    )


def own_classes() -> Iterator[tuple[Any, type[Exception], str]]:
    """What cannot be registered."""

    class Abstract(fs.CustomUpdater):
        pass

    class Star(Own):
        def __init__(self, *rates: float) -> None:
            super().__init__()

    class Keywords(Own):
        def __init__(self, **options: float) -> None:
            super().__init__()

    expected = "register_updater: expected a subclass of CustomUpdater that has get_gradient, got "
    yield Abstract, TypeError, f"{expected}{Abstract!r}"
    yield fs.Adam, TypeError, f"{expected}{fs.Adam!r}"
    yield Own(), TypeError, f"{expected}{Own()!r}"
    by_name = "expected a constructor whose arguments can be given by name, got "
    for cls, argument in ((Star, "*rates: 'float'"), (Keywords, "**options: 'float'")):
        text = f'register_updater: {cls.__name__}: {by_name}"{argument}"; write them out'
        yield cls, TypeError, text
    for name, module in (("Adam", "flatstep.updaters"), ("MapSchedule", "flatstep.schedules")):
        yield (
            type(name, (Own,), {}),
            ValueError,
            f'register_updater: expected a name that is not taken, got "{name}", which is '
            f"{module}.{name}; rename the class",
        )
    yield (
        type("HeavyBall", (Own,), {}),
        ValueError,
        'register_updater: expected a name that is not taken, got "HeavyBall", which is '
        "updater_table.HeavyBall; rename the class",
    )


@pytest.mark.parametrize(("cls", "exception", "text"), list(own_classes()))
def test_what_cannot_be_registered(cls: Any, exception: type[Exception], text: str) -> None:
    assert refusal(lambda: fs.register_updater(cls), exception) == text


def test_a_class_that_is_defined_again_takes_its_place() -> None:
    """As in a notebook. Instances of the old class are of a class that is not registered."""

    def define() -> Any:
        @fs.register_updater
        class Again(Own):
            pass

        return Again

    old, new = define(), define()
    there_and_back(Configuration(updater=new()))
    assert "is not registered" in refusal(Configuration(updater=old()).to_dict, ValueError)
