"""bench/accuracy.py runs, keeps every seed, and judges. What it finds is not tested."""

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

for module in ("matplotlib", "ml_dtypes", "sklearn"):
    pytest.importorskip(module)

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "bench" / "accuracy.py"
STORAGES = ("full", "16bit", "8bit", "split 16bit", "split 8bit")
TASKS = ("digits", "LSTM", "language model")

pytestmark = pytest.mark.skipif(
    not PROGRAM.exists(), reason="the benchmark is not part of an installed package"
)


def accuracy(*arguments: str | Path) -> str:
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-W", "error", PROGRAM, *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=600, encoding="utf-8",
        env={**os.environ, **single, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("accuracy")
    names = ("--json", folder / "run.json", "--plot", folder / "losses.png")
    return accuracy("--quick", *names), folder


def test_every_task_storage_and_seed_is_kept(quick: tuple[str, Path]) -> None:
    output, folder = quick
    document = json.loads((folder / "run.json").read_text())
    runs = {(run["task"], run["storage"], run["seed"]) for run in document["runs"]}
    assert runs == {(t, s, seed) for t in TASKS for s in STORAGES for seed in (0, 1)}
    assert {(d["storage"], d["half"]) for d in document["decays"]} == {
        (storage, half) for storage in STORAGES[1:3] for half in (False, True)
    }
    assert (folder / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert len(re.findall(r"^(?:passes|FAILS ) {2}\S", output, re.MULTILINE)) == 3 * 4 + 2


def test_storages_start_alike_and_go_apart(quick: tuple[str, Path]) -> None:
    """They see the same weights and batches; but each rounds in its own way."""
    runs = json.loads((quick[1] / "run.json").read_text())["runs"]
    for task in TASKS:
        losses = [run["losses"] for run in runs if run["task"] == task and run["seed"] == 0]
        assert len(losses) == 5
        assert max(abs(loss[0] - losses[0][0]) for loss in losses) < 0.05 * losses[0][0]
        assert len({tuple(loss) for loss in losses}) == 5, task


def test_a_page_is_rewritten_where_it_has_marks(quick: tuple[str, Path]) -> None:
    _, folder = quick
    page = folder / "page.md"
    marks = [f"<!-- trained: storage {name} -->" for name in ("accuracy", "decay")]
    page.write_text("".join(f"{m}\n\n| old |\n| --- |\n\nText.\n\n" for m in marks), "utf-8")
    accuracy("--load", folder / "run.json", "--page", page)
    written = page.read_text(encoding="utf-8")
    assert "old" not in written
    assert written.count("\nText.\n") == 2
    for part in written.split("<!-- table: ")[1:]:
        table = [line for line in part.splitlines() if line.startswith("|")]
        assert len(table) > 3
        assert len({line.count("|") for line in table}) == 1


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    return importlib.import_module("trained.report")


def test_differences_are_taken_seed_by_seed(report: Any) -> None:
    run = importlib.import_module("trained.run")
    task = run.Task("digits", "", 1, 10, 3, lambda *_: (0.0, []))
    accuracies = {
        "full": (90.0, 80.0, 70.0),
        "16bit": (90.5, 80.5, 70.5),
        "8bit": (89.0, 80.0, 69.9),
    }
    runs = [
        run.Run("digits", storage, seed, value, (1.0, 0.5))
        for storage, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    full, sixteen, eight = report.rows(runs, "digits")
    assert (full.mean, full.spread, full.difference, full.error) == (80, 10, 0, 0)
    assert (sixteen.difference, sixteen.error) == (0.5, 0)
    assert eight.difference == pytest.approx(-1.1 / 3)
    verdicts = {verdict.what.partition(":")[0]: verdict.passes for verdict in
                report.verdicts([task], runs, [])}  # fmt: skip
    assert verdicts == {"digits, 16bit": True, "digits, 8bit": False}
    decay = importlib.import_module("trained.decay").Decay
    decays = [decay("8bit", False, 10, 0.94), decay("16bit", False, 10, 1.04)]
    assert [v.passes for v in report.verdicts([], [], decays)] == [True, False]
