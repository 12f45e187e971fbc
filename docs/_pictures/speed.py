"""How long a clipped Adam step takes, against whom: the table of docs/performance.md, drawn."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from style import COLORS, FAINT, INK, panels

PAGE = Path(__file__).parent.parent / "performance.md"
UNITS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
CONTENDERS = ("flatstep", "NumPy", "torch fused", "DeepSpeed CPUAdam")
CASES = ("tiny", "mlp", "deep", "1M", "16M")


def seconds(text: str) -> float | None:
    number, _, unit = text.partition(" ")
    return float(number) * UNITS[unit] if unit in UNITS else None


def table(name: str) -> list[dict[str, str]]:
    """The rows of one of the page's tables, by their columns' heads."""
    text = PAGE.read_text(encoding="utf-8").partition(f"<!-- table: {name} -->")[2]
    lines = re.match(r"\s*((?:\|.*\n)+)", text)
    assert lines is not None, name
    head, _, *rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in lines[1].splitlines()
    ]
    return [dict(zip(head, row, strict=True)) for row in rows]


def times() -> dict[str, dict[str, float | None]]:
    """By case, the seconds of a step that is clipped per layer."""
    found, case = {}, ""
    for row in table("all threads"):
        if not row["case"].startswith("…"):
            case = f"{row['case']}\n{row['parameters'].partition(' in ')[0]} parameters"
        elif row["case"] == "… ClipL2PerLayer" and case.partition("\n")[0] in CASES:
            found[case] = {name: seconds(row.get(name, "")) for name in CONTENDERS}
    return found


def spoken(time: float) -> str:
    unit = next(unit for unit, size in UNITS.items() if time < 1000 * size or unit == "s")
    return f"{time / UNITS[unit]:.3g} {unit}"


def draw() -> Any:
    cases = times()
    with panels(1, 1, height=0.85 * len(cases) + 0.6) as (figure, axes):
        for place, contenders in enumerate(cases.values()):
            for order, (name, time) in enumerate(contenders.items()):
                if time is None:
                    continue
                y = -(place + 0.2 * order)
                color = COLORS[0] if name == "flatstep" else FAINT
                axes.barh(y, time, 0.16, left=0, color=color)
                ratio = time / (contenders["flatstep"] or time)
                said = spoken(time) if name == "flatstep" else f"{spoken(time)}, {ratio:.3g} ×"
                axes.annotate(
                    f"{name} {said}", (time, y), xytext=(4, 0), textcoords="offset points",
                    va="center", fontsize=8, color=INK,
                    fontweight="bold" if name == "flatstep" else "normal",
                )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlim(1e-7, 3)
        axes.set_yticks([-(place + 0.3) for place in range(len(cases))], list(cases))
        axes.set_xticks([1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1], [
            "0.1 µs", "1 µs", "10 µs", "0.1 ms", "1 ms", "10 ms", "0.1 s",
        ])  # fmt: skip
        axes.grid(axis="y", visible=False)
        axes.minorticks_off()
        axes.set_title("One Adam step with ClipL2PerLayer, float32, two threads")
    return figure
