"""The files of TensorBoardWriter, read back: tags, steps, values, and what TensorBoard needs."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.layout_pb2 import Layout
from tensorboardX.record_writer import masked_crc32c

import flatstep as fs

Points = dict[str, list[tuple[int, float]]]


def events(folder: Path) -> Iterator[Any]:
    """What is in the files of a run: records of a length, the data, and the checksums of both."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            record, rest = data[12 : 12 + length], data[12 + length :]
            assert struct.unpack("<I", data[8:12])[0] == masked_crc32c(data[:8])
            assert struct.unpack("<I", rest[:4])[0] == masked_crc32c(record)
            yield Event.FromString(record)
            data = rest[4:]


def scalars(folder: Path) -> Points:
    """Each tag's (step, value)."""
    found: Points = {}
    for event in events(folder):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def made(params: Any = None, **settings: Any) -> fs.MultiLayerUpdater:
    config = fs.MultiLayerConfiguration(
        **{
            "updater": fs.Sgd(fs.StepSchedule(0.25, 0.5, 2)),
            "gradient_normalization": "ClipL2PerLayer",
            **settings,
        }
    )
    params = params or {"0_W": np.full(2, 4.0), "0_b": np.zeros(1), "1_W": np.full(3, 2.0)}
    return fs.MultiLayerUpdater(config, params, monitor=True)


def gradients(scale: float) -> dict[str, Any]:
    """Of norm 5 and 0.5 times the scale."""
    given = {"0_W": np.array([3.0, 0.0]), "0_b": np.array([4.0]), "1_W": np.array([0, 0.5, 0])}
    return {key: scale * array for key, array in given.items()}


def run(board: Any, updater: Any, scales: Any) -> fs.training.History:
    history = fs.HistoryListener()
    for step, scale in enumerate(scales):
        updater.step(gradients(scale))
        for recorder in (board, history):
            recorder.record(updater, 10.0 - step)
    return history.history


def test_every_quantity_of_every_layer(tmp_path: Path) -> None:
    with fs.TensorBoardWriter(tmp_path) as board:
        history = run(board, made(), (1.0, 0.1, 4.0, 1.0))
    found = scalars(tmp_path)
    assert found.keys() == {"score"} | {
        f"{tag}/{layer}"
        for tag in (
            "learning_rate", "gradient_norm", "factor", "clipped_share", "update_ratio_log10",
        )
        for layer in "01"
    }  # fmt: skip
    assert found["score"] == [(0, 10.0), (1, 9.0), (2, 8.0), (3, 7.0)]
    for name, layer in history.layers.items():
        for tag, values in {
            "learning_rate": layer.learning_rate,
            "gradient_norm": layer.gradient_norm,
            "factor": layer.factor,
            "update_ratio_log10": np.log10(layer.update_ratio),
        }.items():
            steps, written = zip(*found[f"{tag}/{name}"], strict=True)
            assert steps == (0, 1, 2, 3)
            np.testing.assert_allclose(written, values, rtol=1e-6)  # they are float32
    shares = [value for _, value in found["clipped_share/0"]]
    np.testing.assert_allclose(shares, [1, 1 / 2, 2 / 3, 3 / 4], rtol=1e-6)


def test_the_share_is_of_the_last_fifty(tmp_path: Path) -> None:
    with fs.TensorBoardWriter(tmp_path) as board:
        run(board, made(), [1.0] * 30 + [0.1] * 60)
    shares = [value for _, value in scalars(tmp_path)["clipped_share/0"]]
    np.testing.assert_allclose(shares[49], 0.6, rtol=1e-6)
    np.testing.assert_allclose(shares[54], 0.5, rtol=1e-6)
    assert shares[80:] == [0.0] * 10


def test_the_guide_stands_in_the_same_chart(tmp_path: Path) -> None:
    """A run of its own with the same tags, from a layer's first ratio to the last step."""
    params = {"0_W": np.zeros(2), "0_b": np.zeros(1), "1_W": np.full(3, 2.0)}
    with fs.TensorBoardWriter(tmp_path) as board:
        run(board, made(params), [1.0] * 6)
    ratios, guide = scalars(tmp_path), scalars(tmp_path / "guide")
    assert ratios["update_ratio_log10/0"][0][0] == 1  # at first its parameters are 0
    assert {tag: (points[0], points[-1]) for tag, points in guide.items()} == {
        "update_ratio_log10/0": ((1, -3.0), (5, -3.0)),
        "update_ratio_log10/1": ((0, -3.0), (5, -3.0)),
    }
    for points in guide.values():
        assert len(set(points)) == len(points)


