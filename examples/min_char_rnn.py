"""min-char-rnn: Karpathy's recurrent network of characters, stepped by flatstep.

    python examples/min_char_rnn.py [--iterations 1500] [--seed 0]

The program is the well-known one (https://gist.github.com/karpathy/d4dee566867f8291f086): a plain
recurrent network in NumPy, one sequence at a time, whose gradients are clipped element by element
at 5 and go into AdaGrad, in two lines of its own. Here these two lines are a configuration. The
network is one layer, and so its five arrays are a dict: no names to invent, no loop over them.

Needs NumPy alone.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

import flatstep as fs


def zen_of_python() -> str:
    with contextlib.redirect_stdout(io.StringIO()):  # the module prints it
        import this
    return codecs.decode(this.s, "rot13")


def initial_parameters(characters: int, units: int, rng: Any) -> dict[str, Any]:
    return {
        "Wxh": rng.standard_normal((units, characters)) * 0.01,
        "Whh": rng.standard_normal((units, units)) * 0.01,
        "Why": rng.standard_normal((characters, units)) * 0.01,
        "bh": np.zeros((units, 1)),
        "by": np.zeros((characters, 1)),
    }


def loss_and_gradients(
    params: dict[str, Any], inputs: Sequence[int], targets: Sequence[int], hidden: Any
) -> tuple[float, dict[str, Any], Any]:
    """Forward and backward through one sequence: loss, gradients, and the last hidden state."""
    states, shares, loss = [hidden], [], 0.0
    for character, target in zip(inputs, targets, strict=True):
        column = params["Wxh"][:, [character]]
        states.append(np.tanh(column + params["Whh"] @ states[-1] + params["bh"]))
        scores = params["Why"] @ states[-1] + params["by"]
        exponentials = np.exp(scores - scores.max())
        shares.append(exponentials / exponentials.sum())
        loss -= float(np.log(shares[-1][target, 0]))
    gradients = {name: np.zeros_like(array) for name, array in params.items()}
    later = np.zeros_like(hidden)
    for t in reversed(range(len(inputs))):
        output = shares[t].copy()
        output[targets[t]] -= 1
        gradients["Why"] += output @ states[t + 1].T
        gradients["by"] += output
        raw = (1 - states[t + 1] ** 2) * (params["Why"].T @ output + later)
        gradients["bh"] += raw
        gradients["Wxh"][:, [inputs[t]]] += raw
        gradients["Whh"] += raw @ states[t].T
        later = params["Whh"].T @ raw
    return loss, gradients, states[-1]


def sample(params: dict[str, Any], hidden: Any, character: int, length: int, rng: Any) -> list[int]:
    """Characters, each drawn as likely as the network says."""
    drawn = []
    for _ in range(length):
        column = params["Wxh"][:, [character]]
        hidden = np.tanh(column + params["Whh"] @ hidden + params["bh"])
        scores = params["Why"] @ hidden + params["by"]
        exponentials = np.exp(scores - scores.max())[:, 0]
        character = int(rng.choice(len(exponentials), p=exponentials / exponentials.sum()))
        drawn.append(character)
    return drawn


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--iterations", type=int, default=1500, help="sequences to train on")
    parser.add_argument("--units", type=int, default=100, help="of the hidden state")
    parser.add_argument("--length", type=int, default=25, help="of a sequence")
    parser.add_argument("--learning-rate", type=float, default=0.1, help="of AdaGrad")
    parser.add_argument("--seed", type=int, default=0, help="of weights and samples")
    options = parser.parse_args(arguments)

    text = zen_of_python()
    characters = sorted(set(text))
    data = [characters.index(character) for character in text]
    rng = np.random.default_rng(options.seed)
    params = initial_parameters(len(characters), options.units, rng)

    # mem += g * g; param -= rate * g / sqrt(mem + 1e-8), of gradients clipped to [-5, 5]. Its
    # epsilon is under the root, which is RootAdaGrad's.
    configuration = fs.MultiLayerConfiguration(
        updater=fs.RootAdaGrad(options.learning_rate, epsilon_root=1e-8, initial_accumulator=0.0),
        gradient_normalization="ClipElementWiseAbsoluteValue",
        gradient_normalization_threshold=5.0,
    )
    updater = fs.LayerUpdater(configuration, params)

    smooth = guessing = float(np.log(len(characters)) * options.length)
    print(f"guessing would give {guessing:.2f}")
    place, hidden = 0, np.zeros((options.units, 1))
    for iteration in range(options.iterations):
        if place + options.length + 1 >= len(data):
            place, hidden = 0, np.zeros((options.units, 1))
        inputs = data[place : place + options.length]
        targets = data[place + 1 : place + options.length + 1]
        loss, gradients, hidden = loss_and_gradients(params, inputs, targets, hidden)
        updater.step(gradients)
        smooth = 0.99 * smooth + 0.01 * loss
        place += options.length
        if iteration % max(1, options.iterations // 5) == 0 or iteration == options.iterations - 1:
            print(f"iteration {iteration:5}: loss {smooth:.2f}")
    drawn = sample(params, hidden, data[0], 80, rng)
    print("sample:", repr("".join(characters[character] for character in drawn)))


if __name__ == "__main__":
    main()
