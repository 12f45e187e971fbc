"""A network that solves a differential equation: HIPS autograd's gradients, flatstep's steps.

    python examples/hips_autograd.py [--steps 1500] [--seed 0]

The equation is that of a damped oscillator, y″ + 2ζ·y′ + y = 0 with y(0) = 1 and y′(0) = 0. The
network stands for y, the loss is the mean square of what the left side is not, and so the gradient
is one of a third derivative: what one writes autograd for, and nobody by hand. autograd gives the
gradients as the parameters are, a list of dicts of NumPy arrays, and flatstep takes them like that.

Needs autograd: pip install autograd
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from typing import Any

import autograd.numpy as np
from autograd import elementwise_grad, value_and_grad

import flatstep as fs

DAMPING = 0.15  # ζ
END = 10.0


# ---- The network, for autograd: functions of the parameters, without a class


def initial_parameters(sizes: Sequence[int], rng: Any) -> list[dict[str, Any]]:
    """Layer by layer its weights, [inputs, outputs], and its biases."""
    return [
        {
            "W": rng.standard_normal((inputs, outputs)) / np.sqrt(inputs),
            "b": rng.uniform(-1, 1, outputs),
        }
        for inputs, outputs in itertools.pairwise(sizes)
    ]


def network(params: list[dict[str, Any]], t: Any) -> Any:
    *hidden, last = params
    values = 2 * t / END - 1
    for layer in hidden:
        values = np.tanh(np.dot(values, layer["W"]) + layer["b"])
    return np.dot(values, last["W"]) + last["b"]


def solution(params: list[dict[str, Any]], t: Any) -> Any:
    """y(t). Whatever the network gives, y(0) = 1 and y′(0) = 0."""
    return 1 + t**2 / (1 + t**2) * network(params, t)


velocity = elementwise_grad(solution, 1)  # y′: every y depends on its own t alone
acceleration = elementwise_grad(velocity, 1)  # y″


def loss(params: list[dict[str, Any]], t: Any) -> Any:
    residual = acceleration(params, t) + 2 * DAMPING * velocity(params, t) + solution(params, t)
    return np.mean(residual**2)


def exact(t: Any) -> Any:
    frequency = np.sqrt(1 - DAMPING**2)
    wave = np.cos(frequency * t) + DAMPING / frequency * np.sin(frequency * t)
    return np.exp(-DAMPING * t) * wave


# ---- Training


def train(steps: int, points: int, units: int, learning_rate: float, seed: int) -> Any:
    """The trained parameters; prints how it goes."""
    rng = np.random.default_rng(seed)
    params = initial_parameters((1, units, units, 1), rng)
    configuration = fs.MultiLayerConfiguration(
        updater=fs.Adam(fs.CosineSchedule(learning_rate, steps)),
        gradient_normalization="ClipL2PerLayer",
    )
    updater = fs.MultiLayerUpdater(configuration, params)  # the arrays change in place
    loss_and_gradients = value_and_grad(loss)
    clipped_layers = 0
    for step in range(steps):
        t = rng.uniform(0, END, (points, 1))
        value, gradients = loss_and_gradients(params, t)
        updater.step(gradients)
        layers = updater.last_step.layers
        clipped_layers += sum(layer.clipped for layer in layers.values())
        if step % max(1, steps // 10) == 0 or step == steps - 1:
            norms = ", ".join(f"{layer.gradient_norm:.3f}" for layer in layers.values())
            print(f"step {step:5}: loss {value:.2e}, gradient norms of the layers {norms}")
    print(f"clipped: {clipped_layers / (steps * len(params)):.1%} of the layers' gradients")
    return params


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=1500, help="training steps")
    parser.add_argument("--points", type=int, default=64, help="where each step looks")
    parser.add_argument("--units", type=int, default=32, help="of either hidden layer")
    parser.add_argument("--learning-rate", type=float, default=1e-2, help="of the updater")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data")
    options = parser.parse_args(arguments)

    params = train(**vars(options))
    t = np.linspace(0, END, 11).reshape(-1, 1)
    found, right = solution(params, t), exact(t)
    print(f"{'t':>6} {'network':>9} {'exact':>9}")
    for row in zip(t[:, 0], found[:, 0], right[:, 0], strict=True):
        print("{:6.1f} {:9.4f} {:9.4f}".format(*row))
    print(f"largest error {np.abs(found - right).max():.4f}")


if __name__ == "__main__":
    main()
