"""What tests compare to the bit: everything a step may change, and what the last step reported."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np


def bits(value: Any) -> Any:
    """A comparable form in which equal means equal to the bit: -0.0 is not 0.0, NaN is itself."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes("A"))
    if isinstance(value, np.generic):
        return (value.dtype.str, value.tobytes())
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, Mapping):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [bits(item) for item in value]
    return value


def report(last_step: Any) -> Any:
    """`last_step` as nested plain values, to the bit."""
    return bits(dataclasses.asdict(last_step))


def everything(updater: Any) -> dict[str, Any]:
    """Parameters, state, rates and counters of an updater, to the bit."""
    return {
        "parameters": bits(dict(updater.parameters)),
        "state view": bits(np.array(updater.state_view)),
        "state": bits(updater.state_dict()),
        "counters": (updater.iteration, updater.epoch, updater.skipped_steps),
    }


@contextmanager
def nothing_changes(updater: Any, *arrays: Any) -> Iterator[None]:
    """Fails if the block changes the updater, what it works on, or one of `arrays`."""
    before = everything(updater), bits(arrays)
    yield
    after = everything(updater), bits(arrays)
    for what, value in before[0].items():
        assert after[0][what] == value, f"changed: {what}"
    assert after[1] == before[1], "changed: an array that was given"
