"""The presets of optax against optax itself, and against the list of its own tests."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from peers import (
    EXACT,
    MATRICES,
    SHAPES,
    SINGLE,
    STEPS,
    Row,
    compare,
    differs,
    gradients,
    parameters,
    peer,
    rates,
    schedule,
)

import flatstep as fs

jax = peer("jax")
optax = peer("optax")
jnp = jax.numpy

#: Fewer arrays where compiling takes long.
FACTORED = {"0_W": (4, 3), "1_W": (2, 3, 2), "1_b": (1,)}
FEW = {"0_W": (4, 3), "1_b": (1,)}


def weights(shapes: Mapping[str, Any]) -> dict[str, bool]:
    """Which parameters decay, or have a ratio."""
    return {key: key.endswith("_W") for key in shapes}


MASK = weights(SHAPES)
OFF = dict.fromkeys(FEW, False)
CLIP = (1.0,)
ADAM: Mapping[str, Any] = {"b1": (0.8, 0.0), "b2": (0.95,), "eps": (1e-3,), "clip_norm": CLIP}
DECAY: Mapping[str, Any] = {"weight_decay": (0.1,), "mask": (MASK,)}
ROOT: Mapping[str, Any] = {"eps_root": (1e-4,)}
NESTEROV: Mapping[str, Any] = {"nesterov": (True,)}
NO_NESTEROV: Mapping[str, Any] = {"nesterov": (False,)}
RMSPROP: Mapping[str, Any] = {
    "decay": (0.5,),
    "eps": (1e-3,),
    "initial_scale": (0.5,),
    "eps_in_sqrt": (False,),
    "centered": (True,),
    "momentum": (0.9,),
    "nesterov": (True,),
    "bias_correction": (True,),
    "clip_norm": CLIP,
}
SCHEDULE_FREE: Mapping[str, Any] = {
    "b1": (0.8,),
    "b2": (0.95,),
    "eps": (1e-3,),
    "weight_decay": (0.1,),
    "weight_lr_power": (0.5,),
    "clip_norm": CLIP,
}


def both_or_neither(options: Mapping[str, Any]) -> bool:
    """What flatstep's AMSGrad can do of optax's corrections."""
    given = (options.get("bias_correction_mu", True), options.get("bias_correction_nu", True))
    return given == (True, True) or (given == (False, False) and "eps_root" not in options)


ROWS = (
    Row("adabelief", {**ADAM, "eps_root": (1e-4,), **NESTEROV}),
    Row("adadelta", {"rho": (0.5,), "eps": (1e-4,), "weight_decay": (0.1,),
                     "weight_decay_mask": (MASK,), "clip_norm": CLIP}, base=1.0),
    Row(
        "adafactor",
        {
            "decay_rate": (0.5,), "decay_offset": (-3,),
            "multiply_by_parameter_scale": (False,), "clipping_threshold": (0.5, None),
            "momentum": (0.9,), "dtype_momentum": ("float64",), "weight_decay_rate": (1e-3,),
            "eps": (1e-6,), "factored": (False,), "weight_decay_mask": (weights(FACTORED),),
            "clip_norm": CLIP,
        },
        always={"min_dim_size_to_factor": 2},
        shapes=FACTORED,
        tolerance=SINGLE,
    ),
    Row("adagrad", {"initial_accumulator_value": (0.0,), "eps": (1e-3,), "clip_norm": CLIP}),
    Row("adam", {**ADAM, **ROOT, **NESTEROV}),
    Row("adamax", ADAM),
    Row("adamaxw", {**ADAM, **DECAY}),
    Row("adamw", {**ADAM, **ROOT, **DECAY, **NESTEROV}),
    Row("adan", {**ADAM, "b3": (0.9,), **ROOT, **DECAY}),
    Row("amsgrad", {**ADAM, **ROOT, "bias_correction_mu": (False,), "bias_correction_nu": (False,)},
        legal=both_or_neither),
    Row("fromage", {"min_norm": (2.0,), "clip_norm": CLIP}),
    Row("lamb", {**ADAM, **ROOT, **DECAY}),
    Row("lars", {"weight_decay": (0.1,), "weight_decay_mask": (MASK, False),
                 "trust_coefficient": (0.1,), "eps": (1e-2,), "trust_ratio_mask": (MASK, False),
                 "momentum": (0.5,), "nesterov": (True,), "clip_norm": CLIP}),
    Row("lion", {"b1": (0.8,), "b2": (0.95,), **DECAY, "clip_norm": CLIP}),
    Row("nadam", {**ADAM, **ROOT, **NO_NESTEROV}),
    Row("nadamw", {**ADAM, **ROOT, **DECAY, **NO_NESTEROV}),
    Row("novograd", {"b1": (0.8,), "b2": (0.9,), "eps": (1e-3,), **ROOT, "weight_decay": (0.1,),
                     "clip_norm": CLIP}),
    Row("optimistic_adam", {"optimism": (0.005,), **ADAM, **ROOT, **NO_NESTEROV},
        base=None, always={"learning_rate": 0.01}),
    Row("optimistic_adam_v2", {"alpha": (0.7,), "beta": (0.5,), **ADAM, **ROOT, **NO_NESTEROV}),
    Row("optimistic_gradient_descent", {"alpha": (0.7,), "beta": (0.1,), "clip_norm": CLIP}),
    Row("radam", {**ADAM, **ROOT, "threshold": (10.0,), **NESTEROV}),
    Row("rmsprop", RMSPROP,
        legal=lambda options: not {"centered", "bias_correction"} <= set(options)),
    # The variance of the first step is 0 but for rounding, which epsilon must outweigh, under the
    # root, where rounding below 0 is no NaN in optax.
    Row("rmsprop", {name: RMSPROP[name] for name in RMSPROP if "eps" not in name},
        always={"centered": True, "bias_correction": True, "eps": 1e-3}
),
    Row("rprop", {"eta_minus": (0.6,), "eta_plus": (1.1,), "min_step_size": (0.2,),
                  "max_step_size": (0.05,), "clip_norm": CLIP},
        base=None, always={"learning_rate": 0.1},
        legal=lambda options: not {"min_step_size", "max_step_size"} <= set(options)),
    Row("sgd", {"momentum": (0.9, 0.0), "nesterov": (True,), "clip_norm": CLIP}),
    Row("sign_sgd", {"clip_norm": CLIP}),
    Row("signum", {"beta": (0.5,), "clip_norm": CLIP}),
    Row("sm3", {"momentum": (0.5,), "clip_norm": CLIP}, base=None, always={"learning_rate": 0.1}),
    Row("yogi", ADAM),
    Row("contrib.ademamix", {**ADAM, "b3": (0.99,), "alpha": (2.0,), **ROOT, **DECAY}),
    Row(
        "contrib.muon",
        {
            "ns_coeffs": ((3.4, -4.7, 2.0), "dion"), "ns_steps": (3,), "beta": (0.5,),
            "eps": (1e-3,), "weight_decay": (0.1,), "weight_decay_mask": (OFF,),
            "nesterov": (False,), "adaptive": (True,), "adam_b1": (0.5,), "adam_b2": (0.9,),
            "adam_eps_root": (1e-4,), "adam_weight_decay": (0.1,), "consistent_rms": (0.2,),
            "preconditioning": ("spectral", "aol", "schatten"), "clip_norm": CLIP,
        },
        shapes=FEW,
        legal=lambda options: not (options.get("ns_coeffs") == "dion" and "ns_steps" in options),
        tolerance=1e-11,
    ),
    Row("contrib.schedule_free_adamw", SCHEDULE_FREE, base=None, always={"learning_rate": 0.01}),
    # optax computes the warm-up in float32.
    Row("contrib.schedule_free_adamw", SCHEDULE_FREE, base=None,
        always={"learning_rate": 0.01, "warmup_steps": 20}, tolerance=SINGLE),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def function(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part)
    return module


def frozen(value: Any) -> Any:
    return tuple(sorted(value.items())) if isinstance(value, dict) else value


@cache
def runner(name: str, scheduled: bool, fixed: Any, numbers: tuple[str, ...]) -> Any:
    """All steps, compiled once for each choice of what is no number."""
    options = {key: dict(v) if isinstance(v, tuple) and v and isinstance(v[0], tuple)
               and isinstance(v[0][0], str) else v for key, v in fixed}  # fmt: skip

    def run(values: Any, lrs: Any, params: Any, given: Any) -> Any:
        arguments = {**options, **dict(zip(numbers, values, strict=True))}
        clip = arguments.pop("clip_norm", None)
        if scheduled:
            arguments["learning_rate"] = lambda count: lrs[count]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # optimistic_adam
            optimizer = function(optax, name)(**arguments)
        if clip is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(clip), optimizer)

        def step(carry: Any, g: Any) -> Any:
            params, state = carry
            updates, state = optimizer.update(g, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        _, after = jax.lax.scan(step, (params, optimizer.init(params)), given)
        return after

    return jax.jit(run)


def optax_steps(
    name: str,
    options: Mapping[str, Any],
    lrs: list[float] | None,
    shapes: Mapping[str, tuple[int, ...]] = SHAPES,
    dtype: Any = np.float64,
) -> list[dict[str, Any]]:
    """The parameters after each step of optax' own."""
    # Every number is an argument of what is compiled, given or not. But adafactor's decay is
    # float32 where its exponent is a plain number.
    plain = {"decay_rate"} if name == "adafactor" else set()
    signature = inspect.signature(function(optax, name)).parameters.values()
    defaults = {p.name: p.default for p in signature if isinstance(p.default, float)}
    everything = {"clip_norm": np.inf, **defaults, **options}
    numbers = {k: v for k, v in everything.items() if isinstance(v, float) and k not in plain}
    fixed = tuple((k, frozen(v)) for k, v in options.items() if k not in numbers)
    run = runner(name, lrs is not None, fixed, tuple(numbers))
    given = gradients(shapes, dtype)
    stacked = {key: np.stack([arrays[key] for arrays in given]) for key in shapes}
    values = [np.asarray(value, dtype) for value in numbers.values()]
    after = run(values, np.asarray(lrs or [0.0], dtype), parameters(shapes, dtype), stacked)
    arrays = {key: np.asarray(value) for key, value in after.items()}
    return [{key: value[step] for key, value in arrays.items()} for step in range(STEPS)]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_option_alone_and_in_pairs(row: Row) -> None:
    base = row.base

    def run(options: dict[str, Any]) -> Any:
        rate = {} if base is None else {"learning_rate": schedule(base)}
        configuration = function(fs.presets.optax, row.name)(**rate, **options)
        lrs = None if base is None else rates(base)
        return configuration, optax_steps(row.name, options, lrs, row.shapes)

    assert compare(row, run) > 1


