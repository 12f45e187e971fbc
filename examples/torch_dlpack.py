"""A PyTorch model on the CPU, stepped by flatstep in its own memory, through DLPack.

    python examples/torch_dlpack.py [--steps 500] [--normalization ClipL2Global] [--seed 0]

PyTorch computes the gradients; flatstep steps the parameters where they are: `fs.as_views` makes
NumPy arrays of the tensors without a copy. For comparison an equal model is trained by PyTorch
alone, with `clip_grad_norm_` and `torch.optim.Adam`. With ClipL2Global, which does what
`clip_grad_norm_` does, the two stay together; ClipL2PerLayer and the others are flatstep's.

Needs PyTorch: pip install torch
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
    import torch
except ImportError:
    sys.exit("examples/torch_dlpack.py needs PyTorch, which is not installed: pip install torch")

RATE = 3e-3
THRESHOLD = 0.5


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
    model = torch.nn.Sequential()
    model.add_module("fc1", torch.nn.Linear(2, 64))
    model.add_module("tanh1", torch.nn.Tanh())
    model.add_module("fc2", torch.nn.Linear(64, 64))
    model.add_module("tanh2", torch.nn.Tanh())
    model.add_module("fc3", torch.nn.Linear(64, 1))
    return model


def backward(model: torch.nn.Module, places: torch.Tensor, labels: torch.Tensor) -> float:
    """Fill the gradients; returns the loss."""
    # Zeroed, not dropped: PyTorch then adds to the tensors that are there, and they stay in place.
    model.zero_grad(set_to_none=False)
    logits = model(places).squeeze(1)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    loss.backward()
    return loss.item()


def by_layer(model: torch.nn.Module) -> dict[str, dict[str, torch.nn.Parameter]]:
    """``{"fc1": {"weight": …, "bias": …}, …}`` of all layers that have parameters."""
    layers = {name: dict(layer.named_parameters()) for name, layer in model.named_children()}
    return {name: parameters for name, parameters in layers.items() if parameters}


def updater_of(
    model: torch.nn.Module, configuration: fs.MultiLayerConfiguration
) -> fs.ComputationGraphUpdater:
    """An updater of the model's own memory: parameters and gradients."""
    layers = by_layer(model)
    # A parameter is part of every gradient's computation, which NumPy must stay out of;
    # detach() gives a tensor of the same memory that is not. Take steps only after backward().
    values = {k: {n: p.detach() for n, p in layer.items()} for k, layer in layers.items()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    gradients = {k: {n: p.grad for n, p in layer.items()} for k, layer in layers.items()}
    updater = fs.ComputationGraphUpdater(configuration, fs.as_views(values))
    updater.bind_gradients(fs.as_views(gradients))  # step() finds them there from now on
    return updater


def shared(updater: fs.ComputationGraphUpdater, model: torch.nn.Module) -> int:
    """How many of the updater's arrays lie where the model's parameters lie."""
    pairs = zip(updater.parameters.values(), model.parameters(), strict=True)
    return sum(array.ctypes.data == parameter.data_ptr() for array, parameter in pairs)


def accuracy(model: torch.nn.Module, places: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return float(((model(places).squeeze(1) > 0) == (labels > 0.5)).float().mean())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=500, help="training steps")
    parser.add_argument("--normalization", default="ClipL2Global", help="flatstep's, for its model")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)  # so small a model is slower with more
    places, labels = two_spirals(500, options.seed)
    test_places, test_labels = two_spirals(500, options.seed + 1)
    ours = build_model(options.seed)
    theirs = copy.deepcopy(ours)
    configuration = fs.MultiLayerConfiguration(
        updater=fs.Adam(RATE),
        gradient_normalization=options.normalization,
        gradient_normalization_threshold=THRESHOLD,
    )
    updater = updater_of(ours, configuration)
    optimizer = torch.optim.Adam(theirs.parameters(), RATE)
    print(updater)

    loss: Any = {}
    for step in range(options.steps):
        loss["flatstep"] = backward(ours, places, labels)
        updater.step()
        loss["PyTorch"] = backward(theirs, places, labels)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), THRESHOLD)
        optimizer.step()
        if step % max(1, options.steps // 5) == 0 or step == options.steps - 1:
            print(f"step {step:4}: loss {loss['flatstep']:.5f}, PyTorch's {loss['PyTorch']:.5f}")

    print(f"in shared memory: {shared(updater, ours)} of {len(updater.layout)} parameters")
    for name, model in (("flatstep", ours), ("PyTorch", theirs)):
        print(f"test accuracy, {name}: {accuracy(model, test_places, test_labels):.1%}")


if __name__ == "__main__":
    main()
