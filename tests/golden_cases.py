"""Reads the golden cases: recorded runs of the real DL4J, with all settings resolved per slot.

`FLATSTEP_GOLDENS` names another folder than tests/goldens. goldens/README.md describes the format.
"""

from __future__ import annotations

import functools
import gzip
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from oracle import LayerSpec, NetworkSpec, Policy, Schedule, SlotSpec, UpdaterSpec

FOLDER = Path(os.environ.get("FLATSTEP_GOLDENS", Path(__file__).parent / "goldens"))
TOLERANCES = {"float64": 1e-12, "float32": 4e-5}  # of the largest |value| of a slot in a step
RATE_TOLERANCE = 1e-12
BATCH_NORM_STATISTICS = ("mean", "var", "log10stdev")


@dataclass(frozen=True)
class Step:
    """One recorded step; rates by key, momenta by layer."""

    iteration: int
    epoch: int
    batch_size: int
    absent: tuple[str, ...]
    learning_rate: Mapping[str, float]
    momentum: Mapping[str, float]


@dataclass(frozen=True)
class GoldenCase:
    """One recorded run."""

    name: str
    file: Path
    raw: Mapping[str, Any]

    @property
    def dtype(self) -> Any:
        return np.dtype(self.raw["dtype"])

    @property
    def tolerance(self) -> float:
        return TOLERANCES[self.raw["dtype"]]

    @property
    def network(self) -> str:
        return str(self.raw["network"])

    @property
    def layout(self) -> list[dict[str, Any]]:
        return list(self.raw["layout"])

    @property
    def steps(self) -> list[Step]:
        return [
            Step(
                iteration=step["iteration"],
                epoch=step.get("epoch", 0),
                batch_size=step["batch_size"],
                absent=tuple(step["absent"]),
                learning_rate=step["learning_rate"],
                momentum=step.get("momentum", {}),
            )
            for step in self.raw["steps"]
        ]

    @property
    def updater_blocks(self) -> list[dict[str, int]] | None:
        return self.raw.get("updater_blocks")

    def array(self, name: str) -> Any:
        """A flat array, or None where the run has no such one."""
        arrays = load_arrays(self.file.with_name(self.file.name.removesuffix(".json.gz") + ".npz"))
        return arrays.get(f"{self.raw['id']}/{name}")

    def split(self, flat: Any) -> dict[str, Any]:
        """The slots of a flat array: flat views by key."""
        return {s["key"]: flat[s["offset"] : s["offset"] + s["size"]] for s in self.layout}

    def shaped(self, flat: Any) -> dict[str, Any]:
        """The slots of a flat array as views of their own shape and order."""
        return {
            s["key"]: flat[s["offset"] : s["offset"] + s["size"]].reshape(
                s["shape"], order=s["order"].upper()
            )
            for s in self.layout
        }

    def written_by_forward_pass(self, key: str) -> bool:
        """0.8's BatchNorm wrote its mean and var into the parameters itself."""
        slot = next(s for s in self.layout if s["key"] == key)
        return self.spec().semantics == "dl4j-0.8" and is_statistic(self.raw, slot)

    def spec(self) -> NetworkSpec:
        """All settings, from the case alone."""
        raw = self.raw
        resolve = {"dl4j-0.8": slot_0_8, "dl4j-1.0": slot_1_0}[raw["semantics"]]
        (mini_batch,) = {layer["minibatch"] for layer in raw["layers"].values()}
        return NetworkSpec(
            semantics=raw["semantics"],
            mini_batch=mini_batch,
            layers=tuple(
                LayerSpec(
                    name,
                    layer["gradient_normalization"],
                    layer["gradient_normalization_threshold"],
                    kind=layer["type"],
                )
                for name, layer in raw["layers"].items()
                if layer["params"]
            ),
            slots=tuple(resolve(raw, slot) for slot in raw["layout"]),
        )


@functools.cache
def load_arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:
        return dict(arrays)


