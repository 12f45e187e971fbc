"""The pictures of the documentation can be drawn, and show what the pages say of them."""

from __future__ import annotations

import re
import runpy
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for module in ("matplotlib", "sklearn", "tqdm"):
    pytest.importorskip(module)

DOCS = Path(__file__).parent.parent / "docs"
drawing: Any = runpy.run_path(str(DOCS / "_extensions" / "drawing.py"))
#: Scripts that draw: the others are what these import.
SCRIPTS = sorted(
    path.stem
    for path in (DOCS / "_pictures").glob("*.py")
    if "\ndef draw()" in path.read_text("utf-8")
)
PAGES = {page: page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md"))}


def script(name: str) -> Any:
    return drawing["load"](DOCS / "_pictures" / f"{name}.py")


def test_every_picture_is_drawn_and_every_script_shown() -> None:
    shown = set()
    for page, text in PAGES.items():
        for name in re.findall(r"^```\{picture\} (\S+)$", text, re.MULTILINE):
            assert name in SCRIPTS or f'"{name}.svg"' in text, f"{page.name}: {name}"
            shown.add(name)
        for name in re.findall(r"^```\{example\} (\w+)", text, re.MULTILINE):
            assert (DOCS.parent / "examples" / f"{name}.py").exists(), f"{page.name}: {name}"
    assert set(SCRIPTS) <= shown


def test_the_gallery_has_every_example() -> None:
    shown = re.findall(r"^```\{example\} (\w+)", PAGES[DOCS / "gallery.md"], re.MULTILINE)
    assert sorted(shown) == sorted(path.stem for path in (DOCS.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_draws(name: str) -> None:
    """Well-formed, without a date or a random id, and also for dark pages."""
    if name == "hips_autograd":
        pytest.importorskip("autograd")
    picture = drawing["draw"](name)
    for each in (picture, drawing["dark"](picture)):
        assert ElementTree.fromstring(each).tag.endswith("svg")
    assert drawing["dark"](picture) != picture
    assert "<dc:date>" not in picture
    assert drawing["width"](picture) > 300


def test_clipping_saves_the_run() -> None:
    runs = script("clipping").runs()
    norms = runs["ClipL2Global"].history.layers["network"].gradient_norm
    assert 25 < norms.max() < 100  # "some fifty long"
    assert runs["None"].accuracy < 0.5
    settled = runs.pop("RenormalizeL2PerLayer").accuracy
    del runs["None"]
    assert all(run.accuracy > 0.85 for run in runs.values())
    assert settled < min(run.accuracy for run in runs.values())


def test_the_monitor_shows_three_rates() -> None:
    low, right, high = script("monitor").runs().values()
    ratios = [run.history.layers["0"].update_ratio for run in (low, right, high)]
    assert np.median(ratios[0]) < 3e-4
    assert 1e-3 < np.median(ratios[1]) < 1e-2
    assert ratios[2][:20].max() > 1
    assert np.median(ratios[2][100:]) < 0.1 * ratios[2][:20].max()
    weights = high.updater.parameters["0_W"]
    assert np.linalg.norm(weights) > 3 * np.sqrt(2 / 64 * weights.size)  # since the first step
    assert right.accuracy > 0.9
    assert max(low.accuracy, high.accuracy) < 0.7


def test_the_picture_of_early_stopping_has_a_best_epoch() -> None:
    curves = script("early_stopping").curves()
    assert np.diff(curves.training).max() < 0.1
    assert 5 < curves.best < 40
    assert curves.validation[-1] > 1.05 * min(curves.validation)


def test_the_two_orders_divide_at_either_end() -> None:
    new, old, scaled = script("batches").runs().values()
    assert new.accuracy > 0.9
    assert scaled.accuracy > 0.9
    assert old.accuracy < 0.7


def test_the_picture_of_speed_has_the_tables_cases() -> None:
    times = script("speed").times()
    assert len(times) == 5
    for contenders in times.values():
        assert contenders["flatstep"] == min(time for time in contenders.values() if time)
