"""One updater over MPI: jobs of 1 to 4 ranks under every MPI there is, each with a limit of time.

`mpi_program.py` has the scenarios. Each compares with one process that is given the gradients which
NumPy has added up.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from cpp_project import ROOT, require_tools, skip_unless_ci
from mpi_launch import PROGRAM, Mpi, require_mpi

import flatstep as fs

MPIS = require_mpi()
each_mpi = pytest.mark.parametrize("mpi", MPIS, ids=lambda mpi: mpi.name)
each_size = pytest.mark.parametrize("ranks", [1, 2, 3, 4])
#: Every row of the tables for each MPI and number of ranks takes most of an hour: nox -s mpi.
ALL_ROWS = os.environ.get("FLATSTEP_MPI_ROWS") == "all"


def passes_rows(mpi: Mpi, ranks: int, scenario: str, stride: int) -> None:
    """Every so many rows of a scenario's table, others for each MPI and number of ranks."""
    if ALL_ROWS:
        mpi.passes(ranks, scenario, "0", "1", limit=3600)
    else:
        mpi.passes(ranks, scenario, str(4 * MPIS.index(mpi) + ranks), str(stride), limit=600)


@pytest.mark.parametrize("part", range(4))
def test_bits_of_every_updater_strategy_and_order(part: int) -> None:
    """All of the table, 50 steps each, on two ranks."""
    MPIS[part % len(MPIS)].passes(2, "bits", str(part), "4", limit=600)


@each_mpi
@each_size
def test_bits_on_every_number_of_ranks(mpi: Mpi, ranks: int) -> None:
    """Another thirtieth of the table for each; one thread and two in turn."""
    passes_rows(mpi, ranks, "bits", 31)


@each_mpi
@each_size
@pytest.mark.parametrize("scenario", ["variants", "doors", "own_order", "skipping", "overflow"])
def test_bits_and_doors(mpi: Mpi, ranks: int, scenario: str) -> None:
    if scenario == "overflow" and ranks == 1:
        pytest.skip("one rank has no sum")
    mpi.passes(ranks, scenario)


@each_mpi
@each_size
def test_together_or_not_at_all(mpi: Mpi, ranks: int) -> None:
    """Each rank in turn: a missing key, a wrong dtype, NaN, infinity, an exception of a
    CustomUpdater, other arguments, another call."""
    mpi.passes(ranks, "faults")


@each_mpi
@pytest.mark.parametrize("ranks", [2, 3])
def test_construction(mpi: Mpi, ranks: int) -> None:
    mpi.passes(ranks, "construction")


