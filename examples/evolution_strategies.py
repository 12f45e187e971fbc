"""Evolution strategies: a gradient that nobody differentiates, and Adam's steps with it.

    python examples/evolution_strategies.py [--generations 60] [--seed 0]

A network balances a pole on a cart. There is no derivative of how long it stands, so each
generation tries the parameters with noise added and taken away, ranks the trials, and estimates
from that in which direction the score grows (Salimans et al. 2017,
https://arxiv.org/abs/1703.03864). That is the gradient of something to be made large: hence
`maximize=True`.

`fs.flatten` lays all parameters into one vector, to which the noise is added as a whole. The
updater works on the views of it, layer by layer; a gradient that is a vector is handed on as views,
too.

Needs NumPy alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

import flatstep as fs

STEPS = 300  # of one trial, a fiftieth of a second each


def balance(params: list[dict[str, Any]], starts: Any) -> float:
    """For how many of its steps the pole stands, as a share; the mean over the starts."""
    x, v, angle, spin = starts.T.copy()
    standing = np.ones(len(starts), bool)
    total = 0
    for _ in range(STEPS):
        inputs = np.stack([x, v, angle, spin], axis=1)
        hidden = np.tanh(inputs @ params[0]["W"] + params[0]["b"])
        force = 10 * np.tanh(hidden @ params[1]["W"] + params[1]["b"])[:, 0]
        sine, cosine = np.sin(angle), np.cos(angle)
        push = (force + 0.05 * spin**2 * sine) / 1.1
        turn = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
        pull = push - 0.05 * turn * cosine / 1.1
        x, v = x + 0.02 * v, v + 0.02 * pull
        angle, spin = angle + 0.02 * spin, spin + 0.02 * turn
        standing &= (np.abs(x) < 2.4) & (np.abs(angle) < 0.21)
        total += int(standing.sum())
        if not standing.any():
            break
        # What has fallen is not of interest, and must not overflow.
        x, v, angle, spin = (np.where(standing, each, 0.0) for each in (x, v, angle, spin))
    return total / (STEPS * len(starts))


def centred_ranks(scores: Any) -> Any:
    """−½ for the worst to ½ for the best: how much better it is does not matter."""
    return np.argsort(np.argsort(scores)) / (len(scores) - 1) - 0.5


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--generations", type=int, default=60, help="steps to take")
    parser.add_argument("--pairs", type=int, default=16, help="of trials in a generation")
    parser.add_argument("--sigma", type=float, default=0.1, help="length of the noise")
    parser.add_argument("--learning-rate", type=float, default=0.05, help="of Adam")
    parser.add_argument("--seed", type=int, default=0, help="of everything")
    options = parser.parse_args(arguments)

    rng = np.random.default_rng(options.seed)
    params = [
        {"W": rng.standard_normal((4, 16)) * 0.1, "b": np.zeros(16)},
        {"W": rng.standard_normal((16, 1)) * 0.1, "b": np.zeros(1)},
    ]
    flat, views = fs.flatten(params)
    gradient, gradient_views = fs.flatten(
        [{k: np.zeros_like(a) for k, a in p.items()} for p in params]
    )
    configuration = fs.MultiLayerConfiguration(
        updater=fs.Adam(options.learning_rate), maximize=True, l2=0.005
    )
    updater = fs.MultiLayerUpdater(configuration, views)
    updater.bind_gradients(gradient_views)

    test = rng.uniform(-0.05, 0.05, (100, 4))
    print(f"before: stands for {balance(views, test):.1%} of the time")
    for generation in range(options.generations):
        starts = rng.uniform(-0.05, 0.05, (4, 4))
        noise = rng.standard_normal((options.pairs, flat.size))
        centre = flat.copy()
        scores = []
        for sign in (1, -1):
            for direction in noise:
                flat[...] = centre + sign * options.sigma * direction
                scores.append(balance(views, starts))
        flat[...] = centre
        ranks = centred_ranks(np.array(scores))
        weights = ranks[: options.pairs] - ranks[options.pairs :]
        gradient[...] = weights @ noise / (2 * options.pairs * options.sigma)
        updater.step()
        if generation % max(1, options.generations // 5) == 0:
            print(f"generation {generation:3}: mean {np.mean(scores):.1%}, best {max(scores):.1%}")
    print(f"after: stands for {balance(views, test):.1%} of the time")


if __name__ == "__main__":
    main()