def test_one_chart_for_all_layers(tmp_path: Path) -> None:
    """The layout of the tab "Custom Scalars", whose tags are regular expressions."""
    with fs.TensorBoardWriter(tmp_path) as board:
        run(board, made(), [1.0])
    (config,) = (
        value
        for event in events(tmp_path)
        for value in event.summary.value
        if value.tag == "custom_scalars__config__"
    )
    layout = Layout.FromString(config.tensor.string_val[0])
    (category,) = layout.category
    charts = {chart.title: list(chart.multiline.tag) for chart in category.chart}
    assert charts == {
        "score": ["score$"],
        "log10(‖update‖ / ‖parameters‖)": ["update_ratio_log10/"],
        "gradient norm": ["gradient_norm/"],
        "clipped share": ["clipped_share/"],
        "learning rate": ["learning_rate/"],
    }


def test_what_has_no_value_is_not_written(tmp_path: Path) -> None:
    config = fs.MultiLayerConfiguration(updater=fs.AdaDelta())
    updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(2)})
    with fs.TensorBoardWriter(tmp_path) as board:
        updater.step({"0_W": np.ones(2)})
        board.record(updater, math.nan)
    found = scalars(tmp_path)
    assert found.keys() == {"score"}
    assert math.isnan(found["score"][0][1])
    assert not (tmp_path / "guide").exists()


def test_skipped_steps(tmp_path: Path) -> None:
    with fs.TensorBoardWriter(tmp_path) as board:
        run(board, made(on_nonfinite="skip"), (1.0, math.nan, 1.0))
    found = scalars(tmp_path)
    assert [step for step, _ in found["score"]] == [0, 1, 1]
    assert [step for step, _ in found["factor/0"]] == [0, 1]
    assert found["skipped_steps"] == [(1, 1.0), (1, 1.0)]


def test_slots_and_the_network(tmp_path: Path) -> None:
    slots = fs.LayerConfiguration(gradient_normalization="ClipL2PerParamType")
    with fs.TensorBoardWriter(tmp_path / "slots") as board:
        run(board, made(layers={"0": slots}), [1.0])
    found = scalars(tmp_path / "slots")
    assert found["gradient_norm/0_W"] == [(0, 3.0)]
    assert found["gradient_norm/0_b"] == [(0, 4.0)]
    with fs.TensorBoardWriter(str(tmp_path / "network")) as board:
        run(board, made(gradient_normalization="ClipL2Global"), [1.0])
    found = scalars(tmp_path / "network")
    np.testing.assert_allclose(found["gradient_norm/network"], [(0, math.sqrt(25.25))], rtol=1e-6)
    assert "learning_rate/network" not in found


def test_every_third_step_of_a_solver(tmp_path: Path) -> None:
    updater = made()
    with fs.TensorBoardWriter(bytes(tmp_path), every=3) as board:
        solver = fs.StochasticGradientDescent(updater, lambda: (1.0, gradients(1.0)), [board])
        for _ in range(8):
            solver.optimize()
    assert scalars(tmp_path)["score"] == [(0, 1.0), (3, 1.0), (6, 1.0)]


def test_what_is_written_can_be_seen_before_the_end(tmp_path: Path) -> None:
    board = fs.TensorBoardWriter(tmp_path)
    run(board, made(), [1.0])
    assert scalars(tmp_path)["score"] == [(0, 10.0)]
    assert len(scalars(tmp_path / "guide")) == 2
    board.close()


def test_two_writers_of_one_folder(tmp_path: Path) -> None:
    """Each has a file of its own; TensorBoard shows both as one run."""
    for score in (1.0, 2.0):
        updater = made()
        with fs.TensorBoardWriter(tmp_path) as board:
            updater.step(gradients(1.0))
            board.record(updater, score)
    assert scalars(tmp_path)["score"] == [(0, 1.0), (0, 2.0)]


def test_closed(tmp_path: Path) -> None:
    board = fs.TensorBoardWriter(tmp_path)
    updater = made()
    run(board, updater, [1.0, 1.0])
    board.close()
    board.close()
    updater.step(gradients(1.0))
    with pytest.raises(ValueError, match=r"expected no step after close\(\), got one"):
        board.record(updater, 1.0)
    assert len(scalars(tmp_path)["score"]) == 2


def test_what_it_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="TensorBoardWriter: every: expected an integer >= 1"):
        fs.TensorBoardWriter(tmp_path, every=0)
    with pytest.raises(TypeError, match="TensorBoardWriter"):
        fs.TensorBoardWriter(3)  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        fs.TensorBoardWriter(tmp_path / "file")
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboardX"]:
        monkeypatch.setitem(sys.modules, name, None)
    text = r"tensorboardX, which is not installed: pip install tensorboardX \(or 'flatstep\[tens"
    with pytest.raises(ImportError, match=text):
        fs.TensorBoardWriter(tmp_path)
