"""Every refusal: its type, its whole text, and that it leaves everything as it was."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from networks import schedule
from oracle import Schedule
from oracle.normalization import STRATEGIES
from oracle.schedules import KINDS
from snapshots import nothing_changes

import flatstep as fs
from flatstep import serialization


def refused(call: Callable[[], Any], exception: type[Exception], text: str) -> None:
    """The call raises exactly that: the type (or a subclass) and the whole text."""
    with pytest.raises(exception) as caught:
        call()
    assert str(caught.value) == text


def read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


def at_odd_address(array: Any) -> Any:
    memory = np.empty(array.nbytes + 1, np.uint8)
    moved = memory[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


# ------------------------------------------------------------------------------------- parameters

W_SHAPE = (3, 4)

# (array, exception, the text after 'parameter "0_W": '); the other parameter is float64.
BAD_PARAMETERS: dict[str, tuple[Any, type[Exception], str]] = {
    "a list": (
        [1.0, 2.0],
        TypeError,
        "expected a NumPy array, got list; make it one with np.array, of the parameters' dtype",
    ),
    "None": (None, TypeError, "expected a NumPy array, got NoneType"),
    "a buffer": (
        bytearray(8),
        TypeError,
        "expected a NumPy array, got bytearray; flatstep.as_views wraps what shares its memory "
        "with NumPy",
    ),
    "a scalar": (
        np.float64(1),
        TypeError,
        "expected a NumPy array, got float64; make it one with np.array, of the parameters' dtype",
    ),
    "masked": (
        np.ma.masked_array(np.zeros(W_SHAPE), mask=np.ones(W_SHAPE)),
        TypeError,
        "expected a NumPy array, got MaskedArray; fill it (filled()) or give its data",
    ),
    **{
        dtype: (
            np.zeros(W_SHAPE, dtype),
            TypeError,
            f"expected dtype float64, that of the first parameter, got {dtype}; convert it with "
            ".astype(np.float64) and keep the result (one dtype per updater)",
        )
        for dtype in ("float32", "float16", "int64", "bool", "complex128", "object", ">f8")
    },
    "strided": (
        np.zeros((3, 8))[:, ::2],
        ValueError,
        "expected a C- or F-contiguous array, got a strided one; make it contiguous with "
        "np.ascontiguousarray and keep the result",
    ),
    "reversed": (
        np.zeros(4)[::-1],
        ValueError,
        "expected a C- or F-contiguous array, got a strided one; make it contiguous with "
        "np.ascontiguousarray and keep the result",
    ),
    "broadcast": (
        np.broadcast_to(np.zeros(4), W_SHAPE),
        ValueError,
        "expected a C- or F-contiguous array, got a strided one; make it contiguous with "
        "np.ascontiguousarray and keep the result",
    ),
    "read-only": (
        read_only(np.zeros(W_SHAPE)),
        ValueError,
        "expected a writable array, got a read-only one; copy it with np.array(…, copy=True) "
        "and keep the result",
    ),
    "unaligned": (
        at_odd_address(np.zeros(W_SHAPE)),
        ValueError,
        "expected an aligned array, got one at an odd address; copy it with np.array(…, copy=True) "
        "and keep the result",
    ),
}


@pytest.mark.parametrize(
    ("array", "exception", "text"), BAD_PARAMETERS.values(), ids=BAD_PARAMETERS.keys()
)
def test_parameters(array: Any, exception: type[Exception], text: str) -> None:
    config = fs.MultiLayerConfiguration()
    refused(
        lambda: fs.MultiLayerUpdater(config, {"0_b": np.zeros(2), "0_W": array}),
        exception,
        f'parameter "0_W": {text}',
    )


@pytest.mark.parametrize("dtype", ["int16", "int32", "complex64", ">f2", ">f4"])
def test_dtype_of_the_first_parameter(dtype: str) -> None:
    refused(
        lambda: fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"0_W": np.zeros(3, dtype)}),
        TypeError,
        f'parameter "0_W": expected dtype float32 or float64, got {dtype}; convert it with '
        ".astype(np.float32) and keep the result",
    )


@pytest.mark.parametrize("key", ["out_proj.weight", "enc.0_proj.weight"])
def test_names_of_pytorch_that_would_be_cut_at_random(key: str) -> None:
    outer, _, inner = key.rpartition(".")
    refused(
        lambda: fs.ComputationGraphUpdater(fs.MultiLayerConfiguration(), {key: np.zeros(3)}),
        fs.ParameterKeyError,
        f'Invalid key: "{key}": expected a parameter type without ".", got "proj.weight"; use '
        "create_updater, which takes any names, or nest such as PyTorch's: "
        f'{{"{outer}": {{"weight": array}}}}',
    )
    nested = {outer: {inner: np.zeros(3)}}
    for updater in (
        fs.ComputationGraphUpdater(fs.MultiLayerConfiguration(), nested),
        fs.create_updater(fs.MultiLayerConfiguration(), nested),
        fs.create_updater(fs.MultiLayerConfiguration(), {key: np.zeros(3)}),
    ):
        assert [(slot.layer, slot.param) for slot in updater.layout] == [(outer, "weight")]


def test_overlapping_parameters() -> None:
    memory = np.zeros(10)
    text = (
        'parameters "1_W" and "0_W" overlap in memory; expected parameters that are apart: give '
        "one of them an array of its own (np.copy), or pass tied parameters once"
    )
    for one, other in (
        (memory, memory),
        (memory[:6], memory[5:]),
        (memory, memory[3:4]),
    ):
        refused(
            lambda one=one, other=other: fs.MultiLayerUpdater(
                fs.MultiLayerConfiguration(), {"0_W": one, "1_W": other}
            ),
            ValueError,
            text,
        )
    fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"0_W": memory[:5], "1_W": memory[5:]})


# ------------------------------------------------------------------------------------------- keys

SEPARATOR = 'Invalid key: {} Gradient key does not have layer separator: "{}"'


def test_key_without_separator() -> None:
    config = fs.MultiLayerConfiguration()
    for updater, network, keys in (
        (
            fs.MultiLayerUpdater,
            "MultiLayerNetwork",
            "an integer layer, '_' and the parameter type, such as \"0_W\"",
        ),
        (
            fs.ComputationGraphUpdater,
            "ComputationGraph",
            "a vertex name, '_' and the parameter type, such as \"fc1_W\"",
        ),
    ):
        refused(
            lambda updater=updater: updater(config, {"0W": np.zeros(3)}),
            fs.ParameterKeyError,
            SEPARATOR.format(network, "0W")
            + f"; flat keys are {keys}: use create_updater, which takes any names, or nest them: "
            '{"fc1": {"weight": array}}',
        )
    updater = fs.MultiLayerUpdater(config, {"0_W": np.zeros(3)})
    with nothing_changes(updater):
        refused(
            lambda: updater.step({"0W": np.zeros(3)}),
            fs.ParameterKeyError,
            SEPARATOR.format("MultiLayerNetwork", "0W") + '; expected "0_W"',
        )


def test_key_errors_are_both_kinds() -> None:
    """Code that expects a KeyError and code that expects a ValueError both catch them."""
    assert issubclass(fs.ParameterKeyError, KeyError)
    assert issubclass(fs.ParameterKeyError, ValueError)


def test_layer_that_is_no_integer() -> None:
    refused(
        lambda: fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"fc1_W": np.zeros(3)}),
        fs.ParameterKeyError,
        'Invalid key: "fc1_W": expected an integer layer, got "fc1"; a ComputationGraphUpdater '
        "takes any layer names",
    )


@pytest.mark.parametrize("key", ["_W", "0_", "_"])
def test_empty_part_of_a_key(key: str) -> None:
    refused(
        lambda: fs.ComputationGraphUpdater(fs.MultiLayerConfiguration(), {key: np.zeros(3)}),
        fs.ParameterKeyError,
        f'Invalid key: "{key}": expected a layer, \'_\' and a parameter type, such as "0_W"',
    )


def test_no_parameters() -> None:
    for params in ({}, [], {"0": {}}):
        refused(
            lambda params=params: fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), params),
            ValueError,
            "params: expected at least one parameter, got none",
        )


def test_unknown_keys_of_the_updater() -> None:
    updater = make()
    text = 'unknown key "0_X"; expected one of "0_W", "0_b", "1_W"'
    for call in (
        lambda: updater.state("0_X"),
        lambda: updater.learning_rate("0_X"),
    ):
        with nothing_changes(updater):
            refused(call, fs.ParameterKeyError, text)


# -------------------------------------------------------------------------------------- gradients


def make(dtype: Any = np.float64, **settings: Any) -> Any:
    """An updater with a frozen last layer and a step behind it."""
    config = fs.MultiLayerConfiguration(
        updater=fs.Adam(0.1), layers={"1": fs.LayerConfiguration(frozen=True)}, **settings
    )
    updater = fs.MultiLayerUpdater(
        config,
        {"0_W": np.ones(W_SHAPE, dtype), "0_b": np.ones(4, dtype), "1_W": np.ones(5, dtype)},
    )
    updater.step(good(dtype))
    return updater


def good(dtype: Any = np.float64) -> dict[str, Any]:
    return {"0_W": np.full(W_SHAPE, 0.5, dtype), "0_b": np.full(4, 0.5, dtype)}


# (array for "0_W", exception, the text after 'gradient "0_W": ')
BAD_GRADIENTS: dict[str, tuple[Any, type[Exception], str]] = {
    "a list": (
        [1.0, 2.0],
        TypeError,
        "expected a NumPy array, got list; make it one with np.array, of the parameters' dtype",
    ),
    "a number": (
        1.0,
        TypeError,
        "expected a NumPy array, got float; make it one with np.array, of the parameters' dtype",
    ),
    **{
        dtype: (
            np.zeros(W_SHAPE, dtype),
            TypeError,
            f"expected dtype float64, got {dtype}; convert it with .astype(np.float64)",
        )
        for dtype in ("float16", "int64", "complex128", ">f4", ">f8")
    },
    "another size": (
        np.zeros((3, 5)),
        ValueError,
        "expected shape (3, 4), that of the parameter, got (3, 5)",
    ),
    "another shape": (
        np.zeros(12),
        ValueError,
        "expected shape (3, 4), that of the parameter, got (12,); reshape or transpose it",
    ),
    "transposed": (
        np.zeros((4, 3)),
        ValueError,
        "expected shape (3, 4), that of the parameter, got (4, 3); reshape or transpose it",
    ),
    "a scalar array": (
        np.array(1.0),
        ValueError,
        "expected shape (3, 4), that of the parameter, got ()",
    ),
    "another order": (
        np.zeros(W_SHAPE, order="F"),
        ValueError,
        "expected C-contiguous memory, as the parameter has, got F-contiguous; convert it with "
        "np.ascontiguousarray",
    ),
    "strided": (
        np.zeros((3, 8))[:, ::2],
        ValueError,
        "expected a C- or F-contiguous array, got a strided one; make it contiguous with "
        "np.ascontiguousarray",
    ),
    "unaligned": (
        at_odd_address(np.zeros(W_SHAPE)),
        ValueError,
        "expected an aligned array, got one at an odd address; copy it with np.array(…, copy=True)",
    ),
}

WAYS_IN = {
    "step": lambda updater, gradients: updater.step(gradients),
    "update": lambda updater, gradients: updater.update(gradients),
    "bind_gradients": lambda updater, gradients: updater.bind_gradients(gradients),
    "accumulate": lambda updater, gradients: updater.accumulate(gradients),
}
EACH_WAY_IN = pytest.mark.parametrize("call", WAYS_IN.values(), ids=WAYS_IN.keys())


@EACH_WAY_IN
@pytest.mark.parametrize(
    ("array", "exception", "text"), BAD_GRADIENTS.values(), ids=BAD_GRADIENTS.keys()
)
def test_gradients(
    array: Any, exception: type[Exception], text: str, call: Callable[[Any, Any], Any]
) -> None:
    updater = make()
    gradients = {**good(), "0_W": array}
    with nothing_changes(updater, gradients["0_b"]):
        refused(lambda: call(updater, gradients), exception, f'gradient "0_W": {text}')


def test_gradient_of_an_f_ordered_parameter() -> None:
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(), {"0_W": np.zeros(W_SHAPE, order="F")}
    )
    refused(
        lambda: updater.step({"0_W": np.zeros(W_SHAPE)}),
        ValueError,
        'gradient "0_W": expected F-contiguous memory, as the parameter has, got C-contiguous; '
        "convert it with np.asfortranarray",
    )


def test_update_needs_writable_gradients() -> None:
    updater = make()
    gradients = {**good(), "0_b": read_only(np.ones(4))}
    with nothing_changes(updater, gradients["0_W"]):
        refused(
            lambda: updater.update(gradients),
            ValueError,
            'gradient "0_b": expected a writable array, got a read-only one; copy it with '
            "np.array(…, copy=True)",
        )


@EACH_WAY_IN
def test_missing_gradient(call: Callable[[Any, Any], Any]) -> None:
    updater = make()
    gradients = {"0_W": good()["0_W"]}
    with nothing_changes(updater, gradients):
        refused(
            lambda: call(updater, gradients),
            fs.ParameterKeyError,
            'gradients: missing "0_b"; expected one gradient per parameter (only a frozen '
            "layer's may be missing)",
        )


@EACH_WAY_IN
def test_unknown_gradient(call: Callable[[Any, Any], Any]) -> None:
    updater = make()
    gradients = {**good(), "0_c": np.zeros(4)}
    with nothing_changes(updater, gradients):
        refused(
            lambda: call(updater, gradients),
            fs.ParameterKeyError,
            'gradients: unknown key "0_c"; expected "0_W", "0_b", "1_W"',
        )


@EACH_WAY_IN
def test_none_is_for_frozen_slots(call: Callable[[Any, Any], Any]) -> None:
    call(make(), {**good(), "1_W": None})
    updater = make()
    gradients = {**good(), "0_b": None}
    with nothing_changes(updater, gradients["0_W"]):
        refused(
            lambda: call(updater, gradients),
            TypeError,
            'gradient "0_b": expected a NumPy array, got None; only a frozen layer\'s gradient '
            "may be absent",
        )


@EACH_WAY_IN
def test_a_frozen_gradient_is_checked_where_it_is_given(call: Callable[[Any, Any], Any]) -> None:
    updater = make()
    gradients = {**good(), "1_W": np.zeros(6)}
    with nothing_changes(updater, gradients):
        refused(
            lambda: call(updater, gradients),
            ValueError,
            'gradient "1_W": expected shape (5,), that of the parameter, got (6,)',
        )


def test_overlapping_updates() -> None:
    """`update` writes the gradients: they must be apart from each other and from the parameters."""
    memory = np.ones(8)
    params = {"0_W": np.ones(4), "0_b": np.ones(4)}
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), params)
    pairs = (
        ({"0_W": memory[:4], "0_b": memory[2:6]}, '"0_W".*"0_b"|"0_b".*"0_W"'),
        ({"0_W": params["0_W"], "0_b": memory[:4]}, '"0_W"'),
        ({"0_W": params["0_b"], "0_b": memory[:4]}, '"0_W".*"0_b"|"0_b".*"0_W"'),
    )
    for gradients, names in pairs:
        with nothing_changes(updater, memory):
            with pytest.raises(ValueError, match=names) as caught:
                updater.update(gradients)
            assert "overlap" in str(caught.value)


@pytest.mark.parametrize("method", ["step", "update"])
def test_arguments(method: str) -> None:
    updater = make()
    gradients = good(np.float64)
    call = getattr(updater, method)
    with nothing_changes(updater):
        refused(
            lambda: call(gradients, lr=0.1),
            TypeError,
            f"{method}(): expected the arguments gradients, iteration, epoch, batch_size, "
            'gradient_scale, allow_copy, got "lr"',
        )
        refused(
            lambda: call(gradients, 3),
            TypeError,
            f"{method}(): expected at most 1 positional argument, got 2; name the others",
        )
        refused(
            lambda: call(gradients, gradients=gradients),
            TypeError,
            f'{method}(): expected "gradients" once, got it twice',
        )


def test_an_updater_without_its_init() -> None:
    class Unfinished(fs.MultiLayerUpdater):
        def __init__(self) -> None:
            pass

    # pybind11 refuses such an object when it is made; without __init__ at all, the method does.
    with pytest.raises(TypeError, match="__init__"):
        Unfinished()
    bare = fs.MultiLayerUpdater.__new__(fs.MultiLayerUpdater)
    refused(
        lambda: bare.step({}),
        TypeError,
        "MultiLayerUpdater: expected __init__ to have run; a subclass must call super().__init__",
    )


def test_nothing_to_step_with() -> None:
    updater = make()
    for method in (updater.step, updater.update):
        with nothing_changes(updater):
            refused(
                method,
                ValueError,
                "gradients: expected gradients, got none, and none are bound or accumulated; pass "
                "them, or call bind_gradients or accumulate first",
            )


# -------------------------------------------------------------------------- iteration, epoch, batch

BAD_COUNTS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    f"{name}={value!r}": (
        {name: value},
        exception,
        f"{name}: expected an integer >= {least}"
        + (" and < 2**63" if isinstance(value, int) and value >= 2**63 else "")
        + (" and < 2**63 - 1" if value == 2**63 - 1 else ""),
    )
    for name, least, values in (
        ("batch_size", 1, (0, -3, 2.5, "2", None, 2**63)),
        ("iteration", 0, (-1, 1.0, "3", 2**63, 2**63 - 1)),
        ("epoch", 0, (-2, 0.5, "a", 2**70, 2**63 - 1)),
    )
    for value in values
    for exception in (ValueError if isinstance(value, int) else TypeError,)
}


@pytest.mark.parametrize(
    ("options", "exception", "text"), BAD_COUNTS.values(), ids=BAD_COUNTS.keys()
)
def test_counts(options: dict[str, Any], exception: type[Exception], text: str) -> None:
    updater = make()
    gradients = good()
    ((name, value),) = options.items()
    whole = f"{text}, got {value!r}"
    for method in (updater.step, updater.update):
        with nothing_changes(updater, gradients):
            refused(lambda method=method: method(gradients, **options), exception, whole)
    if name != "batch_size":
        with nothing_changes(updater):
            refused(lambda: setattr(updater, name, value), exception, whole)


def test_the_count_of_skipped_steps_has_the_same_limit() -> None:
    updater = make()
    updater.skipped_steps = 2**63 - 2
    with nothing_changes(updater):
        refused(
            lambda: setattr(updater, "skipped_steps", 2**63 - 1),
            ValueError,
            "skipped_steps: expected an integer >= 0 and < 2**63 - 1, got 9223372036854775807",
        )


def test_a_step_at_the_last_iteration_leaves_an_updater_that_steps_and_loads() -> None:
    updater = make()
    updater.iteration = updater.epoch = 2**63 - 2
    for _ in range(3):
        updater.step(good())
        assert (updater.iteration, updater.epoch) == (2**63 - 2, 2**63 - 2)
    other = make()
    other.load_state_dict(updater.state_dict())
    assert other.iteration == 2**63 - 2


def test_a_gradient_that_occurs_twice() -> None:
    updater = make()
    twice = {0: {"W": np.ones(W_SHAPE), "b": np.ones(4)}, "0": {"W": np.ones(W_SHAPE)}}
    with nothing_changes(updater):
        refused(
            lambda: updater.step(twice),
            fs.ParameterKeyError,
            'gradients: the key "0_W" occurs twice',
        )


def test_a_layer_that_is_configured_twice() -> None:
    layers = {0: fs.LayerConfiguration(frozen=True), "0": fs.LayerConfiguration(l2=1.0)}
    refused(
        lambda: fs.MultiLayerConfiguration(layers=layers),  # type: ignore[arg-type]
        ValueError,
        "MultiLayerConfiguration: layers: expected each key once, got '0' twice",
    )


def test_accumulated_gradients_that_are_not_finite() -> None:
    """Sums that overflow stay until they are discarded, and the text says so."""
    updater = make()
    for _ in range(2):
        updater.accumulate({"0_W": np.full(W_SHAPE, np.finfo(np.float64).max), "0_b": np.ones(4)})
    for _ in range(2):
        refused(
            updater.step,
            fs.NonFiniteGradientError,
            'gradients: expected finite numbers, got NaN or infinity in "0_W"; nothing was '
            "changed. They are in what was accumulated: call discard_accumulated(), then lower the "
            'learning rate or the loss scale, or choose on_nonfinite="skip" or "propagate"',
        )
    updater.discard_accumulated()
    updater.step(good())


def test_methods_are_not_overwritten() -> None:
    updater = make()
    with pytest.raises(AttributeError, match=r"call set_learning_rate\(value\)"):
        updater.learning_rate = 0.01
    with pytest.raises(AttributeError, match="schedule"):
        updater.momentum = 0.9
    assert updater.learning_rate("0_W") == 0.1


def test_is_frozen() -> None:
    updater = make()
    assert [updater.is_frozen(layer) for layer in ("0", 0, "1", 1)] == [False, False, True, True]
    refused(
        lambda: updater.is_frozen("fc1"),
        fs.ParameterKeyError,
        'unknown layer "fc1"; expected one of 0, 1',
    )


def test_a_frozen_layer_may_be_none_as_a_whole() -> None:
    updater = make()
    before = updater.parameters["1_W"].copy()
    W, b = good().values()
    updater.step({0: {"W": W, "b": b}, 1: None})
    np.testing.assert_array_equal(updater.parameters["1_W"], before)
    assert updater.iteration == 2
    with pytest.raises(fs.ParameterKeyError, match='missing "0_W", "0_b"'):
        updater.step([None, None])


class FirstWord(fs.StepSchedule):
    """A schedule with a formula of its own, which the native step would not see."""

    def value_at(self, iteration: int, epoch: int = 0) -> float:
        return 42.0


def test_a_schedule_with_a_formula_of_its_own() -> None:
    with pytest.raises(TypeError, match="a number or a schedule of flatstep's own formulas"):
        fs.Sgd(FirstWord(0.1, 0.5, 10))


def test_a_class_of_another_package_by_the_same_name() -> None:
    """Classes are told apart by where they come from as well."""
    other = type("Sgd", (fs.Adam,), {})
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=other(0.1)), {"0_W": np.zeros(2)}
    )
    assert sorted(updater.state("0_W")) == ["m", "v"]


def test_state_that_a_custom_updater_does_not_declare() -> None:
    class Momentum(fs.CustomUpdater):
        learning_rate = 0.1

        def get_gradient(self, g: Any, state: Any, learning_rate: Any, iteration: int) -> None:
            state.setdefault("m", np.zeros_like(g))

    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=Momentum()), {"0_W": np.zeros(2)}
    )
    with nothing_changes(updater):
        refused(
            lambda: updater.step({"0_W": np.ones(2)}),
            ValueError,
            'Momentum.get_gradient: state["m"]: expected a name that the class declares, got a new '
            "one, which the next step would not see; name it in the class's state = (…)",
        )


@pytest.mark.parametrize("wrong", [None, 3, ["avx2"]])
def test_set_isa(wrong: Any) -> None:
    name = type(wrong).__name__
    refused(
        lambda: fs.set_isa(wrong), TypeError, f'name: expected a str, such as "avx2", got {name}'
    )


def test_numbers_beyond_float64() -> None:
    for call in (lambda: fs.Adam(10**400), lambda: make().set_learning_rate(10**400)):
        with pytest.raises(ValueError, match="below 1e308, got an integer of 1329 bits"):
            call()
    with pytest.raises(TypeError, match="expected a finite number >= 0, got complex64"):
        make().set_learning_rate(np.complex64(1 + 2j))  # type: ignore[arg-type]


def test_layers_are_written_one_way() -> None:
    with pytest.raises(fs.ParameterKeyError, match='expected an integer layer, got "00"'):
        fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"00_W": np.zeros(2)})


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"0_W": np.zeros(2, int)}, "params['0_W']: expected dtype float32 or float64, got int64"),
        ([[np.zeros(2), 3.0]], "params[0][1]: expected a NumPy array, got float"),
        (
            {"a": {"b": np.zeros(2, np.float32), "c": np.zeros(2)}},
            "params['a']['c']: expected dtype float32, that of the first array, got float64",
        ),
    ],
    ids=["int64", "float", "mixed"],
)
def test_flatten(params: Any, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        fs.flatten(params)
    assert str(caught.value).startswith(text)


def test_counts_by_position_and_unknown_options() -> None:
    updater = make()
    gradients = good()
    with nothing_changes(updater, gradients):
        with pytest.raises(TypeError, match="lr"):
            updater.step(gradients, lr=0.1)
        with pytest.raises(TypeError):
            updater.step(gradients, 3)


# ---------------------------------------------------------------------------------- configurations

POLICY = fs.LearningRatePolicy("Exponential", decay_rate=0.5)
OLD = {"semantics": "dl4j-0.8"}

ALL_STRATEGIES = [f'"{name}"' for name in STRATEGIES]

# What is wrong whatever the parameters are: refused when the configuration is made.
BAD_CONFIGURATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "strategy": (
        {"gradient_normalization": "ClipL2"},
        f'gradient_normalization: expected one of {", ".join(ALL_STRATEGIES)}, got "ClipL2"',
    ),
    "threshold": (
        {"gradient_normalization": "ClipL2PerLayer", "gradient_normalization_threshold": 0.0},
        "network: gradient_normalization_threshold: expected a finite number > 0 for "
        "ClipL2PerLayer, got 0",
    ),
    "NaN threshold": (
        {
            "gradient_normalization": "ClipL2Global",
            "gradient_normalization_threshold": float("nan"),
        },
        "network: gradient_normalization_threshold: expected a finite number > 0 for "
        "ClipL2Global, got nan",
    ),
    "layer's threshold": (
        {
            "gradient_normalization": "ClipElementWiseAbsoluteValue",
            "layers": {"2": fs.LayerConfiguration(gradient_normalization_threshold=-1.0)},
        },
        'layer "2": gradient_normalization_threshold: expected a finite number > 0 for '
        "ClipElementWiseAbsoluteValue, got -1",
    ),
    "semantics": (
        {"semantics": "dl4j-0.9"},
        'semantics: expected one of "dl4j-1.0", "dl4j-0.8", got "dl4j-0.9"',
    ),
    "on_nonfinite": (
        {"on_nonfinite": "ignore"},
        'on_nonfinite: expected one of "raise", "skip", "propagate", got "ignore"',
    ),
    "ClipL2Global of a layer": (
        {"layers": {"0": fs.LayerConfiguration(gradient_normalization="ClipL2Global")}},
        'layer "0": gradient_normalization: expected a strategy for a layer, got ClipL2Global, '
        "which is for the network only; use ClipL2PerLayer, or set it for the network",
    ),
    **{
        f"{name}={value}": (
            {name: value},
            f"network: {name}: expected a finite number >= 0, got {value:g}",
        )
        for name in ("l1", "l2", "l1_bias", "l2_bias", "weight_decay", "weight_decay_bias")
        for value in (-0.1, float("nan"), float("inf"))
    },
    "layer's l2": (
        {"layers": {"1": fs.LayerConfiguration(l2=-1.0)}},
        'layer "1": l2: expected a finite number >= 0, got -1',
    ),
    "parameter's l1": (
        {"layers": {"1": fs.LayerConfiguration(params={"b": fs.ParamConfiguration(l1=-1.0)})}},
        'layer "1", parameter "b": l1: expected a finite number >= 0, got -1',
    ),
    "weight decay in 0.8": (
        {**OLD, "weight_decay": 0.1},
        'network: weight_decay: expected 0 under semantics="dl4j-0.8", whose order has no place '
        'for weight decay, got 0.1; use l2, or semantics="dl4j-1.0"',
    ),
    "AdamW in 0.8": (
        {**OLD, "updater": fs.AdamW()},
        'network: updater: AdamW: weight_decay: expected 0 under semantics="dl4j-0.8", whose '
        'order has no place for weight decay, got 0.01; use l2, or semantics="dl4j-1.0"',
    ),
    "policy in 1.0": (
        {"learning_rate_policy": POLICY},
        'network: learning_rate_policy: expected none under semantics="dl4j-1.0", got '
        '"Exponential"; use a schedule as the updater\'s learning_rate, or semantics="dl4j-0.8"',
    ),
    "layer's policy in 1.0": (
        {"layers": {"0": fs.LayerConfiguration(learning_rate_policy=POLICY)}},
        'layer "0": learning_rate_policy: expected none under semantics="dl4j-1.0", got '
        '"Exponential"; use a schedule as the updater\'s learning_rate, or semantics="dl4j-0.8"',
    ),
    "momentum schedule in 1.0": (
        {"updater": fs.Nesterovs(), "momentum_schedule": {3: 0.8}},
        'network: momentum_schedule: expected none under semantics="dl4j-1.0"; use a schedule '
        'as the momentum of Nesterovs (MapSchedule), or semantics="dl4j-0.8"',
    ),
    "bias_learning_rate": (
        {"bias_learning_rate": -1.0},
        "network: bias_learning_rate: expected a finite number >= 0, got -1",
    ),
}


@pytest.mark.parametrize(
    ("arguments", "text"), BAD_CONFIGURATIONS.values(), ids=BAD_CONFIGURATIONS.keys()
)
def test_configurations(arguments: dict[str, Any], text: str) -> None:
    refused(lambda: fs.MultiLayerConfiguration(**arguments), ValueError, text)


BAD_TYPES: dict[str, tuple[dict[str, Any], str]] = {
    "updater": (
        {"updater": "Adam"},
        "MultiLayerConfiguration: updater: expected an updater such as Adam() or Sgd(0.1), got "
        "'Adam' of type str",
    ),
    "class": (
        {"updater": fs.Adam},
        "MultiLayerConfiguration: updater: expected an updater such as Adam() or Sgd(0.1), got "
        f"{fs.Adam!r} of type type",
    ),
    "l2": (
        {"l2": "0.1"},
        "MultiLayerConfiguration: l2: expected a number, got '0.1' of type str",
    ),
    "mini_batch": (
        {"mini_batch": 1},
        "MultiLayerConfiguration: mini_batch: expected True or False, got 1 of type int",
    ),
    "layers": (
        {"layers": {"0": {"frozen": True}}},
        "MultiLayerConfiguration: layers['0']: expected a LayerConfiguration, got "
        "{'frozen': True} of type dict",
    ),
    "unknown": (
        {"clip": 1.0},
        "MultiLayerConfiguration: expected the arguments "
        + ", ".join(field.name for field in dataclasses.fields(fs.MultiLayerConfiguration))
        + ', got "clip"',
    ),
}


@pytest.mark.parametrize(("arguments", "text"), BAD_TYPES.values(), ids=BAD_TYPES.keys())
def test_types_of_configurations(arguments: dict[str, Any], text: str) -> None:
    refused(lambda: fs.MultiLayerConfiguration(**arguments), TypeError, text)


# What is wrong for the parameters "0_W" and "0_b": refused when the updater is made.
BAD_FOR_THE_LAYOUT: dict[str, tuple[dict[str, Any], str]] = {
    "unknown layer": (
        {"layers": {"1": fs.LayerConfiguration(frozen=True)}},
        'layers: expected names of layers with parameters ("0"), got "1"; correct or remove it',
    ),
    "unknown parameter": (
        {"layers": {"0": fs.LayerConfiguration(params={"w": fs.ParamConfiguration(l2=0.1)})}},
        'layer "0": params: expected names of its parameters ("W", "b"), got "w"; correct or '
        "remove it",
    ),
    "policy and schedule": (
        {
            **OLD,
            "updater": fs.Sgd(fs.StepSchedule(0.1, 0.5, 10)),
            "learning_rate_policy": POLICY,
        },
        'parameter "0_W": expected a learning_rate_policy or a schedule, got both: policy '
        '"Exponential" and a schedule as learning_rate of Sgd; give a number as learning_rate, '
        'or LearningRatePolicy("None") to the layer or parameter',
    ),
    "momentum schedule twice": (
        {
            **OLD,
            "updater": fs.Nesterovs(momentum=fs.StepSchedule(0.9, 0.5, 10)),
            "momentum_schedule": {1: 0.5},
        },
        'parameter "0_W": expected a momentum_schedule or a schedule as momentum of Nesterovs, '
        "got both; give a number as momentum, or leave out momentum_schedule",
    ),
    "momentum schedule without momentum": (
        {**OLD, "updater": fs.Adam(), "momentum_schedule": {1: 0.5}},
        "network: momentum_schedule: expected an updater with a momentum (Nesterovs), got none; "
        "use Nesterovs, or leave out momentum_schedule",
    ),
    "two weight decays": (
        {"updater": fs.AdamW(weight_decay=0.1), "weight_decay": 0.2},
        'parameter "0_W": weight_decay: expected 0 beside AdamW, which has a weight decay of '
        "0.1, got 0.2; use Adam, or leave it to AdamW",
    ),
    "updater of a statistic": (
        {
            "layers": {
                "0": fs.LayerConfiguration(
                    params={"b": fs.ParamConfiguration(statistic=True, updater=fs.Adam())}
                )
            }
        },
        'parameter "0_b": updater: expected none or NoOp for a statistic, got Adam; a statistic '
        "is moved by its gradient as it stands (statistic=False makes it an ordinary parameter)",
    ),
    "l2 of a statistic": (
        {
            "layers": {
                "0": fs.LayerConfiguration(
                    params={"b": fs.ParamConfiguration(statistic=True, l2=0.1)}
                )
            }
        },
        'parameter "0_b": l2: expected 0 for a statistic, got 0.1',
    ),
}


@pytest.mark.parametrize(
    ("arguments", "text"), BAD_FOR_THE_LAYOUT.values(), ids=BAD_FOR_THE_LAYOUT.keys()
)
def test_configurations_for_a_layout(arguments: dict[str, Any], text: str) -> None:
    config = fs.MultiLayerConfiguration(**arguments)
    params = {"0_W": np.zeros(3), "0_b": np.zeros(3)}
    refused(lambda: fs.MultiLayerUpdater(config, params), ValueError, text)


def test_not_a_configuration() -> None:
    refused(
        lambda: fs.MultiLayerUpdater(fs.Adam(), {"0_W": np.zeros(3)}),
        TypeError,
        "configuration: expected a MultiLayerConfiguration, got Adam",
    )


# ---------------------------------------------------------------------------- schedules and
# policies

BAD_SCHEDULES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no first key": (
        lambda: fs.MapSchedule({3: 0.1}),
        ValueError,
        "MapSchedule: values: expected key 0 and no smaller one, got smallest key 3; add "
        "{0: value}, the value before the next key",
    ),
    "no keys": (
        lambda: fs.MapSchedule({}),
        ValueError,
        "MapSchedule: values: expected key 0 and no smaller one, got no keys; add {0: value}, "
        "the value before the next key",
    ),
    "schedule_type": (
        lambda: fs.StepSchedule(0.1, 0.5, 10, schedule_type="BATCH"),
        ValueError,
        'schedule_type: expected one of "ITERATION", "EPOCH", got "BATCH"',
    ),
    "a float for an integer": (
        lambda: fs.CosineSchedule(0.1, 10.0),
        TypeError,
        "CosineSchedule: max_iter: expected an integer, got 10.0 of type float",
    ),
    "a string for a number": (
        lambda: fs.SigmoidSchedule("0.1", 0.5, 10),
        TypeError,
        "SigmoidSchedule: initial: expected a number, got '0.1' of type str",
    ),
    "kind of policy": (
        lambda: fs.LearningRatePolicy("Linear"),
        ValueError,
        'LearningRatePolicy: kind: expected one of "None", "Exponential", "Inverse", "Step", '
        '"TorchStep", "Poly", "Sigmoid", "Schedule", "Score", got "Linear"',
    ),
    "needed argument": (
        lambda: fs.LearningRatePolicy("Step", decay_rate=0.5),
        ValueError,
        'LearningRatePolicy "Step": steps: expected a number, got none; this kind needs '
        "decay_rate and steps",
    ),
    "steps": (
        lambda: fs.LearningRatePolicy("Step", decay_rate=0.5, steps=0),
        ValueError,
        'LearningRatePolicy "Step": steps: expected a finite number > 0, got 0',
    ),
    "empty schedule": (
        lambda: fs.LearningRatePolicy("Schedule", schedule={}),
        ValueError,
        'LearningRatePolicy "Schedule": schedule: expected at least one iteration, got none; '
        "give {iteration: learning rate}",
    ),
}


@pytest.mark.parametrize(
    ("call", "exception", "text"), BAD_SCHEDULES.values(), ids=BAD_SCHEDULES.keys()
)
def test_schedules_and_policies(
    call: Callable[[], Any], exception: type[Exception], text: str
) -> None:
    refused(call, exception, text)


@pytest.mark.parametrize(
    ("kind", "wrong", "text"),
    [(kind, wrong, text) for kind, row in KINDS.items() for wrong, text in row.errors],
    ids=str,
)
def test_ranges_of_schedules(kind: str, wrong: Mapping[str, Any], text: str) -> None:
    arguments = {**KINDS[kind].examples[0], **wrong}
    refused(lambda: schedule(Schedule(kind, arguments)), ValueError, f"{kind}Schedule: {text}")


def test_classes_that_may_stand_in_a_saved_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All updaters, then all schedules, in alphabetical order."""
    monkeypatch.setattr(serialization, "_registered", {})
    updaters = sorted(set(fs.updaters.__all__) - {"Updater", "CustomUpdater", "register_updater"})
    schedules = sorted(f"{kind}Schedule" for kind in KINDS)
    refused(
        lambda: fs.MultiLayerConfiguration.from_dict({"version": 1, "updater": {"class": "Adam2"}}),
        ValueError,
        f"configuration.updater: class: expected one of {', '.join([*updaters, *schedules])}, got "
        "'Adam2'; a CustomUpdater's class must be registered before: "
        "flatstep.register_updater(cls)",
    )


# --------------------------------------------------------------------------- threads, instruction
# sets


def test_threads() -> None:
    before = fs.get_num_threads()
    for value, exception, text in (
        (0, ValueError, "num_threads: expected an integer from 1 to 1024, got 0"),
        (-1, ValueError, "num_threads: expected an integer from 1 to 1024, got -1"),
        (10**30, ValueError, f"num_threads: expected an integer from 1 to 1024, got {10**30}"),
        (1.5, TypeError, "num_threads: expected an integer >= 1, got float"),
    ):
        refused(lambda value=value: fs.set_num_threads(value), exception, text)
    assert fs.get_num_threads() == before


def test_instruction_set() -> None:
    before = fs.isa()
    with pytest.raises(ValueError, match="mmx") as caught:
        fs.set_isa("mmx")
    for name in fs.available_isas():
        assert re.search(rf'"{name}"', str(caught.value))
    assert fs.isa() == before
