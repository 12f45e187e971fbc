"""Every reader of files, on files that are wrong behind right checksums: it loads or it refuses.

FLATSTEP_FUZZ is the number of files for each reader; by default what each commit can wait for.
"""

from __future__ import annotations

import os
import random
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reader_fuzz
from dl4j_zips import COEFFICIENTS, MLP, read_entries
from snapshots import bits
from time_limits import SLOWER

import flatstep as fs
from flatstep.dl4j.archive import Entry, EntryReader
from flatstep.dl4j.nd4j import read_array

COUNT = int(os.environ.get("FLATSTEP_FUZZ", "600"))
SECONDS = 2.0 * SLOWER
MOST = 4096


@pytest.fixture(autouse=True)
def _the_disk_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def resident() -> int:
    """The most memory that this process ever had, in bytes; 0 where that is not known."""
    if sys.platform != "linux":
        return 0
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def reset_peak() -> None:
    """Forget the most memory so far: what is freed and taken again is no growth."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:  # no Linux, or not allowed
        pass


def run(
    reader: str,
    make: Callable[[random.Random], bytes],
    read: Callable[[bytes], object],
    documented: tuple[type[Exception], ...],
) -> dict[str, int]:
    """Reads COUNT files and counts what became of them."""
    counts = {"loaded": 0, "refused": 0}
    for number in range(COUNT):
        data = make(random.Random(f"{reader} {number}"))
        reset_peak()
        memory = resident()
        start = time.process_time()
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                read(data)
            counts["loaded"] += 1
            texts = [str(warning.message) for warning in caught]
        except documented as error:
            if type(error) not in documented:  # a class derived from a ValueError, which is another
                raise
            counts["refused"] += 1
            texts = [str(error), str(error.__cause__ or "")]
        seconds = time.process_time() - start
        assert seconds < SECONDS, f"{reader} {number}: {seconds} s"
        assert all(len(text) < MOST for text in texts), f"{reader} {number}: {texts}"
        grown = resident() - memory
        assert grown < (64 << 20) + 10 * len(data), f"{reader} {number}: {grown} bytes"
    return counts


def assert_both(counts: dict[str, int]) -> None:
    """Some of the files are read: what is wrong with the others is what was changed."""
    assert min(counts.values()) >= COUNT // 100, counts


CONFIGURATIONS = [
    fs.MultiLayerConfiguration(
        updater=fs.Adam(learning_rate=fs.StepSchedule(1e-3, decay_rate=0.5, step=1000)),
        bias_updater=fs.Nesterovs(0.1, momentum=fs.MapSchedule({0: 0.5, 10: 0.9})),
        gradient_normalization="ClipL2PerLayer",
        gradient_normalization_threshold=0.5,
        l2=1e-4,
        layers={
            "1": fs.LayerConfiguration(frozen=True, kind="BatchNormalization"),
            "2": fs.LayerConfiguration(
                updater=fs.RmsProp(fs.RampSchedule(fs.CosineSchedule(0.1, 1000), 100)),
                params={"b": fs.ParamConfiguration(updater=fs.NoOp())},
            ),
        },
    ),
    fs.MultiLayerConfiguration(
        updater=fs.Nesterovs(0.5),
        semantics="dl4j-0.8",
        learning_rate_policy=fs.LearningRatePolicy("Schedule", schedule={2: 0.1, 5: 0.2}),
        momentum_schedule={3: 0.75},
        bias_params=("b", "bias"),
    ),
]


def test_configurations() -> None:
    texts = [configuration.to_json() for configuration in CONFIGURATIONS]

    def read(data: bytes) -> None:
        text = data.decode("utf-8", "surrogatepass")
        found = fs.MultiLayerConfiguration.from_json(text)
        assert fs.MultiLayerConfiguration.from_json(found.to_json()) == found

    assert_both(
        run(
            "configuration",
            lambda rng: reader_fuzz.configuration(rng, rng.choice(texts)),
            read,
            (ValueError, TypeError),
        )
    )


@pytest.mark.parametrize("strict", [True, False])
def test_checkpoints(strict: bool, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    params = {
        "0_W": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "0_b": np.float32(0.1) * np.arange(3, dtype=np.float32),
        "1_W": np.full((3, 1), -0.0, np.float32),
    }
    whole = (Path(__file__).parent / "checkpoints" / "version-1.safetensors").read_bytes()
    before = bits(params)

    def read(data: bytes) -> None:
        path.write_bytes(data)
        mine = {key: array.copy(order="K") for key, array in params.items()}
        try:
            updater = fs.load_updater(path, mine, strict=strict)
        except BaseException:
            assert bits(mine) == before
            raise
        updater.save(path)

    counts = run(
        f"checkpoint {strict}",
        lambda rng: reader_fuzz.checkpoint(rng, whole),
        read,
        (fs.CheckpointError,),
    )
    assert_both(counts)


def test_models(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"

    def read(data: bytes) -> None:
        path.write_bytes(data)
        model = fs.load_dl4j(path)
        fs.save_dl4j(path, model)
        assert bits(fs.load_dl4j(path).params) == bits(model.params)

    counts = run("model", reader_fuzz.model, read, (fs.DL4JModelError,))
    assert_both(counts)


def test_arrays(tmp_path: Path) -> None:
    """The parser of .bin alone, without a zip that knows its size."""
    path = tmp_path / "array.bin"
    whole = read_entries(MLP)[COEFFICIENTS]

    def read(data: bytes) -> None:
        path.write_bytes(data)
        with path.open("rb") as file:
            size = len(data)
            entry = Entry("array.bin", b"", b"", 0, zlib.crc32(data), size, size, 0, 0, size)
            values = read_array(EntryReader(file, entry), "array.bin", 67, None).values
            assert values.size == 67

    counts = run("array", lambda rng: reader_fuzz.array(rng, whole), read, (fs.DL4JModelError,))
    assert_both(counts)


@pytest.mark.parametrize("reader", ["checkpoint", "model", "configuration"])
def test_truncation_at_every_byte(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    params = {"0_W": np.zeros(3, np.float32)}
    readers: dict[str, tuple[bytes, Callable[[], Any]]] = {
        "checkpoint": (
            (Path(__file__).parent / "checkpoints" / "version-1.safetensors").read_bytes(),
            lambda: fs.load_updater(path, params),
        ),
        "model": (MLP.read_bytes(), lambda: fs.load_dl4j(path)),
        "configuration": (
            CONFIGURATIONS[0].to_json().encode(),
            lambda: fs.MultiLayerConfiguration.from_json(path.read_text()),
        ),
    }
    whole, read = readers[reader]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r".") as caught:
            read()
        assert len(str(caught.value)) < MOST


def test_the_same_seed_makes_the_same_file() -> None:
    make = reader_fuzz.model
    assert make(random.Random(1)) == make(random.Random(1))
    assert make(random.Random(1)) != make(random.Random(2))
