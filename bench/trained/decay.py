"""What becomes of Adam's v when a gradient stops: it is to go down as float32's does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import flatstep as fs

ELEMENTS = 1 << 16
#: Until v is that of its gradients, whose size is all that differs between elements.
WARM_UP = 5000
LEAST_NORMAL = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Decay:
    """The sum of v over that of full storage, after so many steps without a gradient.

    With `half`, every other element goes on having one: they hold the scale of their block up, and
    the sums are of those that stopped.
    """

    storage: str
    half: bool
    steps: int
    ratio: float


def _updater(storage: Any, v: Any) -> Any:
    config = fs.MultiLayerConfiguration(
        updater=fs.Adam(0.0), state_storage=storage, on_nonfinite="propagate"
    )
    updater = fs.MultiLayerUpdater(config, {"0_W": np.zeros(v.size, np.float32)})
    return updater


def decays(storages: tuple[str, ...], steps: int, looks: int, *, half: bool) -> list[Decay]:
    """Look so many times, until float32's own v is subnormal on average."""
    rng = np.random.default_rng(1)
    warm = (rng.standard_normal(ELEMENTS) * np.exp(rng.standard_normal(ELEMENTS))).astype("f4")
    stopped = np.ones(ELEMENTS, bool)
    if half:
        stopped[1::2] = False
    updaters = {storage: _updater(storage, warm) for storage in ("full", *storages)}
    for updater in updaters.values():
        updater.bind_gradients({"0_W": warm})
        for _ in range(WARM_UP):
            updater.step()
    gradient = np.where(stopped, np.float32(0), warm)
    for updater in updaters.values():
        updater.bind_gradients({"0_W": gradient})
    found = []
    for look in range(1, looks + 1):
        sums = {}
        for storage, updater in updaters.items():
            for _ in range(steps // looks):
                updater.step()
            v = updater.state("0_W")["v"][stopped].astype(np.float64)
            sums[storage] = v.sum()
        if sums["full"] / stopped.sum() < LEAST_NORMAL:
            break
        found += [
            Decay(storage, half, look * (steps // looks), float(f"{s / sums['full']:.6g}"))
            for storage, s in sums.items()
            if storage != "full"
        ]
    return found
