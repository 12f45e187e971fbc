"""The presets of Keras against keras.optimizers itself."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from peers import (
    EXACT,
    SHAPES,
    SINGLE,
    STEPS,
    Row,
    compare,
    gradients,
    parameters,
    peer,
    rates,
    schedule,
)

import flatstep as fs

jax = peer("jax")
os.environ.setdefault("KERAS_BACKEND", "jax")
keras = peer("keras")
if keras.backend.backend() != "jax":
    pytest.skip("Keras runs on another backend than jax", allow_module_level=True)

BASE: Mapping[str, Any] = {
    "clipnorm": (0.7,),
    "clipvalue": (0.5,),
    "global_clipnorm": (1.0,),
    "use_ema": (True,),
}
DECAY: Mapping[str, Any] = {"weight_decay": (0.1,), "exclude_from_weight_decay": (("b",),)}
BETAS: Mapping[str, Any] = {"beta_1": (0.8,), "beta_2": (0.95,), "epsilon": (1e-3,)}
CLIPS = {"clipnorm", "clipvalue", "global_clipnorm"}


def one_clip(options: Mapping[str, Any]) -> bool:
    """Keras takes one way of clipping; and there is no average without use_ema."""
    return len(CLIPS & set(options)) <= 1 and (
        "ema_momentum" not in options or "use_ema" in options
    )


def row(name: str, options: Mapping[str, Any], **more: Any) -> Row:
    return Row(name, {**BASE, **DECAY, **options}, legal=one_clip, **more)


ROWS = (
    row("SGD", {"momentum": (0.9,), "nesterov": (True,)}),
    row("Adam", {**BETAS, "amsgrad": (True,)}),
    row("AdamW", {**BETAS, "amsgrad": (True,)}),
    row("Adamax", BETAS),
    row("Nadam", BETAS),
    row("RMSprop", {"rho": (0.5,), "momentum": (0.9,), "epsilon": (1e-3,), "centered": (True,)}),
    row("Adagrad", {"initial_accumulator_value": (0.0,), "epsilon": (1e-3,)}),
    row("Adadelta", {"rho": (0.5,), "epsilon": (1e-5,)}, base=1.0),
    row("Lion", {"beta_1": (0.8,), "beta_2": (0.95,)}),
    row("Lamb", BETAS),
    row("ScheduleFreeAdamW", {**BETAS, "warmup_steps": (20,)}),
    row(
        "Adafactor",
        {
            "beta_2_decay": (-1.0,),
            "epsilon_1": (1e-6,),
            "epsilon_2": (0.5,),
            "clip_threshold": (0.5,),
            "relative_step": (False,),
        },
        base=0.3,
        tolerance=SINGLE,
    ),
    row(
        "Ftrl",
        {
            "learning_rate_power": (-0.7,),
            "initial_accumulator_value": (0.5,),
            "l1_regularization_strength": (0.01,),
            "l2_regularization_strength": (0.01,),
            "l2_shrinkage_regularization_strength": (0.01,),
            "beta": (0.1,),
        },
        base=0.1,  # what rounding does to the sums is divided by the rate
    ),
    row(
        "Muon",
        {
            "adam_beta_1": (0.8,),
            "adam_beta_2": (0.95,),
            "adam_weight_decay": (None, 0.2),
            "epsilon": (1e-3,),
            "exclude_layers": (("0",),),
            "muon_a": (3.4,),
            "muon_b": (-4.5,),
            "muon_c": (2.0,),
            "adam_lr_ratio": (0.5,),
            "momentum": (0.5,),
            "ns_steps": (3,),
            "nesterov": (False,),
            "rms_rate": (None, 0.1),
        },
        tolerance=1e-5,  # its norm is float32, and the iteration makes more of it
    ),
)


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    before = keras.config.floatx(), jax.config.jax_enable_x64
    keras.config.set_floatx("float64")
    jax.config.update("jax_enable_x64", True)
    yield
    keras.config.set_floatx(before[0])
    jax.config.update("jax_enable_x64", before[1])


#: The numbers that Keras looks at when it is told them, not when it computes.
FIXED = {"clipnorm", "clipvalue", "global_clipnorm", "ema_momentum", "initial_accumulator_value"}


@cache
def compiled(name: str, fixed: tuple[tuple[str, Any], ...], numbers: tuple[str, ...]) -> Any:
    """All steps of Keras' own, compiled once for each choice of what is no number."""
    options = dict(fixed)
    excluded = options.pop("exclude_from_weight_decay", ())
    if options.get("exclude_layers"):  # Keras looks for a pattern in the path, which is the name
        options["exclude_layers"] = [f"^{layer}_" for layer in options["exclude_layers"]]
    variables = [
        keras.Variable(value, dtype="float64", name=key) for key, value in parameters().items()
    ]
    optimizer = getattr(keras.optimizers, name)(learning_rate=0.1, **options)
    if excluded:
        optimizer.exclude_from_weight_decay(var_names=[f"_{param}$" for param in excluded])
    optimizer.build(variables)
    state = [variable.value for variable in optimizer.variables]
    rate = next(i for i, v in enumerate(optimizer.variables) if v is optimizer._learning_rate)

    def run(values: Any, lrs: Any, given: Any) -> Any:
        for number, value in zip(numbers, values, strict=True):
            setattr(optimizer, number, value)

        def step(carry: Any, now: Any) -> Any:
            params, state = carry
            lr, grads = now
            state = [lr if i == rate else value for i, value in enumerate(state)]
            params, state = optimizer.stateless_apply(state, grads, params)
            return (params, state), params

        start = [variable.value for variable in variables]
        (_, last), after = jax.lax.scan(step, (start, state), (lrs, given))
        return after, last

    def averages(last: Any) -> list[Any]:
        found = {id(v): value for v, value in zip(optimizer.variables, last, strict=True)}
        return [found[id(v)] for v in optimizer._model_variables_moving_average]

    return jax.jit(run), averages


