"""Hypothesis strategies: networks of any layout and settings, and numbers to feed them with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from networks import Arrays
from oracle import LayerSpec, NetworkSpec, Policy, SlotSpec, UpdaterSpec
from oracle.normalization import CHUNK, strategies_of
from oracle.schedules import schedules
from oracle.updater_row import VALUES, may_follow_a_schedule
from oracle.updaters import UPDATERS

# Around every vector width and its tail, around a chunk, and of several chunks.
SIZES = st.one_of(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 70),
    st.sampled_from([127, 128, 129, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 17]),
)
PARAMS = st.sampled_from(
    [
        ("W", "b"),
        ("b", "W"),
        ("W", "RW", "b"),
        ("W", "b", "vb"),
        ("vb",),
        ("gamma", "beta", "mean", "var"),
        ("kernel",),
    ]
)
STATISTICS = ("mean", "var")
COEFFICIENTS = st.sampled_from([0.0, 0.0, 1e-4, 0.02, 0.5])
SCALES = st.sampled_from([1.0, 1.0, 1.0, 0.1, 2.0, 0.0])
THRESHOLDS = st.sampled_from([1e-3, 0.1, 1.0, 7.5, 1e3])

RATES = st.floats(1e-5, 2.0)
OF_LAYERS = strategies_of("", "layer", "parameter")
OF_NETWORKS = strategies_of("network")
DECAYS = st.sampled_from([0.0, 0.5, 0.9, 0.95, 0.999, 1 - 1e-6])


@st.composite
def updaters(draw: st.DrawFn, name: str | None = None, scheduled: bool = True) -> UpdaterSpec:
    """An updater with hyper-parameters from all over their ranges."""
    if name is None:
        name = draw(st.sampled_from(sorted(UPDATERS)))
    rates: st.SearchStrategy[Any] = RATES | schedules(RATES) if scheduled else RATES
    momenta: st.SearchStrategy[Any] = st.floats(0, 1)
    if scheduled:
        momenta |= schedules(st.floats(0, 1))
    ranges: dict[str, st.SearchStrategy[Any]] = {
        "learning_rate": rates,
        "momentum": momenta,
        **{argument: st.sampled_from(given) for argument, given in VALUES.items()},
    }
    decays: st.SearchStrategy[Any] = DECAYS
    if scheduled:
        # Nothing corrects an average whose decay is 1. One near 0 leaves a moment at the very end
        # of float32's range, where the core's factors, which have v's correction in them, vanish
        # before those of the oracle.
        decays |= schedules(st.floats(0.1, 0.999))
    values = {
        arg: draw(ranges.get(arg, decays if may_follow_a_schedule(name, arg) else DECAYS))
        for arg in UPDATERS[name].defaults
    }
    return UpdaterSpec(name, values)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Every learning-rate policy of 0.8."""
    kinds = ("Exponential", "Inverse", "Step", "TorchStep", "Poly", "Sigmoid", "Schedule")
    kind = draw(st.sampled_from(kinds))
    return Policy(
        kind,
        decay_rate=draw(st.floats(0.5, 1.0)),
        power=draw(st.floats(0.0, 2.0)),
        steps=draw(st.integers(1, 12).map(float)),
        num_iterations=draw(st.integers(1, 30).map(float)),
        schedule=draw(st.dictionaries(st.integers(0, 6), RATES, min_size=1)),
    )


