"""What a step needs to know, resolved: one record per slot and layer, nothing inherited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Schedule:
    """A pure function of iteration and epoch; `values` has the arguments of flatstep's class."""

    kind: str
    values: Mapping[str, object]
    schedule_type: str = "ITERATION"


Number = float | Schedule


@dataclass(frozen=True)
class Policy:
    """One of 0.8's learning-rate policies, which change the rate for good."""

    kind: str
    decay_rate: float = 0.0
    power: float = 0.0
    steps: float = 0.0
    num_iterations: float = 1.0
    schedule: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class UpdaterSpec:
    """An updater by name with all of its hyper-parameters; equal specs share an updater block."""

    name: str
    values: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True)
class SlotSpec:
    """One parameter: where it stands and everything that applies to it."""

    key: str
    layer: str
    param: str
    size: int
    updater: UpdaterSpec
    frozen: bool = False
    statistic: bool = False
    pretrain: bool = False
    l1: float = 0.0
    l2: float = 0.0
    weight_decay: float = 0.0
    weight_decay_apply_lr: bool = True
    learning_rate_scale: float = 1.0
    policy: Policy | None = None
    momentum_schedule: Mapping[int, float] = field(default_factory=dict)

    pretrain_only: bool | None = None  # None: "vb" alone

    @property
    def learns_in_pretraining_only(self) -> bool:
        return self.param == "vb" if self.pretrain_only is None else self.pretrain_only


@dataclass(frozen=True)
class LayerSpec:
    """A layer's normalisation. `in_global`: it has none of its own, and shares the network's norm.

    `kind` is DL4J's layer type; it says nothing that the slots do not say.
    """

    name: str
    strategy: str = "None"
    threshold: float = 1.0
    in_global: bool = False
    kind: str = ""


@dataclass(frozen=True)
class NetworkSpec:
    """A network: its order of the step, its layers and its slots in the order of the flat view."""

    semantics: str
    layers: tuple[LayerSpec, ...]
    slots: tuple[SlotSpec, ...]
    mini_batch: bool = True
    maximize: bool = False
    #: Beside the norms of every strategy that clips.
    epsilon: float = 0.0
    global_threshold: float | None = None  # where the layers `in_global` share one norm
    global_strategy: str = "ClipL2Global"
    on_nonfinite: str = "raise"

    def slots_of(self, layer: str) -> list[SlotSpec]:
        return [slot for slot in self.slots if slot.layer == layer]
