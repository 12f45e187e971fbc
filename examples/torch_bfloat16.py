"""A PyTorch model in bfloat16 on the CPU, trained where it is as well as in float32.

    python examples/torch_bfloat16.py [--steps 1500] [--state 16bit] [--seed 0]

The last place of a bfloat16 is a 256th of the number at least. A step that is smaller than half of
it is rounded away, and training all but stops. A split master keeps the other 16 bits of each
weight beside it. The step joins the two, and the tensor that PyTorch sees is the upper half, in its
own memory: 4 bytes together, as many as in float32, and a forward pass that reads 2. Gradients are
bfloat16 too, and Adam's moments may be kept in 16 or 8 bits.

Three models begin alike and see the same batches: bfloat16 with flatstep's split master, bfloat16
with `torch.optim.Adam`, which has none, and float32 with `torch.optim.Adam`.

Needs PyTorch and ml_dtypes: pip install torch ml_dtypes
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import flatstep as fs

try:
    import ml_dtypes
    import torch
except ImportError as error:
    missing = "ml_dtypes" if error.name == "ml_dtypes" else "PyTorch"
    sys.exit(
        f"examples/torch_bfloat16.py needs {missing}, which is not installed: "
        f"pip install {missing.lower().removeprefix('py')}"
    )

RATE = 3e-4
UNITS = 128


def two_spirals(points: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of two interleaved spirals, and which spiral each belongs to."""
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=points)
    angle = 3 * np.pi * np.sqrt(rng.uniform(size=points))
    place = np.stack([np.cos(angle + np.pi * label), np.sin(angle + np.pi * label)], axis=1)
    place *= angle[:, np.newaxis] / (3 * np.pi)
    place += rng.normal(scale=0.02, size=place.shape)
    return torch.from_numpy(place.astype(np.float32)), torch.from_numpy(label.astype(np.float32))


def build_model(seed: int) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(2, UNITS), torch.nn.Tanh(),
        torch.nn.Linear(UNITS, UNITS), torch.nn.Tanh(),
        torch.nn.Linear(UNITS, 1),
    )  # fmt: skip


def backward(model: torch.nn.Module, places: torch.Tensor, labels: torch.Tensor) -> float:
    """Fill the gradients; returns the loss."""
    # Zeroed, not dropped: PyTorch then adds to the tensors that are there, and they stay in place.
    model.zero_grad(set_to_none=False)
    logits = model(places.to(next(model.parameters()).dtype)).squeeze(1)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), labels)
    loss.backward()
    return loss.item()


def by_layer(tensors: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """``{"0": {"weight": …, "bias": …}, …}``, as an updater takes nested names."""
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, parameter = name.rpartition(".")
        layers.setdefault(layer, {})[parameter] = tensor
    return layers


def updater_of(
    model: torch.nn.Module, configuration: fs.MultiLayerConfiguration
) -> fs.ComputationGraphUpdater:
    """An updater of the model's own memory: parameters and gradients."""
    parameters = dict(model.named_parameters())
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    # as_views makes arrays of ml_dtypes.bfloat16 of them, without a copy.
    values = by_layer({name: p.detach() for name, p in parameters.items()})
    gradients = by_layer({name: p.grad for name, p in parameters.items()})
    updater = fs.ComputationGraphUpdater(configuration, fs.as_views(values))
    updater.bind_gradients(fs.as_views(gradients))
    return updater


def shared(updater: fs.ComputationGraphUpdater, model: torch.nn.Module) -> int:
    """How many of the updater's arrays are bfloat16 and lie where the model's parameters lie."""
    return sum(
        array.dtype == ml_dtypes.bfloat16 and array.ctypes.data == parameter.data_ptr()
        for array, parameter in zip(updater.parameters.values(), model.parameters(), strict=True)
    )


def accuracy(model: torch.nn.Module, places: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        logits = model(places.to(next(model.parameters()).dtype)).squeeze(1)
        return float(((logits > 0) == (labels > 0.5)).float().mean())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=1500, help="training steps")
    parser.add_argument("--state", default="16bit", choices=("full", "16bit", "8bit"),
                        help="how Adam's moments are kept")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of weights and data")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)  # so small a model is slower with more
    places, labels = two_spirals(500, options.seed)
    test = two_spirals(500, options.seed + 1)
    ours = build_model(options.seed).to(torch.bfloat16)
    models = {
        "bfloat16, split master": ours,
        "bfloat16, PyTorch's Adam": copy.deepcopy(ours),
        "float32, PyTorch's Adam": copy.deepcopy(ours).float(),
    }
    configuration = fs.MultiLayerConfiguration(
        updater=fs.Adam(RATE),
        master="split",
        state_storage=options.state,
        storage_seed=options.seed,
    )
    updater = updater_of(ours, configuration)
    print(updater.settings())
    steps: dict[str, Any] = {"bfloat16, split master": updater.step}
    for name, model in [*models.items()][1:]:
        steps[name] = torch.optim.Adam(model.parameters(), RATE).step

    print(f"{'step':>5}" + "".join(f"  {name:>24}" for name in models))
    for step in range(options.steps):
        losses = []
        for name, model in models.items():
            losses.append(backward(model, places, labels))
            steps[name]()
        if step % max(1, options.steps // 5) == 0 or step == options.steps - 1:
            print(f"{step:5}" + "".join(f"  {loss:24.5f}" for loss in losses))

    size = sum(array.size for array in updater.parameters.values())
    print(
        f"bfloat16, in shared memory: {shared(updater, ours)} of {len(updater.layout)} parameters"
    )
    print(f"kept beside them: {updater.nbytes / size:.2f} bytes a parameter")
    for name, model in models.items():
        print(f"test accuracy, {name}: {accuracy(model, *test):.1%}")


if __name__ == "__main__":
    main()
