"""DynamicLossScale: when it grows and backs off, what a refused step leaves, micro-batches, state.

`peers_loss_scale.py` holds its rules to PyTorch's.
"""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from snapshots import bits, everything, nothing_changes

import flatstep as fs

REFUSING = ("raise", "skip")


def made(on_nonfinite: Any = "raise", dtype: Any = np.float32, **settings: Any) -> Any:
    settings = {"updater": fs.Sgd(0.5), **settings}
    config = fs.MultiLayerConfiguration(on_nonfinite=on_nonfinite, **settings)
    return fs.MultiLayerUpdater(config, {"0_W": np.zeros(3, dtype), "0_b": np.zeros(2, dtype)})


def gradients(value: float, scale: float = 1.0, dtype: Any = np.float32) -> dict[str, Any]:
    return {"0_W": np.full(3, value * scale, dtype), "0_b": np.full(2, -value * scale, dtype)}


def run(loss_scale: fs.DynamicLossScale, good: str) -> list[float]:
    """The scale after each step: "+" one that is good, "-" one that is not."""
    found = []
    for sign in good:
        value = 0.25 * loss_scale.value if sign == "+" else math.inf
        assert loss_scale.step(gradients(value)) == (sign == "+")
        found.append(loss_scale.value)
    return found


# --------------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize("how", REFUSING)
def test_it_grows_and_backs_off(how: str) -> None:
    """A refused step begins the count of good ones anew."""
    loss_scale = fs.DynamicLossScale(made(how), 8.0, 4.0, 0.5, 3)
    assert run(loss_scale, "+++" "+-+" "+-+" "++-" "--") == [
        *(8, 8, 32), *(32, 16, 16), *(16, 8, 8), *(8, 32, 16), *(8, 4),
    ]  # fmt: skip
    assert (loss_scale.skipped_steps, loss_scale.good_steps) == (5, 0)


