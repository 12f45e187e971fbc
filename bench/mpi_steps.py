"""Steps of many processes, against what their communication costs by itself.

    mpiexec -n 2 python bench/mpi_steps.py                       all cases
    mpiexec -n 2 python bench/mpi_steps.py --cases mlp 16M       some of them
    mpiexec -n 2 python bench/mpi_steps.py --zero                beside PyTorch's, if it is there
    mpiexec -n 2 python bench/mpi_steps.py --timeline step.json  also when what happened in one step

Of each case it times, in turns: a step of all ranks; the bare collectives of the same bytes, MPI's
own reduce-scatter and all-gather on one flat buffer; and a step of one process, which rank 0 takes
while the others sleep. Rank 0 prints minima and medians in microseconds, and the ratio that is to
be at most 1.1: a step over (the collectives + a step of one process / ranks), of minima and of
medians. One thread each unless FLATSTEP_NUM_THREADS says otherwise.

--zero adds PyTorch's ZeroRedundancyOptimizer with its fused Adam over gloo, as its users have it:
gradients, which lie in buckets of 25 MB, are all-reduced as DistributedDataParallel does it, and
clipped by torch.nn.utils.clip_grad_norm_, all or layer by layer; then each rank steps its part and
broadcasts the parameters. "zero_ratio" is its time over ours.
"""

from __future__ import annotations

