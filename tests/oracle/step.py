"""One step in the two orders, on named flat arrays, and all that a step may change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oracle.bounds import Bounded
from oracle.normalization import STRATEGIES, values
from oracle.schedules import next_rate, value_at
from oracle.settings import LayerSpec, NetworkSpec, SlotSpec
from oracle.trust import trust_ratio
from oracle.updaters import UPDATERS, initial_value, state_names

Array = Any  # a NumPy array, or a Bounded one


class NonFiniteError(ArithmeticError):
    """A gradient holds NaN or an infinity; `keys` names the slots."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__(f"not finite: {keys}")
        self.keys = keys


@dataclass
class StepResult:
    """What a step did. Frozen slots have an update of 0."""

    updates: dict[str, Array] = field(default_factory=dict)
    state: dict[str, dict[str, Array]] = field(default_factory=dict)
    params: dict[str, Array] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    momenta: dict[str, float] = field(default_factory=dict)
    normalized: dict[str, Array] = field(default_factory=dict)
    nonfinite: list[str] = field(default_factory=list)
    skipped: bool = False


class Network:
    """The oracle of an updater: parameters, state, policy rates and momenta, and the step.

    Arrays are flat, in each slot's memory order. `dtype` is the type that the core works in: its
    subnormal numbers count as 0, before a step and after it. `bounded` makes a step return arrays
    with error bounds. `value_at` is what a schedule is at an iteration and epoch.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        params: Mapping[str, Array],
        dtype: Any = np.float64,
        bounded: bool = False,
        value_at: Callable[[Any, int, int], float] = value_at,
    ) -> None:
        self.spec = spec
        self.value_at = value_at
        self.tiny = float(np.finfo(dtype).tiny)
        self.number: Callable[[Any], Array] = np.asarray
        if bounded:
            self.number = lambda array: Bounded.exact(array, dtype)
        self.params = {slot.key: np.array(params[slot.key], np.float64) for slot in spec.slots}
        self.state = {
            slot.key: {
                name: self.params[slot.key].copy()
                if UPDATERS[slot.updater.name].state[name].starts_at_parameter
                else np.full(slot.size, initial_value(slot.updater, name, spec.semantics))
                for name in state_names(slot.updater)
            }
            for slot in spec.slots
            if self.has_state(slot)
        }
        self.rates: dict[str, float] = {}
        self.momenta: dict[str, float] = {}
        self.skipped_steps = 0

    def has_state(self, slot: SlotSpec) -> bool:
        """Frozen slots are NoOp in 1.0 and keep their updater in 0.8; statistics are NoOp."""
        return not slot.statistic and not (slot.frozen and self.spec.semantics == "dl4j-1.0")

    def rate(self, slot: SlotSpec, iteration: int, epoch: int = 0) -> float | None:
        """The rate that the slot's updater would use, before any policy acts on this step."""
        hyper = self.hyper_parameters(slot, iteration, epoch)
        self.scale(slot, hyper)
        return hyper.get("learning_rate")

    def step(
        self,
        gradients: Mapping[str, Any],
        iteration: int,
        epoch: int = 0,
        batch_size: int = 1,
        gradient_scale: float = 1.0,
    ) -> StepResult:
        """Computes a step and applies it. Raises NonFiniteError, with nothing changed."""
        result = StepResult()
        live = [slot for slot in self.spec.slots if not slot.frozen]
        if self.spec.on_nonfinite != "propagate":
            bad = [s.key for s in live if not np.isfinite(gradients[s.key]).all()]
            if bad and self.spec.on_nonfinite == "raise":
                raise NonFiniteError(bad)
            if bad:
                self.skipped_steps += 1
                return StepResult(nonfinite=bad, skipped=True)
        with np.errstate(all="ignore"):
            grads = {s.key: self.read(gradients[s.key]) for s in live}
            if gradient_scale != 1:
                grads |= {s.key: grads[s.key] * gradient_scale for s in live if not s.statistic}
            order = {"dl4j-1.0": self.step_1_0, "dl4j-0.8": self.step_0_8}[self.spec.semantics]
            order(result, grads, iteration, epoch, batch_size)
            for slot in self.spec.slots:
                if slot.frozen:
                    result.updates[slot.key] = self.number(np.zeros(slot.size))
                else:
                    p = self.read(self.params[slot.key])
                    result.params[slot.key] = p - result.updates[slot.key]
                    self.params[slot.key] = self.flushed(result.params[slot.key])
        for key, state in result.state.items():
            self.state[key] = {name: self.flushed(array) for name, array in state.items()}
        for key, update in result.updates.items():
            if not isinstance(update, Bounded):
                result.updates[key] = self.flushed(update)
        self.rates.update(result.rates)
        self.momenta.update(result.momenta)
        return result

    def step_1_0(
        self,
        result: StepResult,
        grads: dict[str, Array],
        iteration: int,
        epoch: int,
        batch_size: int,
    ) -> None:
        """Divide, normalise, L1 and L2, updater, weight decay."""
        if self.spec.mini_batch and batch_size != 1:
            for slot in self.spec.slots:
                if slot.key in grads and not slot.statistic:
                    grads[slot.key] = grads[slot.key] / batch_size
        grads = self.normalize(grads, self.spec.layers)
        grads = self.directed(grads)
        result.normalized = grads
        for slot in self.spec.slots:
            if slot.key not in grads:
                continue
            g = grads[slot.key]
            if slot.learns_in_pretraining_only and not slot.pretrain:
                result.updates[slot.key] = g
                continue
            p = self.read(self.params[slot.key])
            if slot.l2 and not slot.statistic:
                g = g + slot.l2 * p
            if slot.l1 and not slot.statistic:
                g = g + slot.l1 * np.sign(p)
            hyper = self.hyper_parameters(slot, iteration, epoch)
            self.scale(slot, hyper)
            x = self.apply_updater(result, slot, g, hyper, iteration)
            decay = 0.0
            if slot.weight_decay and not slot.statistic:
                rate = hyper.get("learning_rate", 1.0) if slot.weight_decay_apply_lr else 1.0
                decay = slot.weight_decay * rate
            u = x + decay * p if decay else x
            result.updates[slot.key] = self.trusted(slot, hyper, x, u, decay, p)

    def step_0_8(
        self,
        result: StepResult,
        grads: dict[str, Array],
        iteration: int,
        epoch: int,
        batch_size: int,
    ) -> None:
        """Normalise, learning-rate policy, updater, L2 and L1, divide the finished update."""
        pretraining = {slot.layer for slot in self.spec.slots if slot.pretrain}
        grads |= self.normalize(
            grads, tuple(layer for layer in self.spec.layers if layer.name not in pretraining)
        )
        grads = self.directed(grads)
        result.normalized = dict(grads)
        for slot in self.spec.slots:
            if slot.key not in grads:
                continue
            g = grads[slot.key]
            if slot.learns_in_pretraining_only and not slot.pretrain:
                result.updates[slot.key] = g
                continue
            hyper = self.hyper_parameters(slot, iteration, epoch)
            if slot.policy is not None and "learning_rate" in hyper:
                hyper["learning_rate"] = next_rate(slot.policy, hyper["learning_rate"], iteration)
                result.rates[slot.key] = hyper["learning_rate"]
            if slot.momentum_schedule and "momentum" in hyper:
                hyper["momentum"] = slot.momentum_schedule.get(iteration, hyper["momentum"])
                result.momenta[slot.key] = hyper["momentum"]
            self.scale(slot, hyper)
            x = u = self.apply_updater(result, slot, g, hyper, iteration)
            p = self.read(self.params[slot.key])
            if slot.l2 and not slot.statistic:
                u = u + slot.l2 * p
            if slot.l1 and not slot.statistic:
                u = u + slot.l1 * np.sign(p)
            batch = batch_size if self.spec.mini_batch else 1
            if batch != 1:
                x, u = x / batch, u / batch
            decay = 0.0 if slot.statistic else slot.l2 / batch
            result.updates[slot.key] = self.trusted(slot, hyper, x, u, decay, p)

    def directed(self, grads: dict[str, Array]) -> dict[str, Array]:
        """Negated where what they are the gradients of is to grow."""
        statistics = {slot.key for slot in self.spec.slots if slot.statistic}
        turned = {key for key in grads if self.spec.maximize and key not in statistics}
        return {key: -g if key in turned else g for key, g in grads.items()}

    def normalize(self, grads: dict[str, Array], layers: tuple[LayerSpec, ...]) -> dict[str, Array]:
        """Each layer by its own strategy, then the layers without one by the network's."""
        normalized: dict[str, Array] = {}
        for layer in layers:
            mine = {s.key: grads[s.key] for s in self.spec.slots_of(layer.name) if s.key in grads}
            normalized |= STRATEGIES[layer.strategy].normalize(
                mine, layer.threshold, self.spec.epsilon
            )
        if self.spec.global_threshold is not None:
            names = {layer.name for layer in layers if layer.in_global}
            group = {
                slot.key: grads[slot.key]
                for slot in self.spec.slots
                if slot.layer in names and slot.key in grads and not slot.statistic
            }
            strategy = STRATEGIES[self.spec.global_strategy]
            normalized |= strategy.normalize(group, self.spec.global_threshold, self.spec.epsilon)
        return normalized

    def hyper_parameters(self, slot: SlotSpec, iteration: int, epoch: int) -> dict[str, float]:
        hyper = {
            name: self.value_at(value, iteration, epoch)
            for name, value in slot.updater.values.items()
        }
        if slot.key in self.rates:
            hyper["learning_rate"] = self.rates[slot.key]
        if slot.key in self.momenta:
            hyper["momentum"] = self.momenta[slot.key]
        return hyper

    def scale(self, slot: SlotSpec, hyper: dict[str, float]) -> None:
        """The rate that a step uses of the one that policies and schedules leave."""
        if "learning_rate" in hyper:
            hyper["learning_rate"] *= slot.learning_rate_scale

    def apply_updater(
        self,
        result: StepResult,
        slot: SlotSpec,
        g: Array,
        hyper: dict[str, float],
        iteration: int,
    ) -> Array:
        if slot.statistic:
            return g
        state = {name: self.read(array) for name, array in self.state[slot.key].items()}
        row = UPDATERS[slot.updater.name]
        hyper = {**row.defaults, **hyper}
        p = self.read(self.params[slot.key])
        if row.reads_parameter:
            hyper["p"] = p
        if row.trusts(hyper) == "gradient":
            hyper["trust_ratio"] = trust_ratio(row, hyper, 0.0, p, g)
        dl4j_0_8 = self.spec.semantics == "dl4j-0.8"
        u, after = row.formula(g, state, t=iteration + 1, dl4j_0_8=dl4j_0_8, **hyper)
        result.state[slot.key] = after
        return u

    def trusted(
        self,
        slot: SlotSpec,
        hyper: Mapping[str, float],
        x: Array,
        u: Array,
        decay: float,
        p: Array,
    ) -> Array:
        """The finished update u, or the direction x that it is made of, times the trust ratio."""
        row = UPDATERS[slot.updater.name]
        hyper = {**row.defaults, **hyper}
        what = "" if slot.statistic else row.trusts(hyper)
        if what == "update":
            return u * trust_ratio(row, hyper, decay, p, u)
        if what == "direction":
            return x * trust_ratio(row, hyper, decay, p, x) + (u - x)
        return u

    def read(self, array: Any) -> Array:
        return self.number(self.flushed(array))

    def flushed(self, array: Array) -> Any:
        """Float64 numbers with those that are subnormal in `dtype` replaced by 0."""
        plain = np.array(values(array), np.float64)
        plain[np.abs(plain) < self.tiny] = 0.0
        return plain