def test_the_defaults_are_those_of_pytorch() -> None:
    loss_scale = fs.DynamicLossScale(made())
    assert run(loss_scale, "+" * 1999)[-1] == 65536.0
    assert run(loss_scale, "+-") == [131072.0, 65536.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("how", REFUSING)
def test_a_step_is_that_of_the_true_gradient(how: str, dtype: Any) -> None:
    """To the bit where the scale is a power of two; norms and clipping are the true ones."""
    settings = {"updater": fs.Adam(0.1), "gradient_normalization": "ClipL2PerLayer"}
    scaled, plain = made(how, dtype, **settings), made(how, dtype, **settings)
    loss_scale = fs.DynamicLossScale(scaled, growth_interval=2)
    for value in (0.3, -2.0, 0.7, 1.1):
        assert loss_scale.step(gradients(value, loss_scale.value, dtype))
        plain.step(gradients(value, 1.0, dtype))
        assert everything(scaled) == everything(plain)
        assert scaled.last_step == plain.last_step
    assert loss_scale.value == 2.0**18


@pytest.mark.parametrize("how", REFUSING)
def test_a_refused_step_changes_nothing_but_the_scale(how: str) -> None:
    updater = made(how)
    loss_scale = fs.DynamicLossScale(updater)
    run(loss_scale, "++")
    before = everything(updater)
    bad = gradients(math.nan)
    given = bits(bad)
    assert not loss_scale.step(bad)
    assert bits(bad) == given
    after = everything(updater)
    assert after["parameters"] == before["parameters"]
    assert after["state view"] == before["state view"]
    assert updater.iteration == 2
    assert updater.skipped_steps == (how == "skip")
    assert loss_scale.skipped_steps == 1


def test_what_else_a_step_is_given() -> None:
    """A scale of the caller's own is multiplied by; the rest goes to the updater."""
    updater, plain = made(), made()
    loss_scale = fs.DynamicLossScale(updater, 1024.0)
    own: dict[str, Any] = {"batch_size": 4, "iteration": 7, "epoch": 2}
    assert loss_scale.step(gradients(3.0, 1024.0), gradient_scale=0.25, **own)
    plain.step(gradients(3.0), gradient_scale=0.25, **own)
    assert everything(updater) == everything(plain)
    assert (updater.iteration, updater.epoch) == (8, 2)


def test_bound_gradients() -> None:
    updater = made()
    loss_scale = fs.DynamicLossScale(updater, 4.0)
    bound = gradients(math.inf)
    updater.bind_gradients(bound)
    assert not loss_scale.step()
    for key, gradient in gradients(1.0, loss_scale.value).items():
        bound[key][...] = gradient
    assert loss_scale.step()
    assert updater.parameters["0_W"].tolist() == [-0.5] * 3


@pytest.mark.parametrize(("sign", "end"), [("-", 2.0**-99), ("+", 2.0**99)])
def test_the_scale_stays_where_a_step_can_divide_by_it(sign: str, end: float) -> None:
    loss_scale = fs.DynamicLossScale(made(), growth_interval=1)
    updater = loss_scale.updater
    for _ in range(200):
        value = 0.0 if sign == "+" else math.inf
        assert loss_scale.step(gradients(value)) == (sign == "+")
    assert loss_scale.value == end
    assert updater.iteration == (200 if sign == "+" else 0)
    assert loss_scale.step(gradients(1.0, loss_scale.value))
    assert updater.parameters["0_W"].tolist() == [-0.5] * 3


# ------------------------------------------------------------------------------------------- scale


def test_scale_multiplies_numbers_and_arrays() -> None:
    loss_scale = fs.DynamicLossScale(made(), 1024.0)
    assert loss_scale.scale(0.5) == 512.0
    assert loss_scale.scale(3) == 3072.0
    for dtype in (np.float32, np.float64):
        array = np.ones((2, 3), dtype)
        scaled = loss_scale.scale(array)
        assert (scaled.dtype, scaled.tolist()) == (dtype, [[1024.0] * 3] * 2)
        assert array.tolist() == [[1.0] * 3] * 2
    assert loss_scale.scale(np.arange(3, dtype=np.int16)).tolist() == [0, 1024, 2048]


def test_scale_of_half_precision() -> None:
    """In its dtype, whatever the scale is: 65536 is no number of float16, 655.36 is about one."""
    loss_scale = fs.DynamicLossScale(made())
    scaled = loss_scale.scale(np.array([0.01, -2.0, 0.0], np.float16))
    assert scaled.dtype == np.float16
    expected = np.float16(np.float64(np.float16(0.01)) * 65536)
    assert scaled.tolist() == [float(expected), -math.inf, 0.0]
    loss = loss_scale.scale(np.float16(0.5))
    assert (loss.dtype, float(loss)) == (np.float16, 32768.0)


def test_scale_of_bfloat16() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    loss_scale = fs.DynamicLossScale(made(), 3.0)
    scaled = loss_scale.scale(np.array([0.5, 3e38], ml_dtypes.bfloat16))
    assert scaled.dtype == ml_dtypes.bfloat16
    assert scaled.astype(np.float64).tolist() == [1.5, math.inf]


def test_scale_of_others() -> None:
    """Whatever can be multiplied by a number; what cannot is refused by name."""

    class Loss:
        def __mul__(self, other: float) -> tuple[str, float]:
            return "scaled", other

    loss_scale = fs.DynamicLossScale(made(), 2.0)
    assert loss_scale.scale(Loss()) == ("scaled", 2.0)
    with pytest.raises(TypeError, match=r"scale: x: expected a number or an array, got \[1\]"):
        loss_scale.scale([1])


# ----------------------------------------------------------------------------------- micro-batches


@pytest.mark.parametrize("how", REFUSING)
def test_accumulated_gradients(how: str) -> None:
    updater, plain = made(how), made(how)
    loss_scale = fs.DynamicLossScale(updater, 1024.0)
    for value in (1.0, 2.5):
        assert loss_scale.accumulate(gradients(value, 1024.0))
        plain.accumulate(gradients(value))
    assert loss_scale.step(batch_size=2)
    plain.step(batch_size=2)
    assert everything(updater) == everything(plain)
    assert updater.accumulated is None


@pytest.mark.parametrize("order", ["+-+", "-++", "++-", "-"])
@pytest.mark.parametrize("how", REFUSING)
def test_a_refused_micro_batch_costs_its_step(how: str, order: str) -> None:
    """As in PyTorch, where it is an infinity in the sum; also where there is none but it."""
    updater = made(how)
    loss_scale = fs.DynamicLossScale(updater, 1024.0, growth_interval=1)
    added = 0
    for sign in order:
        took = loss_scale.accumulate(gradients(1024.0 if sign == "+" else math.nan))
        assert took == (sign == "+")
        added += took
    assert not loss_scale.step(batch_size=added)
    assert (loss_scale.value, loss_scale.skipped_steps) == (512.0, 1)
    assert (updater.iteration, updater.accumulated) == (0, None)
    assert not updater.parameters["0_W"].any()
    loss_scale.accumulate(gradients(512.0))  # the next one is as if nothing had been
    assert loss_scale.step()
    assert updater.parameters["0_W"].tolist() == [-0.5] * 3
    assert loss_scale.value == 1024.0


@pytest.mark.parametrize("how", REFUSING)
def test_a_sum_that_overflows_is_discarded(how: str) -> None:
    """It is of a scale that is no more: the updater alone would keep it, under "raise"."""
    updater = made(how)
    loss_scale = fs.DynamicLossScale(updater, 1024.0)
    assert [loss_scale.accumulate(gradients(3e38)) for _ in range(2)] == [True, True]
    assert not loss_scale.step()
    assert updater.accumulated is None
    assert loss_scale.value == 512.0


def test_gradients_beside_accumulated_ones() -> None:
    """These would be left for a step with another scale."""
    updater = made()
    loss_scale = fs.DynamicLossScale(updater, 1024.0)
    text = "step: gradients: expected none, as there are accumulated ones"
    for value in (1024.0, math.inf):
        loss_scale.accumulate(gradients(value))
        before = loss_scale.state_dict()
        with nothing_changes(updater), pytest.raises(ValueError, match=text):
            loss_scale.step(gradients(1.0))
        assert loss_scale.state_dict() == before
        loss_scale.step()
    assert loss_scale.step(gradients(1.0))


# ------------------------------------------------------------------------------------------- state


@pytest.mark.parametrize("at", [0, 4, 9, 17])
def test_it_goes_on_from_its_state(at: int) -> None:
    """Through JSON, beside the updater's own state, and as a pickle or a copy of both."""
    course = "++-+++++-+--++++++++"
    updater = made()
    loss_scale = fs.DynamicLossScale(updater, growth_interval=3)
    run(loss_scale, course[:at])
    if at == 9:
        loss_scale.accumulate(gradients(math.inf))
        course = course[:9] + "/" + course[9:]
    resumed = fs.DynamicLossScale(made(), growth_interval=3)
    resumed.load_state_dict(json.loads(json.dumps(loss_scale.state_dict())))
    resumed.updater.load_state_dict(updater.state_dict())
    copies = [resumed, pickle.loads(pickle.dumps(loss_scale)), copy.deepcopy(loss_scale)]
    assert all(each.updater is not updater for each in copies)
    for sign in course[at:]:
        if sign == "/":  # the step of the micro-batch that was refused
            assert not any(each.step() for each in (loss_scale, *copies))
        else:
            scales = [run(each, sign) for each in (loss_scale, *copies)]
            assert scales == [scales[0]] * 4
        for each in copies:
            assert each.state_dict() == loss_scale.state_dict()
            assert each.updater.iteration == updater.iteration
    assert loss_scale.skipped_steps >= 4


def test_states_that_are_refused() -> None:
    loss_scale = fs.DynamicLossScale(made())
    run(loss_scale, "-+")
    before = loss_scale.state_dict()
    less = dict(before)
    del less["value"]
    refused: list[tuple[Any, type[Exception], str]] = [
        (None, TypeError, "expected what state_dict() gave, got NoneType"),
        (
            less,
            ValueError,
            "missing or unknown: value; expected version, value, good_steps, skipped_steps, "
            "refused",
        ),
        (
            {**before, "_growth_tracker": 1},
            ValueError,
            "missing or unknown: _growth_tracker; expected version, value, good_steps, "
            "skipped_steps, refused",
        ),
        ({**before, "version": 2}, ValueError, "expected version 1, got 2"),
        (
            {**before, "value": 0.0},
            ValueError,
            "value: expected a number from 2**-99 to 2**99, got 0.0",
        ),
        (
            {**before, "good_steps": -1},
            ValueError,
            "good_steps: expected an integer >= 0, got -1",
        ),
        (
            {**before, "skipped_steps": 0.5},
            TypeError,
            "skipped_steps: expected an integer, got 0.5 of type float",
        ),
        (
            {**before, "refused": 1},
            TypeError,
            "refused: expected True or False, got 1 of type int",
        ),
    ]
    for state, exception, text in refused:
        with pytest.raises(exception) as caught:
            loss_scale.load_state_dict(state)
        assert str(caught.value) == f"DynamicLossScale.load_state_dict: {text}"
        assert loss_scale.state_dict() == before


# -------------------------------------------------------------------------------- what is refused


def refused_scale(**arguments: Any) -> Callable[[], Any]:
    return lambda: fs.DynamicLossScale(made(), **arguments)


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "updater": (
        lambda: fs.DynamicLossScale(fs.Adam()),  # type: ignore[arg-type]
        TypeError,
        "updater: expected an updater such as MultiLayerUpdater, got Adam",
    ),
    "propagate": (
        lambda: fs.DynamicLossScale(made("propagate")),
        ValueError,
        'updater: expected one with on_nonfinite="raise" or "skip", got "propagate", with which no '
        "step is refused: a scale that is too large would put NaN into the parameters, and stay",
    ),
    "init_scale": (
        refused_scale(init_scale=0),
        ValueError,
        "init_scale: expected a number from 2**-99 to 2**99, got 0",
    ),
    "init_scale, too large": (
        refused_scale(init_scale=1e39),
        ValueError,
        "init_scale: expected a number from 2**-99 to 2**99, got 1e+39",
    ),
    "init_scale, NaN": (
        refused_scale(init_scale=math.nan),
        ValueError,
        "init_scale: expected a number from 2**-99 to 2**99, got nan",
    ),
    "init_scale's type": (
        refused_scale(init_scale="2"),
        TypeError,
        "init_scale: expected a number, got '2' of type str",
    ),
    "growth_factor": (
        refused_scale(growth_factor=1),
        ValueError,
        "growth_factor: expected a finite number > 1, got 1",
    ),
    "growth_factor, infinite": (
        refused_scale(growth_factor=math.inf),
        ValueError,
        "growth_factor: expected a finite number, got inf",
    ),
    "backoff_factor 1": (
        refused_scale(backoff_factor=1.0),
        ValueError,
        "backoff_factor: expected a number in (0, 1), got 1.0",
    ),
    "backoff_factor": (
        refused_scale(backoff_factor=0.0),
        ValueError,
        "backoff_factor: expected a number in (0, 1), got 0.0",
    ),
    "growth_interval": (
        refused_scale(growth_interval=0),
        ValueError,
        "growth_interval: expected an integer >= 1, got 0",
    ),
    "growth_interval's type": (
        refused_scale(growth_interval=2000.0),
        TypeError,
        "growth_interval: expected an integer, got 2000.0 of type float",
    ),
}


