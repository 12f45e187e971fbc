"""What was measured, and its JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comparison.cases import Case, Network

VERSION = 2


@dataclass(frozen=True)
class Result:
    """One contender in one case: the nanoseconds per step of its turns, one in each round.

    `part` tells a loop's step from its whole iteration.
    """

    case: Case
    contender: str
    turns: tuple[float, ...]
    part: str = "step"

    @property
    def minimum(self) -> float:
        return min(self.turns)

    @property
    def median(self) -> float:
        return statistics.median(self.turns)

    @property
    def gigabytes_per_second(self) -> float:
        """The bytes that the step must move, in the time of the fastest turn."""
        return self.case.bytes_of(self.contender) / self.minimum


@dataclass
class Run:
    """A run of the benchmark: the machine, who took part, who did not and why, the results."""

    machine: dict[str, Any]
    versions: dict[str, str]
    absent: dict[str, str]
    quick: bool
    results: list[Result] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        document = {"version": VERSION, **dataclasses.asdict(self)}
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def load_run(path: Path) -> Run:
    """Read what `Run.save` wrote."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if document.pop("version", None) != VERSION:
        raise ValueError(f"{path}: expected a run of version {VERSION}; measure again")
    document["results"] = [_result(entry) for entry in document["results"]]
    return Run(**document)


def _result(entry: Mapping[str, Any]) -> Result:
    case = dict(entry["case"])
    layers = tuple(tuple(tuple(s) for s in layer) for layer in case["network"]["layers"])
    case["network"] = Network(case["network"]["name"], layers)
    return Result(**{**entry, "case": Case(**case), "turns": tuple(entry["turns"])})


def machine() -> dict[str, Any]:
    """What the figures depend on, as far as the system tells."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "caches": _caches(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def cores() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _caches() -> dict[str, int]:
    """The bytes of the first core's data caches, by level."""
    sizes = {}
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if (cache / "type").read_text().strip() != "Instruction":
            size = (cache / "size").read_text().strip()
            sizes[f"L{(cache / 'level').read_text().strip()}"] = int(size.rstrip("K")) * 1024
    return sizes
