"""One step of two ranks, as it was measured: when what was waited for, added up, sent.

    mpiexec -n 2 python bench/mpi_steps.py --cases 16M --strategies ClipL2Global \\
        --bucket-bytes 4194304 --timeline docs/_pictures/mpi_step.json
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from style import COLORS, FAINT, INK, panels

MEASURED = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

#: What is shown of the events, and how.
SHOWN = {
    "wait": (FAINT, "waiting for a bucket"),
    "add": (COLORS[0], "adding it up"),
    "send": (COLORS[1], "sending parameters"),
    "finish": (FAINT, None),
}


def spans(rank: dict[str, Any]) -> list[tuple[str, int, float, float]]:
    """(what, bucket, begin, end) in milliseconds."""
    return [(what, k, 1e3 * a, 1e3 * b) for what, k, a, b in rank["events"]]


def draw() -> Any:
    ranks = MEASURED["ranks"]
    with panels(1, 1, height=0.9 * len(ranks) + 1.1) as (figure, axes):
        labelled = set()
        for place, rank in enumerate(ranks):
            events = spans(rank)
            for what, k, begin, end in events:
                if what not in SHOWN:
                    continue
                color, label = SHOWN[what]
                new = label is not None and label not in labelled
                labelled.add(label)
                axes.barh(
                    -place, end - begin, 0.5, left=begin, color=color,
                    label=label if new else None,
                )  # fmt: skip
                if what == "add" and end - begin > 0.25:
                    axes.text((begin + end) / 2, -place + 0.33, str(k), ha="center", fontsize=7)
            sends = [(begin, end) for what, _, begin, end in events if what == "send"]
            for number, ((_, end), (begin, _)) in enumerate(itertools.pairwise(sends)):
                axes.barh(
                    -place, begin - end, 0.5, left=end, color=COLORS[2], alpha=0.6,
                    label="stepping the next" if place == number == 0 else None,
                )  # fmt: skip
            last_add = max(end for what, _, _, end in events if what == "add")
            first_send = min(begin for what, _, begin, _ in events if what == "send")
            axes.annotate(
                "norms", ((last_add + first_send) / 2, -place), ha="center", va="center",
                fontsize=7, color=INK,
            )  # fmt: skip
        axes.set_yticks([-place for place in range(len(ranks))])
        axes.set_yticklabels([f"rank {place}" for place in range(len(ranks))])
        axes.set_xlabel("milliseconds since the step began")
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    return figure
