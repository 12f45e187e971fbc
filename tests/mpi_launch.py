"""The MPIs of this machine, and how programs are run under them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("mpi_program.py")


@dataclass(frozen=True)
class Mpi:
    """An implementation: its launcher, and where its library lies, if not where all look."""

    name: str
    launcher: str
    prefix: Path | None

    def environment(self, threads: int = 1) -> dict[str, str]:
        environment = {
            **os.environ,
            "MPI4PY_MPIABI": self.name,
            "FLATSTEP_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": "1",
            # More ranks than processors, by whoever runs the tests.
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1",
            "OMPI_MCA_mpi_yield_when_idle": "1",
            "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        }
        if self.prefix is not None:
            library = self.prefix / "lib"
            environment["MPI4PY_LIBMPI"] = str(library / "libmpi.so")
            environment["LD_LIBRARY_PATH"] = f"{library}:{os.environ.get('LD_LIBRARY_PATH', '')}"
            environment["PATH"] = f"{self.prefix / 'bin'}:{os.environ['PATH']}"
        return environment

    def run(
        self, ranks: int, *arguments: str, limit: float = 300, threads: int = 1
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python program on so many ranks; a job that is not over in time is ended, with all
        of its processes, and is a failure."""
        command = [self.launcher, "-n", str(ranks), sys.executable, *arguments]
        process = subprocess.Popen(
            command,
            env=self.environment(threads),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                output, _ = process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, _ = process.communicate()
            pytest.fail(f"{command}: not over in {limit} s:\n{output[-6000:]}")
        return subprocess.CompletedProcess(command, process.returncode, output)

    def passes(self, ranks: int, *arguments: str, limit: float = 300, threads: int = 1) -> str:
        """Run a scenario of `mpi_program.py`, which must end well; what it has printed."""
        done = self.run(ranks, str(PROGRAM), *arguments, limit=limit, threads=threads)
        assert done.returncode == 0, f"{done.args}:\n{done.stdout[-6000:]}"
        assert "all is well" in done.stdout, done.stdout[-6000:]
        return done.stdout


def _of(launcher: str | None, prefix: Path | None) -> Mpi | None:
    if launcher is None:
        return None
    said = subprocess.run([launcher, "--version"], capture_output=True, text=True).stdout
    known = {"hydra": "mpich", "mpich": "mpich", "open mpi": "openmpi", "prte": "openmpi"}
    name = next((name for text, name in known.items() if text in said.lower()), None)
    return None if name is None else Mpi(name, launcher, prefix)


@cache
def implementations() -> tuple[Mpi, ...]:
    """Those below the folders that FLATSTEP_MPI lists, and the one on the path."""
    found: dict[str, Mpi] = {}
    if find_spec("mpi4py") is None:
        return ()
    for folder in filter(None, os.environ.get("FLATSTEP_MPI", "").split(os.pathsep)):
        prefix = Path(folder)
        mpi = _of(shutil.which("mpiexec", path=str(prefix / "bin")), prefix)
        if mpi is not None:
            found.setdefault(mpi.name, mpi)
    mpi = _of(shutil.which("mpiexec"), None)
    if mpi is not None:
        found.setdefault(mpi.name, mpi)
    return tuple(found.values())


def require_mpi() -> tuple[Mpi, ...]:
    """Them, to be called while tests are collected: skips where there are none, never in CI."""
    found = implementations()
    wanted = 2 if os.environ.get("CI") == "true" else 1
    if len(found) >= wanted:
        return found
    missing = (
        "mpi4py, or an MPI: pip install mpi4py, and mpiexec on the path or in a folder of "
        "FLATSTEP_MPI (CI wants two implementations)"
    )
    if os.environ.get("CI") == "true":
        raise RuntimeError(f"missing in CI: {missing}; found {[mpi.name for mpi in found]}")
    pytest.skip(f"not here: {missing}", allow_module_level=True)