def load_cases(folder: Path = FOLDER) -> list[GoldenCase]:
    """Every case of a folder; a folder without any is an error."""
    files = sorted(folder.glob("*.json.gz"))
    if not files:
        raise FileNotFoundError(f"no golden cases (*.json.gz) in {folder}")
    cases = []
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8") as stream:
            name = file.name.removesuffix(".json.gz")
            cases += [GoldenCase(f"{name}-{raw['id']}", file, raw) for raw in json.load(stream)]
    return cases


def is_statistic(raw: Mapping[str, Any], slot: Mapping[str, Any]) -> bool:
    layer_type = raw["layers"][slot["layer"]]["type"]
    return layer_type == "BatchNormalization" and slot["param"] in BATCH_NORM_STATISTICS


def place(raw: Mapping[str, Any], slot: Mapping[str, Any]) -> dict[str, Any]:
    """What both releases say alike about a slot."""
    return {
        "key": slot["key"],
        "layer": slot["layer"],
        "param": slot["param"],
        "size": slot["size"],
        "frozen": raw["layers"][slot["layer"]]["frozen"],
        "statistic": is_statistic(raw, slot),
    }


# 0.8: one flat record per layer, in DL4J's own names.

UPDATERS_0_8: dict[str, tuple[str, dict[str, str]]] = {
    "SGD": ("Sgd", {}),
    "NONE": ("NoOp", {}),
    "NESTEROVS": ("Nesterovs", {"momentum": "momentum"}),
    "ADAGRAD": ("AdaGrad", {"epsilon": "epsilon"}),
    "RMSPROP": ("RmsProp", {"rms_decay": "rms_decay", "epsilon": "epsilon"}),
    "ADADELTA": ("AdaDelta", {"rho": "rho", "epsilon": "epsilon"}),
    "ADAM": (
        "Adam",
        {"beta1": "adam_mean_decay", "beta2": "adam_var_decay", "epsilon": "epsilon"},
    ),
}


def slot_0_8(raw: Mapping[str, Any], slot: Mapping[str, Any]) -> SlotSpec:
    layer = raw["layers"][slot["layer"]]
    param = layer["params"][slot["param"]]
    name, fields = UPDATERS_0_8[param["updater"]]
    values: dict[str, float | Schedule] = {}
    if name not in ("NoOp", "AdaDelta"):
        values["learning_rate"] = param["learning_rate"]
    values |= {hyper: layer[field] for hyper, field in fields.items()}
    regularizes = layer["use_regularization"]
    return SlotSpec(
        **place(raw, slot),
        updater=UpdaterSpec(name, values),
        pretrain=layer["pretrain"],
        l1=param["l1"] if regularizes else 0.0,
        l2=param["l2"] if regularizes else 0.0,
        policy=policy_0_8(layer),
        momentum_schedule=int_keys(layer["momentum_schedule"] or {}),
    )


def policy_0_8(layer: Mapping[str, Any]) -> Policy | None:
    if layer["lr_policy"] == "None":
        return None
    return Policy(
        kind=layer["lr_policy"],
        decay_rate=layer.get("lr_policy_decay_rate", 0.0),
        power=layer.get("lr_policy_power", 0.0),
        steps=layer.get("lr_policy_steps", 0.0),
        num_iterations=layer["num_iterations"],
        schedule=int_keys(layer["learning_rate_schedule"] or {}),
    )


def int_keys(table: Mapping[str, float]) -> dict[int, float]:
    return {int(key): value for key, value in table.items()}


# 1.0: DL4J's own JSON per parameter.

FIELDS_1_0 = {
    "beta1": "beta1",
    "beta2": "beta2",
    "epsilon": "epsilon",
    "rho": "rho",
    "rmsDecay": "rms_decay",
}

