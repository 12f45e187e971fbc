"""The flat updater state in the order of each release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from oracle.settings import NetworkSpec, SlotSpec, UpdaterSpec
from oracle.updaters import state_names

State = Mapping[str, Mapping[str, Any]]


class Block(NamedTuple):
    """A maximal run of neighbouring slots with equal updaters, and its ranges."""

    keys: tuple[str, ...]
    param_start: int
    param_end: int
    state_start: int
    state_end: int


def effective_updater(spec: NetworkSpec, slot: SlotSpec) -> UpdaterSpec:
    """The updater as it counts for state: statistics have none, nor have frozen slots in 1.0."""
    if slot.statistic or (slot.frozen and spec.semantics == "dl4j-1.0"):
        return UpdaterSpec("NoOp")
    return slot.updater


def block_slots(spec: NetworkSpec) -> list[list[SlotSpec]]:
    """1.0's blocks: they end where the updater changes, and around what learns in pretraining."""
    blocks: list[list[SlotSpec]] = []
    for slot in spec.slots:
        last = blocks[-1][-1] if blocks else None
        if (
            last is not None
            and effective_updater(spec, last) == effective_updater(spec, slot)
            and last.learns_in_pretraining_only == slot.learns_in_pretraining_only
            and (last.layer == slot.layer or not slot.learns_in_pretraining_only)
        ):
            blocks[-1].append(slot)
        else:
            blocks.append([slot])
    return blocks


def updater_blocks(spec: NetworkSpec) -> list[Block]:
    blocks = []
    param = state = 0
    for slots in block_slots(spec):
        size = sum(slot.size for slot in slots)
        state_size = size * len(state_names(effective_updater(spec, slots[0])))
        keys = tuple(slot.key for slot in slots)
        blocks.append(Block(keys, param, param + size, state, state + state_size))
        param, state = param + size, state + state_size
    return blocks


def pieces(spec: NetworkSpec) -> Iterator[tuple[SlotSpec, str]]:
    """(slot, state name) in the order of the flat view."""
    if spec.semantics == "dl4j-0.8":
        for slot in spec.slots:
            for name in state_names(effective_updater(spec, slot)):
                yield slot, name
    else:
        for slots in block_slots(spec):
            for name in state_names(effective_updater(spec, slots[0])):
                for slot in slots:
                    yield slot, name


def state_view(spec: NetworkSpec, state: State) -> Any:
    """All state in one flat array."""
    arrays = [np.asarray(state[slot.key][name]).ravel() for slot, name in pieces(spec)]
    return np.concatenate([np.zeros(0), *arrays])


def from_state_view(spec: NetworkSpec, flat: Any) -> dict[str, dict[str, Any]]:
    """The state by slot and name from one flat array."""
    state: dict[str, dict[str, Any]] = {}
    start = 0
    for slot, name in pieces(spec):
        state.setdefault(slot.key, {})[name] = np.array(flat[start : start + slot.size])
        start += slot.size
    if start != len(flat):
        raise ValueError(f"a state view of {len(flat)} elements, expected {start}")
    return state
