"""Saving writes the arrays as they lie in memory: safetensors' own bytes, without a copy."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import flatstep as fs
from flatstep import network_updater
from flatstep.checkpoint.container import little_endian_blocks, write_container

MEASURE = """
import sys, numpy as np, flatstep as fs

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))

def updater(shape):
    params = {"0_W": np.zeros(shape, np.float32, order=sys.argv[1])}
    gradients = {"0_W": np.ones_like(params["0_W"])}
    made = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(updater=fs.Adam()), params)
    made.step(gradients)
    return made, gradients  # which live on, so that the memory now is the peak so far

updater((2, 2))[0].save(sys.argv[2])
large, kept = updater((4096, 2048))
assert large.state_view.nbytes == 1 << 26
before = peak()
large.save(sys.argv[2])
print((peak() - before) / large.state_view.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_save_needs_little_memory(order: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, order, str(tmp_path / "run.safetensors")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 0.2


def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    return {
        "0_W": rng.standard_normal((4, 5)),
        "0_W/m": np.asfortranarray(rng.standard_normal((4, 5)).astype(np.float32)),
        "b": np.float32([-0.0, np.nan, np.inf]),
        'ε "quoted"\\/\b\n\x1f\x7f': rng.standard_normal((2, 3, 4)).transpose(),
        "": np.zeros((0, 3), np.float32),
        "scalar": np.array(0.5),
        "a10": np.ones(1),
        "a9": np.ones(1),
    }


@pytest.mark.parametrize("metadata", [{}, {"flatstep": '{"ε": "\\n"}'}])
def test_the_bytes_are_those_of_safetensors(metadata: dict[str, str]) -> None:
    file = BytesIO()
    write_container(file, arrays(), metadata)
    in_c_order = {name: np.asarray(array, order="C") for name, array in arrays().items()}
    assert file.getvalue() == safetensors.numpy.save(in_c_order, metadata=metadata)


def test_a_name_that_the_format_has_for_itself(tmp_path: Path) -> None:
    updater = fs.LayerUpdater(fs.MultiLayerConfiguration(), {"__metadata__": np.ones(3)})
    with pytest.raises(ValueError, match="rename the parameter"):
        updater.save(tmp_path / "run.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "shape", [(700, 800), (3, 1000, 300), (2, 2, 250_000), (600_000, 2), (1, 400_000, 2)]
)
def test_blocks_of_large_arrays(shape: tuple[int, ...]) -> None:
    array = np.asfortranarray(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    blocks = list(little_endian_blocks(array))
    assert b"".join(block.tobytes() for block in blocks) == array.tobytes()
    assert max(block.nbytes for block in blocks) <= 1 << 20


def test_an_updater_is_held_while_it_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of another thread would come between the arrays."""
    updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"0_W": np.ones(3)})
    write = network_updater.write_checkpoint

    def step_and_write(*arguments: Any) -> None:
        with pytest.raises(RuntimeError, match="in the middle of a step"):
            updater.step({"0_W": np.ones(3)})
        write(*arguments)

    monkeypatch.setattr(network_updater, "write_checkpoint", step_and_write)
    updater.save(tmp_path / "run.safetensors")
    updater.step({"0_W": np.ones(3)})
    assert fs.load_updater(tmp_path / "run.safetensors", {"0_W": np.zeros(3)}).iteration == 0


def test_loading_makes_one_updater(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"0_W": np.ones(3)}).save(tmp_path / "run")
    made = []
    init = fs.MultiLayerUpdater.__init__

    def counted(self: Any, *arguments: Any, **named: Any) -> None:
        made.append(self)
        init(self, *arguments, **named)

    monkeypatch.setattr(fs.MultiLayerUpdater, "__init__", counted)
    loaded = fs.load_updater(tmp_path / "run", {"0_W": np.zeros(3)})
    assert len(made) == 1
    assert made[0] is loaded
