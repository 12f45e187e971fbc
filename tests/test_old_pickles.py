"""Pickles of release 0.1: every object in them is what it was, and goes on."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import old_objects
import pytest

import flatstep as fs


def load(name: str) -> list[Any]:
    loaded: list[Any] = pickle.loads((old_objects.FOLDER / f"{name}.pickle").read_bytes())
    return loaded


def same(old: Any, new: Any) -> bool:
    """Equal but for the last bits of numbers, which are another processor's."""
    if type(old) is not type(new):
        return False
    if isinstance(old, fs.HistoryListener):
        return same(old.history, new.history)
    if isinstance(old, fs.MultiLayerUpdater | fs.ComputationGraphUpdater | fs.LayerUpdater):
        return all(
            same(getattr(old, name), getattr(new, name))
            for name in ("configuration", "layout", "monitor", "parameters", "accumulated")
        ) and same(old.state_dict(), new.state_dict())
    if isinstance(old, fs.StochasticGradientDescent):
        names = ("updater", "gradient_and_score", "listeners", "batch_size", "score", "old_score")
        return all(same(getattr(old, name), getattr(new, name)) for name in names)
    if type(old) is fs.Listener:
        return True
    if isinstance(old, Exception):
        return same(old.args, new.args) and str(old) == str(new)
    if isinstance(old, np.ndarray | float):
        return bool(np.shape(old) == np.shape(new)) and np.allclose(
            old, new, rtol=1e-12, atol=0, equal_nan=True
        )
    if dataclasses.is_dataclass(old):
        names = [field.name for field in dataclasses.fields(old)]
        return all(same(getattr(old, name), getattr(new, name)) for name in names)
    if isinstance(old, Mapping):
        return list(old) == list(new) and all(same(old[key], new[key]) for key in old)
    if isinstance(old, list | tuple):
        return len(old) == len(new) and all(map(same, old, new))
    return bool(old == new)


@pytest.mark.parametrize("name", old_objects.OBJECTS)
def test_an_object_is_what_it_was(name: str) -> None:
    old, new = load(name), old_objects.OBJECTS[name]()
    assert len(old) == len(new)
    for one, other in zip(old, new, strict=True):
        assert same(one, other), other


@pytest.mark.parametrize("name", ["updaters", "schedules", "policies", "configurations"])
def test_configurations_are_equal(name: str) -> None:
    old, new = load(name), old_objects.OBJECTS[name]()
    assert old == new
    assert [hash(each) for each in old] == [hash(each) for each in new]


@pytest.mark.parametrize("place", range(4))
def test_an_updater_goes_on(place: int) -> None:
    old, new = load("network_updaters")[place], old_objects.network_updaters()[place]
    for updater in (old, new):
        for _ in range(3):
            updater.step(old_objects.gradient(updater))
        if updater.accumulated is not None:
            updater.step()
    assert same(old, new)


def test_every_class_is_there() -> None:
    """What 0.1 had of updaters and schedules, and nothing forgotten."""
    for name, base in (("updaters", fs.Updater), ("schedules", fs.Schedule)):
        classes = {type(each).__name__ for each in load(name)}
        assert all(issubclass(getattr(fs, each), base) for each in classes)
    assert len(load("updaters")) == 12
    assert len(load("schedules")) == 10