def keras_steps(
    name: str, options: Mapping[str, Any], lrs: list[float]
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The parameters after each step of Keras' own, and the averages after the last."""
    kind = getattr(keras.optimizers, name)
    signature = inspect.signature(kind).parameters.values()
    defaults = {p.name: p.default for p in signature if isinstance(p.default, float)}
    del defaults["learning_rate"]
    keep = FIXED | ({"momentum"} if name in ("SGD", "RMSprop") else set())
    if name == "Muon":
        keep |= {"adam_weight_decay", "weight_decay", "rms_rate"}
    if name == "Adafactor":  # a plain number is float32 in some of Keras' functions
        keep |= {"beta_2_decay"}
    everything = {**defaults, **options}
    numbers = {k: v for k, v in everything.items() if isinstance(v, float) and k not in keep}
    fixed = tuple((k, v) for k, v in options.items() if k not in numbers)
    run, averages = compiled(name, fixed, tuple(numbers))
    values = [np.asarray(value) for value in numbers.values()]
    given = gradients()
    stacked = [np.stack([arrays[key] for arrays in given]) for key in SHAPES]
    after, last = run(values, np.asarray(lrs), stacked)
    arrays = dict(zip(SHAPES, map(np.asarray, after), strict=True))
    steps = [{key: value[step] for key, value in arrays.items()} for step in range(STEPS)]
    if not options.get("use_ema"):
        return steps, None
    return steps, dict(zip(SHAPES, map(np.asarray, averages(last)), strict=True))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_option_alone_and_in_pairs(row: Row) -> None:
    assert row.base is not None
    base = row.base

    def run(options: dict[str, Any]) -> Any:
        preset = getattr(fs.presets.keras, row.name)
        after, _ = keras_steps(row.name, options, rates(base))
        return preset(schedule(base), **options), after

    assert compare(row, run) > 10


@pytest.mark.parametrize("momentum", [0.99, 0.5, 0.0])
def test_the_average(momentum: float) -> None:
    options = {"use_ema": True, "ema_momentum": momentum}
    _, expected = keras_steps("Adam", options, rates(0.01))
    assert expected is not None
    params = parameters()
    configuration = fs.presets.keras.Adam(schedule(0.01), **options)
    updater = fs.MultiLayerUpdater(configuration, params)
    for given in gradients():
        updater.step(given)
    for key, value in expected.items():
        difference = np.max(np.abs(updater.averages(key) - value))
        assert difference <= EXACT * np.max(np.abs(value))


def test_every_class_has_a_preset() -> None:
    there = {
        name
        for name, value in vars(keras.optimizers).items()
        if isinstance(value, type) and issubclass(value, keras.optimizers.Optimizer)
    }
    others = {"LossScaleOptimizer", "MultiOptimizer", "Optimizer"}
    assert there - set(fs.presets.keras.__all__) <= others


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "Adam",
            {"loss_scale_factor": 2.0},
            "presets.keras.Adam: loss_scale_factor: expected None",
        ),
        ("Adam", {"gradient_accumulation_steps": 2}, "gradient_accumulation_steps: expected None"),
        ("Adam", {"use_ema": True, "ema_overwrite_frequency": 5}, "_frequency: expected None, got"),
        ("Adam", {"clipnorm": 1.0, "clipvalue": 1.0}, "clipnorm: expected one way of clipping"),
        ("Adam", {"clip_norm": 1.0, "global_clipnorm": 1.0}, "expected one way of clipping, got"),
        ("SGD", {"weight_decay": -1.0}, "presets.keras.SGD: weight_decay: expected a finite"),
        ("Adafactor", {"clip_threshold": 0.0}, "clip_threshold: expected a finite number > 0"),
    ],
)
def test_what_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(fs.presets.keras, name)(**options)


def test_the_steps_are_as_many() -> None:
    assert len(rates(1.0)) == STEPS
