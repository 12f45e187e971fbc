"""The benchmark runs, says who is absent, and its JSON reads back. No time is tested."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flatstep import _core

ROOT = Path(__file__).resolve().parents[1]
COMPARE = ROOT / "bench" / "compare.py"

NARROW = ("16bit", "8bit", "split 16bit", "split 8bit")

pytestmark = pytest.mark.skipif(
    not COMPARE.exists(), reason="the benchmark is not part of an installed package"
)


def compare(*arguments: str | Path) -> str:
    """compare.py's output. PyTorch and what needs it are blocked: they take minutes to load."""
    blocked = "import sys; sys.modules['torch'] = sys.modules['deepspeed'] = None; "
    run = f"import runpy; runpy.run_path({str(COMPARE)!r}, run_name='__main__')"
    paths = [str(COMPARE.parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", blocked + run, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The output of a quick run of every case, and the folder with its files."""
    folder = tmp_path_factory.mktemp("bench")
    names = ("--json", folder / "run.json", "--plot", folder / "roofline.png")
    return compare("--quick", "--threads", "1", "2", *names), folder


def test_every_kind_of_case_is_measured(quick_run: tuple[str, Path]) -> None:
    output, folder = quick_run
    results = json.loads((folder / "run.json").read_text())["results"]
    measured = {(r["case"]["group"], r["case"]["strategy"], r["case"]["threads"]) for r in results}
    for group in ("tiny", "mlp", "deep2", "20x64", "1K", "16K", "64K", "64x1K"):
        for strategy in ("None", "ClipL2PerLayer", "ClipL2Global"):
            assert {(group, strategy, 1), (group, strategy, 2)} <= measured
    others = {"updaters", "float64", "loop", "storage", "cache", "sizes", "arrays"}
    assert others <= {m[0] for m in measured}
    assert len({r["case"]["updater"] for r in results}) == len(_core.updater_registry())
    own = {r["contender"] for r in results if r["contender"].startswith("flatstep")}
    variants = {"", ", raise", ", bound", ", flat", ", plain"}
    if "storage" not in json.loads((folder / "run.json").read_text())["absent"]:
        variants |= {f", {storage}" for storage in NARROW}
    assert own == {f"flatstep{variant}" for variant in variants}
    assert all(min(r["turns"]) > 0 for r in results)
    assert "tiny: 226 parameters in 4 arrays, ClipL2PerLayer, 2 threads" in output


def test_who_is_absent_is_said(quick_run: tuple[str, Path]) -> None:
    output, folder = quick_run
    absent = json.loads((folder / "run.json").read_text())["absent"]
    assert {"torch", "deepspeed", "bitsandbytes"} <= set(absent)
    for name in absent:
        assert f"\n{name}: absent (" in output
    assert "torch fused" not in output


def test_goals_are_judged(quick_run: tuple[str, Path]) -> None:
    output, _ = quick_run
    goals = output[output.index("\nGoals: ") :]
    line = next(
        line for line in goals.splitlines() if line.startswith("  tiny ") and "NumPy" in line
    )
    assert "≥ 30" in line
    assert line.endswith(("met", "MISSED"))


def test_the_output_fits_a_terminal(quick_run: tuple[str, Path]) -> None:
    output, folder = quick_run
    lines = output.replace(str(folder / "roofline.png"), "").splitlines()
    assert max(map(len, lines)) <= 100


def test_the_picture_is_drawn(quick_run: tuple[str, Path]) -> None:
    _, folder = quick_run
    assert (folder / "roofline.png").read_bytes().startswith(b"\x89PNG")


def test_a_saved_run_shows_the_same_tables(quick_run: tuple[str, Path]) -> None:
    output, folder = quick_run
    again = compare("--load", folder / "run.json", "--plot", folder / "roofline.png")
    assert again == output


def test_each_storage_has_limits_of_its_own(quick_run: tuple[str, Path]) -> None:
    """And those of full storage beside them; a clipped step has none."""
    _, folder = quick_run
    results = json.loads((folder / "run.json").read_text())["results"]
    limits: dict[tuple[str, str], set[str]] = {}
    for result in results:
        case, name = result["case"], result["contender"]
        if case["group"] == "storage":
            found = limits.setdefault((case["storage"], case["strategy"]), set())
            if name.startswith(("byte limit", "in the cache")):
                found.add(name)
    for storage in ("full", *NARROW):
        own = set() if storage == "full" else {f", {storage}"}
        expected = {f"{limit}{of}" for of in {"", *own} for limit in ("byte limit", "in the cache")}
        assert limits[storage, "None"] == expected
        assert limits[storage, "ClipL2Global"] == set()


def test_the_table_of_storage(quick_run: tuple[str, Path]) -> None:
    _, folder = quick_run
    page = folder / "storage.md"
    page.write_text("<!-- table: storage -->\n\n")
    compare("--load", folder / "run.json", "--page", page)
    rows = [line.split(" | ") for line in page.read_text(encoding="utf-8").splitlines()[4:]]
    assert [row[:3] for row in rows] == [
        [f"| {network}", storage, bytes_moved]
        for network in ("16K", "64K + 1040")
        for storage, bytes_moved in zip(
            ("full", *NARROW), ("28", "20", "16", "18", "14"), strict=True
        )
    ]


@pytest.fixture
def goals(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(COMPARE.parent))
    return importlib.import_module("comparison.goals")


@pytest.mark.parametrize(
    ("full", "memory_bound"), [(100.0, True), (109.0, True), (115.0, False), (300.0, False)]
)
def test_goals_of_storage(goals: Any, full: float, memory_bound: bool) -> None:
    """That of the memory where full storage waits for it; limits by the slower of the two."""
    results = importlib.import_module("comparison.results")
    cases = importlib.import_module("comparison.cases")
    case = cases.Case("storage", cases.single(1 << 14), 2, storage="16bit")
    times = {
        "flatstep": full,
        "byte limit": 100.0,
        "flatstep, 16bit": 80.0,
        "byte limit, 16bit": 40.0,
        "in the cache, 16bit": 72.0,
    }
    run = [results.Result(case, name, (time, 3 * time, 2 * time)) for name, time in times.items()]
    verdicts = {(v.goal.what, v.goal.against): v for v in goals.judge(run)}
    against_full = {name for name, against in verdicts if against == "flatstep"}
    assert against_full == {"16bit"} | ({"16bit, memory-bound"} if memory_bound else set())
    verdict = verdicts["16bit", "slower of its limits"]
    assert (verdict.by_minimum, verdict.met) == (0.9, True)
    assert verdicts["16bit", "flatstep"].by_round == full / 80
    del run[-1]  # one limit is not the slower of two
    assert ("16bit", "slower of its limits") not in {
        (v.goal.what, v.goal.against) for v in goals.judge(run)
    }


def test_ratios_are_of_the_minima_and_of_each_round(goals: Any) -> None:
    """Of a memory that is slow in the second round, and of one who leaves after the first."""
    results = importlib.import_module("comparison.results")
    cases = importlib.import_module("comparison.cases")
    case = cases.Case("storage", cases.single(1000), 2)
    one, other, early = (
        results.Result(case, name, turns)
        for name, turns in (
            ("one", (30.0, 60.0, 20.0)),
            ("other", (10.0, 20.0, 10.0)),
            ("early", (40.0,)),
        )
    )
    assert goals.ratio(one, other) == (2.0, 3.0)
    assert goals.ratio(early, other) == (4.0, 4.0)


def test_speeds_are_of_the_bytes_that_a_storage_moves(goals: Any) -> None:
    results = importlib.import_module("comparison.results")
    cases = importlib.import_module("comparison.cases")
    case = cases.Case("storage", cases.single(1000), 2, storage="split 8bit")
    moved = {
        "flatstep": 28,
        "torch fused": 28,
        "flatstep, 16bit": 20,
        "flatstep, 8bit": 16,
        "flatstep, split 16bit": 18,
        "flatstep, split 8bit": 14,
        "byte limit, split 8bit": 14,
        cases.BITSANDBYTES: 16,
        "flatstep, raise": 28,
    }
    for name, each in moved.items():
        assert results.Result(case, name, (1000.0,)).gigabytes_per_second == each, name


LIMITS = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from comparison.contenders import limits
module = limits.load()._module
size, widths = 64 * 1003, {widths}
for threads in (1, 2, 3):
    arrays = limits.streams_apart(widths, size)
    for array in arrays:
        array[:] = np.random.default_rng(array.size).integers(0, 256, array.size)
    before = [array.copy() for array in arrays]
    module.StreamLimit(size, arrays[0], arrays[1:], threads).run()
    assert np.array_equal(arrays[0], before[0])
    # Every element of every other array, by a line of the source that lies beside it.
    source = before[0].reshape(-1, widths[0], 64)
    for array, was, width in zip(arrays[1:], before[1:], widths[1:], strict=True):
        lines = source[:, np.arange(width) % widths[0]]
        assert np.array_equal(array, was ^ lines.reshape(-1))
"""


@pytest.mark.parametrize("widths", [(4, 4, 4, 4), (4, 4, 2, 2), (4, 4, 1, 1), (2, 2, 2, 1, 1)])
def test_the_byte_limit_moves_every_byte(quick_run: tuple[str, Path], widths: Any) -> None:
    """Of arrays that are not of one width."""
    if "\nlimit: absent" in quick_run[0]:
        pytest.skip("the limits were not compiled")
    subprocess.run(
        [sys.executable, "-c", LIMITS.format(widths=widths), str(COMPARE.parent)],
        check=True,
        timeout=600,
    )


def test_an_unknown_case_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, COMPARE, "--cases", "huge"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "--cases: no huge; there are tiny, mlp" in done.stderr


def test_a_page_is_rewritten_where_it_has_marks(quick_run: tuple[str, Path]) -> None:
    """Every table that docs/performance.md asks for, in place of what was there."""
    _, folder = quick_run
    page = folder / "page.md"
    source = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    marks = re.findall(r"<!-- table: .* -->", source)
    page.write_text("# Page\n\n" + "".join(f"{m}\n\n| old |\n| --- |\n\nText.\n\n" for m in marks))
    compare("--load", folder / "run.json", "--page", page)
    written = page.read_text(encoding="utf-8")
    assert "old" not in written
    assert re.findall(r"<!-- table: .* -->", written) == marks
    assert written.count("\nText.\n") == len(marks)
    for part in written.split("<!-- table: ")[1:]:
        table = [line for line in part.splitlines() if line.startswith("|")]
        assert len(table) > 2, part
        assert len({line.count("|") for line in table}) == 1, part
    assert "| tiny | 226 in 4 |" in written
    for updater in _core.updater_registry():
        assert f"| {updater.name} |" in written