@pytest.mark.parametrize(("call", "exception", "text"), BAD.values(), ids=BAD.keys())
def test_what_a_loss_scale_cannot_be(
    call: Callable[[], Any], exception: type[Exception], text: str
) -> None:
    with pytest.raises(exception) as caught:
        call()
    assert str(caught.value) == f"DynamicLossScale: {text}"


def test_bad_steps_change_neither_the_updater_nor_the_scale() -> None:
    updater = made()
    loss_scale = fs.DynamicLossScale(updater)
    run(loss_scale, "+-+")
    before = loss_scale.state_dict()
    good = gradients(1.0)
    refused: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: loss_scale.step({"0_W": good["0_W"]}), fs.ParameterKeyError, 'missing "0_b"'),
        (lambda: loss_scale.step(), ValueError, "expected gradients, got none"),
        (lambda: loss_scale.step(good, lr=1.0), TypeError, "lr"),
        (lambda: loss_scale.step(good, batch_size=0), ValueError, "batch_size"),
        (
            lambda: loss_scale.step(good, gradient_scale="2"),  # type: ignore[arg-type]
            TypeError,
            "DynamicLossScale.step: gradient_scale: expected a number, got '2'",
        ),
        (
            lambda: loss_scale.step(good, gradient_scale=1e-28),
            ValueError,
            "gradient_scale: expected a number from 1e-30 to 1e30, got 3.05",
        ),
        (lambda: loss_scale.accumulate({"0_W": good["0_W"]}), fs.ParameterKeyError, "missing"),
    ]
    for call, exception, text in refused:
        with nothing_changes(updater), pytest.raises(exception, match=text):
            call()
        assert loss_scale.state_dict() == before


def test_its_text() -> None:
    loss_scale = fs.DynamicLossScale(made())
    run(loss_scale, "-+++")
    assert repr(loss_scale) == "<DynamicLossScale: 32768, 3 good steps, 1 skipped>"
