"""Builds flatstep's configuration, arrays and updater from the oracle's resolved settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from oracle import NetworkSpec, Policy, Schedule, SlotSpec, UpdaterSpec

import flatstep as fs

Arrays = dict[str, Any]


def schedule(number: Any) -> Any:
    """A number as it is, or flatstep's schedule; of a tuple, all that are in it."""
    if isinstance(number, tuple):
        return tuple(map(schedule, number))
    if not isinstance(number, Schedule):
        return number
    values = {name: schedule(value) for name, value in number.values.items()}
    return getattr(fs, f"{number.kind}Schedule")(**values, schedule_type=number.schedule_type)


def updater_configuration(spec: UpdaterSpec) -> Any:
    return getattr(fs, spec.name)(**{name: schedule(v) for name, v in spec.values.items()})


def policy(spec: Policy) -> Any:
    return fs.LearningRatePolicy(
        spec.kind,
        decay_rate=spec.decay_rate,
        power=spec.power,
        steps=spec.steps,
        num_iterations=spec.num_iterations,
        schedule=dict(spec.schedule),
    )


def param_configuration(slot: SlotSpec) -> Any:
    """Everything said per parameter, so that nothing is left to inherit."""
    if slot.statistic:
        return fs.ParamConfiguration(statistic=True)
    decays: dict[str, Any] = {}
    if slot.weight_decay:
        decays["weight_decay"] = slot.weight_decay
        decays["weight_decay_apply_lr"] = slot.weight_decay_apply_lr
    return fs.ParamConfiguration(
        updater=updater_configuration(slot.updater),
        learning_rate_scale=None if slot.learning_rate_scale == 1 else slot.learning_rate_scale,
        l1=slot.l1,
        l2=slot.l2,
        learning_rate_policy=policy(slot.policy) if slot.policy else None,
        momentum_schedule=dict(slot.momentum_schedule) or None,
        pretrain_only=slot.pretrain_only,
        **decays,
    )


def configuration(spec: NetworkSpec) -> Any:
    """flatstep's configuration with the settings of `spec`."""
    layers = {}
    for layer in spec.layers:
        slots = spec.slots_of(layer.name)
        own: dict[str, Any] = {}
        if not layer.in_global:
            own["gradient_normalization"] = layer.strategy
            own["gradient_normalization_threshold"] = layer.threshold
        layers[layer.name] = fs.LayerConfiguration(
            **own,
            kind=layer.kind or None,
            frozen=any(slot.frozen for slot in slots),
            pretrain=any(slot.pretrain for slot in slots),
            params={slot.param: param_configuration(slot) for slot in slots},
        )
    network: dict[str, Any] = {
        "semantics": spec.semantics,
        "mini_batch": spec.mini_batch,
        "maximize": spec.maximize,
        "gradient_normalization_epsilon": spec.epsilon,
        "on_nonfinite": spec.on_nonfinite,
    }
    if spec.global_threshold is not None:
        network["gradient_normalization"] = spec.global_strategy
        network["gradient_normalization_threshold"] = spec.global_threshold
    return fs.MultiLayerConfiguration(
        updater=fs.Sgd(),
        layers=layers,
        **network,
    )


def in_memory_order(array: Any) -> Any:
    """A flat view in memory order of a C- or F-contiguous array."""
    return array.reshape(-1, order="F" if array.flags.f_contiguous else "C")


def flat(arrays: Mapping[str, Any]) -> Arrays:
    """Every array as a flat view in memory order, as the oracle takes them."""
    return {key: in_memory_order(array) for key, array in arrays.items()}


def state_of(updater: Any, spec: NetworkSpec) -> dict[str, Arrays]:
    """Flat copies of all named state."""
    return {
        slot.key: {n: a.copy() for n, a in flat(updater.state(slot.key)).items()}
        for slot in spec.slots
    }


def copies(arrays: Mapping[str, Any]) -> Arrays:
    """Separate arrays with the same contents and memory order."""
    return {key: np.array(array, order="K") for key, array in arrays.items()}