SCHEDULES_1_0 = {
    "Fixed": {"value": "value"},
    "Exponential": {"initialValue": "initial", "gamma": "gamma"},
    "Inverse": {"initialValue": "initial", "gamma": "gamma", "power": "power"},
    "Step": {"initialValue": "initial", "decayRate": "decay_rate", "step": "step"},
    "Sigmoid": {"initialValue": "initial", "gamma": "gamma", "stepSize": "step"},
    "Cycle": {
        "initialLearningRate": "initial",
        "maxLearningRate": "max",
        "cycleLength": "cycle_length",
        "annealingLength": "annealing_length",
        "annealingDecay": "annealing_decay",
    },
}


def class_name(raw: Mapping[str, Any], suffix: str = "") -> str:
    return str(raw["@class"]).rsplit(".", 1)[1].removesuffix(suffix)


def schedule_1_0(raw: Mapping[str, Any]) -> Schedule:
    kind = class_name(raw, "Schedule")
    schedule_type = raw.get("scheduleType", "ITERATION")
    if kind == "Ramp":
        base = schedule_1_0(raw["baseSchedule"])
        return Schedule(kind, {"base": base, "num_iter": raw["numIter"]})
    if kind == "Map":
        return Schedule(kind, {"values": int_keys(raw["values"])}, schedule_type)
    values = {name: raw[field] for field, name in SCHEDULES_1_0[kind].items()}
    return Schedule(kind, values, schedule_type)


def updater_1_0(raw: Mapping[str, Any]) -> UpdaterSpec:
    values: dict[str, float | Schedule] = {}
    for field, name in (("learningRate", "learning_rate"), ("momentum", "momentum")):
        schedule = raw.get({"learning_rate": "learningRateSchedule"}.get(name, "momentumISchedule"))
        if schedule is not None:
            values[name] = schedule_1_0(schedule)
        elif field in raw:
            values[name] = raw[field]
    values |= {name: raw[field] for field, name in FIELDS_1_0.items() if field in raw}
    return UpdaterSpec(class_name(raw), values)


def slot_1_0(raw: Mapping[str, Any], slot: Mapping[str, Any]) -> SlotSpec:
    param = raw["layers"][slot["layer"]]["params"][slot["param"]]
    return SlotSpec(
        **place(raw, slot),
        updater=updater_1_0(param["updater"]),
        **regularization_1_0(param["regularization"]),
    )


def regularization_1_0(entries: list[Mapping[str, Any]]) -> dict[str, Any]:
    """L1, L2 and weight decay from DL4J's list; repeated entries add up."""
    total: dict[str, Any] = {"l1": 0.0, "l2": 0.0, "weight_decay": 0.0}
    for entry in entries:
        kind = class_name(entry)
        name, field = {
            "L1Regularization": ("l1", "l1"),
            "L2Regularization": ("l2", "l2"),
            "WeightDecay": ("weight_decay", "coeff"),
        }[kind]
        coefficient = schedule_1_0(entry[field])
        if coefficient.kind != "Fixed":
            raise ValueError(f"a {kind} that follows a schedule is not supported: {entry}")
        total[name] += coefficient.values["value"]
        if kind == "WeightDecay":
            applies = total.setdefault("weight_decay_apply_lr", entry["applyLR"])
            if applies != entry["applyLR"]:
                raise ValueError(f"weight decays with and without the rate on one slot: {entries}")
    return total


# Comparing.


def assert_close(actual: Any, expected: Any, tolerance: float, what: str) -> None:
    """|actual − expected| ≤ tolerance · max |expected|, for arrays of one slot in one step."""
    scale = float(np.max(np.abs(expected), initial=0.0))
    error = float(np.max(np.abs(np.asarray(actual, np.float64) - expected), initial=0.0))
    assert error <= tolerance * scale, (
        f"{what}: off by {error:.3e}, {error / scale if scale else np.inf:.3e} of the largest "
        f"|expected| {scale:.3e}, allowed {tolerance:.0e}"
    )


def assert_rates_close(actual: Mapping[str, float], expected: Mapping[str, float]) -> None:
    """Rates or momenta, those that were recorded."""
    for key, value in expected.items():
        assert abs(actual[key] - value) <= RATE_TOLERANCE * abs(value), (
            f"{key}: {actual[key]!r}, recorded {value!r}"
        )