def alias_test() -> list[Any]:
    """The list of optax's own tests, but for what needs more than the gradient."""
    module = importlib.import_module("optax._src.alias_test")
    return [
        pytest.param(entry["opt_name"], entry["opt_kwargs"], id=f"{place}-{entry['opt_name']}")
        for place, entry in enumerate(module._OPTIMIZERS_UNDER_TEST)
        if entry["opt_name"] not in ("noisy_sgd", "polyak_sgd")
    ]


@pytest.mark.parametrize(("name", "kwargs"), alias_test())
def test_optax_own_configurations(name: str, kwargs: dict[str, Any]) -> None:
    configuration = getattr(fs.presets.optax, name)(**kwargs)
    difference = differs(configuration, optax_steps(name, kwargs, None), gradients())
    assert difference <= (SINGLE if name == "adafactor" else EXACT)


def test_there_are_as_many_as_there_were() -> None:
    assert len(alias_test()) == 31


def test_every_alias_has_a_preset() -> None:
    alias = importlib.import_module("optax._src.alias")
    there = {
        name
        for name, value in vars(optax).items()
        if getattr(alias, name, None) is value and callable(value) and name.islower()
    }
    assert there - set(fs.presets.optax.__all__) == {"lbfgs", "noisy_sgd", "polyak_sgd"}