@st.composite
def network_specs(draw: st.DrawFn, on_nonfinite: str = "raise") -> NetworkSpec:
    """Up to four layers of any kind, in either order, with everything that may apply to a slot."""
    semantics = draw(st.sampled_from(["dl4j-1.0", "dl4j-0.8"]))
    dl4j_0_8 = semantics == "dl4j-0.8"
    # A few updaters to choose from, so that neighbours often share one and blocks have several
    # slots.
    choice = st.sampled_from(
        draw(st.lists(updaters(scheduled=not dl4j_0_8), min_size=1, max_size=3))
    )
    global_threshold = draw(st.none() | THRESHOLDS)
    layers: list[LayerSpec] = []
    slots: list[SlotSpec] = []
    for i in range(draw(st.integers(1, 4))):
        in_global = global_threshold is not None and draw(st.booleans())
        strategy = "None" if in_global else draw(st.sampled_from(OF_LAYERS))
        layers.append(LayerSpec(str(i), strategy, draw(THRESHOLDS), in_global))
        frozen = draw(st.integers(0, 5)) == 0
        pretrain = draw(st.integers(0, 3)) == 0
        policy = draw(st.none() | policies()) if dl4j_0_8 else None
        momentum_schedule = draw(st.dictionaries(st.integers(0, 6), st.floats(0, 1), max_size=2))
        layer_updater = draw(choice)
        for param in draw(PARAMS):
            updater = draw(st.just(layer_updater) | choice)
            place: dict[str, Any] = {
                "key": f"{i}_{param}",
                "layer": str(i),
                "param": param,
                "size": draw(SIZES),
                "frozen": frozen,
                "pretrain": pretrain,
            }
            if param in STATISTICS:
                slots.append(SlotSpec(**place, updater=UpdaterSpec("NoOp"), statistic=True))
                continue
            has_momentum = dl4j_0_8 and updater.name == "Nesterovs"
            slots.append(
                SlotSpec(
                    **place,
                    updater=updater,
                    l1=draw(COEFFICIENTS),
                    l2=draw(COEFFICIENTS),
                    weight_decay=0.0 if dl4j_0_8 else draw(COEFFICIENTS),
                    weight_decay_apply_lr=draw(st.booleans()),
                    learning_rate_scale=draw(SCALES),
                    pretrain_only=draw(st.sampled_from([None, None, None, None, True, False])),
                    policy=policy if "learning_rate" in updater.values else None,
                    momentum_schedule=momentum_schedule if has_momentum else {},
                )
            )
    return NetworkSpec(
        semantics=semantics,
        layers=tuple(layers),
        slots=tuple(slots),
        mini_batch=draw(st.booleans()),
        maximize=draw(st.booleans()),
        epsilon=draw(st.sampled_from([0.0, 0.0, 1e-6, 0.5])),
        global_threshold=global_threshold,
        global_strategy=draw(st.sampled_from(OF_NETWORKS)),
        on_nonfinite=on_nonfinite,
    )


@dataclass(frozen=True)
class Numbers:
    """Draws parameters, gradients and state of a network; the same for the same seed."""

    spec: NetworkSpec
    dtype: Any
    seed: int
    gradient_scale: float = 1.0
    zeros: float = 0.0

    def shape(self, slot: SlotSpec) -> tuple[tuple[int, ...], str]:
        """A shape and memory order of the slot's size: the core sees none of it."""
        for rows in (3, 2):
            if slot.size % rows == 0 and slot.size > rows:
                return (rows, slot.size // rows), "CF"[slot.size % 4 // 2]
        return (slot.size,), "C"

    def normal(self, slot: SlotSpec, *salt: int, scale: float = 1.0) -> Any:
        rng = np.random.default_rng((self.seed, self.spec.slots.index(slot), *salt))
        shape, order = self.shape(slot)
        values = rng.standard_normal(shape) * scale
        values[rng.random(shape) < self.zeros] = 0.0
        return np.asarray(values, dtype=self.dtype, order=order)  # type: ignore[call-overload]

    def params(self) -> Arrays:
        return {slot.key: self.normal(slot, 0) for slot in self.spec.slots}

    def gradients(self, step: int) -> Arrays:
        """Of every slot that is not frozen."""
        return {
            slot.key: self.normal(slot, 1, step, scale=self.gradient_scale)
            for slot in self.spec.slots
            if not slot.frozen
        }

    def fill_state(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Plausible state, in place: what is signed of either sign, all else positive."""
        for slot in self.spec.slots:
            for i, (name, array) in enumerate(state[slot.key].items()):
                drawn = self.normal(slot, 2, i, scale=self.gradient_scale)
                signed = UPDATERS[slot.updater.name].state[name].signed
                array[...] = drawn if signed else np.square(drawn) + np.float32(1e-6)


def numbers(spec: NetworkSpec, dtype: Any) -> st.SearchStrategy[Numbers]:
    return st.builds(
        Numbers,
        st.just(spec),
        st.just(dtype),
        seed=st.integers(0, 2**32 - 1),
        gradient_scale=st.sampled_from([1e-3, 1.0, 1e3]),
        zeros=st.sampled_from([0.0, 0.0, 0.3, 1.0]),
    )