@each_mpi
def test_random_schedules_of_faults(mpi: Mpi) -> None:
    """200 of them over the MPIs; none hangs."""
    count = -(-200 // len(MPIS))
    mpi.passes(3, "schedules_of_faults", str(MPIS.index(mpi)), str(count), limit=300)


@each_mpi
@pytest.mark.parametrize("how", ["interrupt", "exit", "error"])
@pytest.mark.parametrize("who", [0, 1, 2])
def test_who_leaves_is_heard_of(mpi: Mpi, who: int, how: str) -> None:
    done = mpi.run(3, str(PROGRAM), "leaving", str(who), how, limit=30)
    assert done.returncode != 0
    heard = {int(rank) for rank in re.findall(r"rank (\d) heard", done.stdout)}
    # The launcher may end the job as soon as the first process has ended without success.
    assert heard <= {0, 1, 2} - {who}
    assert "Assertion" not in done.stdout, done.stdout
    assert heard or how != "exit", done.stdout


@each_mpi
@pytest.mark.parametrize("ranks", [1, 3])
def test_an_interrupt_waits_for_the_end_of_a_step(mpi: Mpi, ranks: int) -> None:
    mpi.passes(ranks, "interrupted")


@each_mpi
@pytest.mark.parametrize("who", [0, 1])
def test_a_killed_rank_ends_the_job_and_the_last_checkpoint_goes_on(
    mpi: Mpi, who: int, tmp_path: Path
) -> None:
    path = str(tmp_path / "run.safetensors")
    begin = time.monotonic()
    done = mpi.run(2, str(PROGRAM), "killed", path, str(who), "6", limit=60)
    assert time.monotonic() - begin < 30 + 10  # and the time to start
    assert done.returncode != 0
    assert "went on" not in done.stdout
    for ranks in (4, 1):
        mpi.passes(ranks, "resumed", path, "12")


@each_mpi
def test_checkpoints_are_those_of_one_process(mpi: Mpi, tmp_path: Path) -> None:
    """1 → 2 → 3 → 4 → 1 ranks, byte for byte the file that one process without MPI writes."""
    steps = [(1, 0, 3), (2, 3, 6), (3, 6, 9), (4, 9, 12), (1, 12, 14)]
    for ranks, first, last in steps:
        mpi.passes(ranks, "save_steps", str(tmp_path), str(first), str(last))
    mpi.passes(1, "plain_steps", str(tmp_path), "14")
    saved = (tmp_path / "14.safetensors").read_bytes()
    assert saved == (tmp_path / "plain.safetensors").read_bytes()


@each_mpi
@pytest.mark.parametrize("ranks", [1, 3])
def test_what_is_wrong_with_files_all_ranks_say(mpi: Mpi, ranks: int, tmp_path: Path) -> None:
    mpi.passes(ranks, "refuse_files", str(tmp_path))


@each_mpi
@each_size
def test_averaging(mpi: Mpi, ranks: int) -> None:
    mpi.passes(ranks, "averaging")


@each_mpi
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_traffic_and_memory(mpi: Mpi, ranks: int) -> None:
    mpi.passes(ranks, "traffic")


@each_mpi
@pytest.mark.parametrize("ranks", [1, 3])
def test_memory_of_saving_and_loading(mpi: Mpi, ranks: int, tmp_path: Path) -> None:
    mpi.passes(ranks, "peak_of_files", str(tmp_path))


@each_mpi
@each_size
def test_narrow_storage(mpi: Mpi, ranks: int) -> None:
    """A part of updaters × storages for each; doors, faults and traffic."""
    passes_rows(mpi, ranks, "narrow", 23)


@each_mpi
def test_narrow_checkpoints_are_those_of_one_process(mpi: Mpi, tmp_path: Path) -> None:
    """Of each storage, 3 → 2 ranks, and one process from between."""
    for ranks in (3, 2):
        mpi.passes(ranks, "narrow_files", str(tmp_path))


@each_mpi
def test_examples_of_docstrings(mpi: Mpi) -> None:
    mpi.passes(1, "docstrings")


@each_mpi
def test_the_example_of_the_digits(mpi: Mpi) -> None:
    pytest.importorskip("sklearn")
    done = mpi.run(2, str(ROOT / "examples" / "mpi_digits.py"), "--epochs", "6")
    assert done.returncode == 0, done.stdout
    (accuracy,) = re.findall(r"test accuracy ([\d.]+) %", done.stdout)
    assert float(accuracy) > 94
    assert "to the bit: yes" in done.stdout
    assert "file of the run: yes" in done.stdout


@each_mpi
def test_the_example_in_cpp(mpi: Mpi, tmp_path: Path) -> None:
    """It is compiled as it says, and has the bits of one process."""
    require_tools()
    environment = mpi.environment()
    compiler = shutil.which("mpicxx", path=environment["PATH"])
    if compiler is None:
        skip_unless_ci(f"not installed: mpicxx of {mpi.name}")
    program = tmp_path / "mpi_train"
    source = ROOT / "examples" / "mpi_train.cpp"
    (flags,) = re.findall(r"^//   mpicxx (.+?) -I ", source.read_text("utf-8"), re.MULTILINE)
    command = [compiler, *flags.split(), "-Wall", "-Wextra", "-Werror"]
    command += ["-I", str(ROOT / "cpp" / "include"), str(source), "-o", str(program)]
    built = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    for ranks in (1, 3):
        done = subprocess.run(
            [mpi.launcher, "-n", str(ranks), str(program)],
            env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("the bits of one") == ranks, done.stdout


def test_the_room_is_opened_late() -> None:
    assert fs.mpi.DistributedUpdater.__name__ in fs.mpi.__all__
    assert "mpi" in fs.__all__