def test_muon_in_float32() -> None:
    for options in ({}, {"weight_decay": 0.1}, {"adam_weight_decay": 0.1, "nesterov": False}):
        for shapes in (MATRICES, SHAPES):
            expected = optax_steps("contrib.muon", options, rates(0.01), shapes, np.float32)
            configuration = fs.presets.optax.contrib.muon(schedule(0.01), **options)
            given = gradients(shapes, np.float32)
            assert differs(configuration, expected, given, shapes, np.float32) <= 1e-5


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("adam", {"mu_dtype": "bfloat16"}, "presets.optax.adam: mu_dtype: expected None, got"),
        ("sgd", {"accumulator_dtype": "float32"}, "accumulator_dtype: expected None, got"),
        ("amsgrad", {"bias_correction_mu": False}, "bias_correction_nu: expected False, got True"),
        ("adamw", {"mask": {"W": True}}, "mask: expected keys such as 0_W, got 'W'"),
        ("adafactor", {"decay_offset": 3}, "decay_offset: expected a finite number <= 0, got 3"),
        ("adafactor", {"dtype_momentum": "float16"}, "dtype_momentum: expected float32 or float64"),
        ("contrib.muon", {"ns_coeffs": "x"}, 'ns_coeffs: expected coefficients, "standard" or'),
        ("contrib.muon", {"ns_coeffs": "dion", "ns_steps": 3}, "ns_steps: expected at least 5, as"),
        ("contrib.muon", {"muon_weight_dimension_numbers": ()}, "_numbers: expected None, got"),
    ],
)
def test_what_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(fs.presets.optax, name)(learning_rate=0.1, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": lambda count: 0.1}, "learning_rate: expected a number or one of"),
        ({"weight_decay": fs.FixedSchedule(0.1)}, "weight_decay: expected a number, got Fixed"),
        ({"mask": lambda params: params}, "mask: expected a mapping, got <function"),
        ({"mask": {"0_W": 1}}, r"mask\[0_W\]: expected True or False, got 1"),
    ],
)
def test_functions_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        fs.presets.optax.adamw(**{"learning_rate": 0.1, **options})


def test_a_mask_may_be_nested_and_layers_win() -> None:
    own = fs.ParamConfiguration(weight_decay=0.5)
    configuration = fs.presets.optax.adamw(
        0.1,
        weight_decay=0.2,
        mask={"fc1": {"kernel": True, "bias": False}, "fc2": {"kernel": False}},
        layers={"fc2": fs.LayerConfiguration(params={"kernel": own})},
    )
    assert configuration.layers["fc1"].params["bias"].weight_decay == 0
    assert "kernel" not in configuration.layers["fc1"].params
    assert configuration.layers["fc2"].params["kernel"] == own
