"""FedAdam: a federated server whose step is Adam's, of a pseudo-gradient.

    python examples/fedadam.py [--rounds 40] [--seed 0]

Each round some clients take the server's parameters, train on data that they keep to themselves,
and send back what they have come to. The mean of what they moved by, Δ = mean(client − server), is
no gradient: it points where the parameters are to go, and a step is subtracted. So the
pseudo-gradient is −Δ = server − mean(client), as Reddi et al. have it
(https://arxiv.org/abs/2003.00295); with Δ itself the server walks away from its clients, which
`--wrong-sign` shows. With Sgd(1.0) the server would take over the mean, which is FedAvg.

The clients are unequal: each has mostly two of the ten digits.

Needs scikit-learn, for the digits: pip install scikit-learn
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import flatstep as fs


def gradients_of(params: dict[str, Any], images: Any, labels: Any) -> dict[str, Any]:
    """Of the cross entropy of a softmax, a mean over the images."""
    shares = probabilities(params, images)
    shares[np.arange(len(labels)), labels] -= 1
    shares /= len(labels)
    return {"W": images.T @ shares, "b": shares.sum(axis=0)}


def probabilities(params: dict[str, Any], images: Any) -> Any:
    scores = images @ params["W"] + params["b"]
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def accuracy(params: dict[str, Any], images: Any, labels: Any) -> float:
    return float((probabilities(params, images).argmax(axis=1) == labels).mean())


def clients_data(labels: Any, clients: int, rng: Any) -> list[Any]:
    """Which images each client has: the digits in order, in two shards for each client."""
    by_digit = np.argsort(labels, kind="stable")
    shards = np.array_split(by_digit, 2 * clients)
    order = rng.permutation(2 * clients)
    return [np.concatenate([shards[a], shards[b]]) for a, b in order.reshape(clients, 2)]


def client_update(server: dict[str, Any], images: Any, labels: Any, rng: Any) -> dict[str, Any]:
    """Where one epoch of SGD from the server's parameters ends, at the client."""
    params = {name: array.copy() for name, array in server.items()}
    updater = fs.LayerUpdater(fs.MultiLayerConfiguration(updater=fs.Sgd(0.1)), params)
    for batch in np.array_split(rng.permutation(len(labels)), max(1, len(labels) // 10)):
        updater.step(gradients_of(params, images[batch], labels[batch]))
    return params


def train(server_updater: fs.updaters.Updater, options: Any, sign: int = -1) -> list[float]:
    """The accuracy on test images after each round; `sign` is that of Δ in the pseudo-gradient."""
    rng = np.random.default_rng(options.seed)
    images, labels = load_digits(return_X_y=True)
    images = images / 16
    order = rng.permutation(len(labels))
    train_set, test_set = order[:1400], order[1400:]
    data = [train_set[each] for each in clients_data(labels[train_set], options.clients, rng)]
    server = {"W": np.zeros((64, 10)), "b": np.zeros(10)}
    updater = fs.LayerUpdater(fs.MultiLayerConfiguration(updater=server_updater), server)
    accuracies = []
    for _ in range(options.rounds):
        chosen = rng.choice(options.clients, options.participants, replace=False)
        trained = [client_update(server, images[data[c]], labels[data[c]], rng) for c in chosen]
        pseudo_gradient = {
            name: sign * (np.mean([client[name] for client in trained], axis=0) - array)
            for name, array in server.items()
        }
        updater.step(pseudo_gradient)
        accuracies.append(accuracy(server, images[test_set], labels[test_set]))
    return accuracies


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=40, help="steps of the server")
    parser.add_argument("--clients", type=int, default=20, help="how many there are")
    parser.add_argument("--participants", type=int, default=5, help="how many take part in a round")
    parser.add_argument("--learning-rate", type=float, default=0.03, help="of the server's Adam")
    parser.add_argument("--wrong-sign", action="store_true", help="also show the other sign")
    parser.add_argument("--seed", type=int, default=0, help="of data and choices")
    options = parser.parse_args(arguments)

    # Their epsilon, τ, is large: it is what keeps a step small where the clients hardly move.
    adam = fs.Adam(options.learning_rate, beta1=0.9, beta2=0.99, epsilon=1e-3)
    runs = [("FedAvg", fs.Sgd(1.0), -1), ("FedAdam", adam, -1)]
    if options.wrong_sign:
        runs.append(("FedAdam with the other sign", adam, 1))
    for name, updater, sign in runs:
        accuracies = train(updater, options, sign)
        last = np.mean(accuracies[-5:])
        print(f"{name}: test accuracy {accuracies[-1]:.1%}, mean of the last rounds {last:.1%}")


if __name__ == "__main__":
    main()