import argparse
import atexit
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("FLATSTEP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from mpi4py import MPI

import flatstep as fs

_STRATEGIES = ("None", "ClipL2PerLayer", "ClipL2Global")


def _dense(*sizes: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        shapes[f"{layer}_W"] = (inputs, outputs)
        shapes[f"{layer}_b"] = (outputs,)
    return shapes


CASES = {
    "mlp": _dense(784, 256, 128, 10),
    "deep": _dense(*[256] * 51),
    "16M": _dense(*[2048] * 5),
    "64M": _dense(*[4096] * 5),
}


def timed(call: Callable[[], object], comm: Any) -> float:
    comm.Barrier()
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


class Case:
    def __init__(self, name: str, strategy: str, bucket_bytes: int) -> None:
        self.comm = comm = MPI.COMM_WORLD
        rank, size = comm.Get_rank(), comm.Get_size()
        shapes = CASES[name]
        numbers = np.random.default_rng(0)
        zeros = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
        self.flat, params = fs.flatten(zeros)
        flat_gradients, gradients = fs.flatten(zeros)
        flat_gradients[:] = numbers.standard_normal(flat_gradients.size, np.float32)
        config = fs.MultiLayerConfiguration(updater=fs.Adam(1e-3), gradient_normalization=strategy)
        self.updater = fs.mpi.DistributedUpdater(config, params, bucket_bytes=bucket_bytes)
        self.updater.bind_gradients(gradients)
        self.one = None
        if rank == 0:
            _, own = fs.flatten(zeros)
            self.one = fs.MultiLayerUpdater(config, own)
            self.one.bind_gradients(gradients)
        elements = self.flat.size
        self.counts = np.diff([elements * r // size for r in range(size + 1)])
        self.reduced = np.empty(int(self.counts[rank]), np.float32)
        self.gathered = np.empty_like(self.flat)
        self.gradients = flat_gradients

    def collectives(self) -> None:
        self.comm.Reduce_scatter(self.gradients, self.reduced, self.counts, MPI.SUM)
        self.comm.Allgatherv(self.reduced, [self.gathered, self.counts])

    def alone(self) -> float:
        """Of one process; the others sleep, as a rank that waits for a message is busy."""
        seconds = 0.0
        self.comm.Barrier()
        if self.one is not None:
            begin = time.perf_counter()
            self.one.step()
            seconds = time.perf_counter() - begin
            for other in range(1, self.comm.Get_size()):
                self.comm.Send(np.zeros(1), other)
        else:
            while not self.comm.Iprobe(0):
                time.sleep(2e-4)
            self.comm.Recv(np.zeros(1), 0)
        return seconds


class Zero:
    """The same step by PyTorch."""

    BUCKET_BYTES = 25 << 20

    def __init__(self, name: str, strategy: str) -> None:
        import torch
        import torch.distributed as dist
        from torch.distributed.optim import ZeroRedundancyOptimizer

        comm = MPI.COMM_WORLD
        if not dist.is_initialized():
            torch.set_num_threads(int(os.environ["FLATSTEP_NUM_THREADS"]))
            folder = None
            if comm.Get_rank() == 0:
                folder = tempfile.mkdtemp()
                atexit.register(shutil.rmtree, folder, ignore_errors=True)
            dist.init_process_group(
                "gloo",
                init_method=f"file://{comm.bcast(folder)}/group",
                rank=comm.Get_rank(),
                world_size=comm.Get_size(),
            )
        self.dist = dist
        self.clip = torch.nn.utils.clip_grad_norm_
        params = {key: torch.nn.Parameter(torch.zeros(*s)) for key, s in CASES[name].items()}
        self.buckets: list[Any] = []
        waiting: list[Any] = []
        for param in reversed(params.values()):  # in the order of the backward pass
            waiting.append(param)
            if 4 * sum(each.numel() for each in waiting) >= self.BUCKET_BYTES:
                self._make_bucket(waiting)
        self._make_bucket(waiting)
        layers = itertools.groupby(params, key=lambda key: key.split("_")[0])
        self.clipped = {
            "None": [],
            "ClipL2PerLayer": [[params[key] for key in keys] for _, keys in layers],
            "ClipL2Global": [list(params.values())],
        }[strategy]
        self.optimizer = ZeroRedundancyOptimizer(
            params.values(),
            optimizer_class=torch.optim.Adam,
            parameters_as_bucket_view=True,
            lr=1e-3,
            fused=True,
        )

    def _make_bucket(self, waiting: list[Any]) -> None:
        import torch

        if not waiting:
            return
        bucket = torch.randn(sum(param.numel() for param in waiting))
        views = bucket.split([param.numel() for param in waiting])
        for param, view in zip(waiting, views, strict=True):
            param.grad = view.view_as(param)
        self.buckets.append(bucket)
        waiting.clear()

    def step(self) -> None:
        works = [self.dist.all_reduce(bucket, async_op=True) for bucket in self.buckets]
        for work, bucket in zip(works, self.buckets, strict=True):
            work.wait()
            bucket.div_(self.dist.get_world_size())
        for params in self.clipped:
            self.clip(params, 1.0)
        self.optimizer.step()


def measure(
    name: str, strategy: str, seconds: float, bucket_bytes: int, with_zero: bool
) -> dict[str, Any]:
    case = Case(name, strategy, bucket_bytes)
    comm = case.comm
    zero = Zero(name, strategy) if with_zero else None
    times: dict[str, list[float]] = {"step": [], "collectives": [], "alone": []}
    if zero is not None:
        times["zero"] = []
    begin = time.perf_counter()
    rounds = 0
    while True:
        times["step"].append(timed(case.updater.step, comm))
        times["collectives"].append(timed(case.collectives, comm))
        times["alone"].append(case.alone())
        if zero is not None:
            times["zero"].append(timed(zero.step, comm))
        rounds += 1
        if comm.bcast(rounds >= 5 and time.perf_counter() - begin > seconds):
            break
    found: dict[str, Any] = {"case": name, "strategy": strategy, "elements": case.flat.size}
    size = comm.Get_size()
    for what, least in (("min", np.min), ("median", np.median)):
        # The first is for warming up; a step is over when the last rank's is.
        values = {
            key: 1e6 * float(comm.allreduce(float(least(each[1:])), MPI.MAX))
            for key, each in times.items()
        }
        values["ratio"] = values["step"] / (values["collectives"] + values["alone"] / size)
        if zero is not None:
            values["zero_ratio"] = values["zero"] / values["step"]
        found[what] = {key: round(value, 2) for key, value in values.items()}
    return found


def timeline(name: str, strategy: str, path: str, bucket_bytes: int) -> None:
    """When what happened on every rank, in seconds from the beginning of one step."""
    case = Case(name, strategy, bucket_bytes)
    transport = case.updater._ranks
    for _ in range(3):
        case.updater.step()
    transport.timeline = []
    case.comm.Barrier()
    begin = time.perf_counter()
    case.updater.step()
    end = time.perf_counter()
    events = [(what, k, a - begin, b - begin) for what, k, a, b in transport.timeline]
    every = case.comm.gather({"seconds": end - begin, "events": events})
    if case.comm.Get_rank() == 0:
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"case": name, "strategy": strategy, "ranks": every}, file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--strategies", nargs="+", choices=_STRATEGIES, default=_STRATEGIES)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each case")
    parser.add_argument("--bucket-bytes", type=int, default=1 << 20)
    parser.add_argument("--zero", action="store_true", help="also PyTorch's, which must be there")
    parser.add_argument("--timeline", help="the file for one of the first case's steps")
    options = parser.parse_args()
    for name in options.cases:
        for strategy in options.strategies:
            found = measure(name, strategy, options.seconds, options.bucket_bytes, options.zero)
            if MPI.COMM_WORLD.Get_rank() == 0:
                print(json.dumps(found), flush=True)
    if options.timeline:
        strategy = options.strategies[-1]
        timeline(options.cases[0], strategy, options.timeline, options.bucket_bytes)


if __name__ == "__main__":
    main()
