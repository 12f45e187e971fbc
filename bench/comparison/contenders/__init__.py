"""The contenders: flatstep, its peers, and the limits; each loaded only if it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from comparison.contenders import (
    bitsandbytes_step,
    deepspeed_step,
    flatstep_step,
    limits,
    numpy_step,
    storage_step,
    torch_step,
)
from comparison.contenders.base import Absent, Source

LOADERS: dict[str, Callable[[], Source]] = {
    "flatstep": flatstep_step.load,
    "storage": storage_step.load,
    "numpy": numpy_step.load,
    "torch": torch_step.load,
    "deepspeed": deepspeed_step.load,
    "bitsandbytes": bitsandbytes_step.load,
    "limit": limits.load,
}


def load(names: Sequence[str]) -> tuple[list[Source], dict[str, str]]:
    """The sources that are there, and for each that is not the reason."""
    sources: list[Source] = []
    absent: dict[str, str] = {}
    for name in names:
        try:
            sources.append(LOADERS[name]())
        except Absent as reason:
            absent[name] = str(reason)
    return sources, absent
