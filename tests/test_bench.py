"""The benchmark runs, says who is absent, and its JSON reads back. No time is tested."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flatstep import _core

ROOT = Path(__file__).resolve().parents[1]
COMPARE = ROOT / "bench" / "compare.py"

pytestmark = pytest.mark.skipif(
    not COMPARE.exists(), reason="the benchmark is not part of an installed package"
)


def compare(*arguments: str | Path) -> str:
    """compare.py's output. PyTorch and DeepSpeed are blocked: they take minutes to load."""
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
    assert {"updaters", "float64", "loop", "cache", "sizes", "arrays"} <= {m[0] for m in measured}
    assert len({r["case"]["updater"] for r in results}) == len(_core.updater_registry())
    own = {r["contender"] for r in results if r["contender"].startswith("flatstep")}
    assert own == {
        f"flatstep{variant}" for variant in ("", ", raise", ", bound", ", flat", ", plain")
    }
    assert all(0 < r["minimum"] <= r["median"] for r in results)
    assert "tiny: 226 parameters in 4 arrays, ClipL2PerLayer, 2 threads" in output


def test_who_is_absent_is_said(quick_run: tuple[str, Path]) -> None:
    output, folder = quick_run
    absent = json.loads((folder / "run.json").read_text())["absent"]
    assert {"torch", "deepspeed"} <= set(absent)
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
