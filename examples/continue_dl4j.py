"""From DL4J to NumPy and back: load a saved model, train it on, write it for DL4J again.

    python examples/continue_dl4j.py [MODEL.zip] [--steps 300] [--output continued.zip]

The model is a small classifier of irises that DL4J 1.0.0-M2.1 trained for 40 iterations and saved
with `ModelSerializer.writeModel(network, file, true)`. Here its forward and backward pass are
rebuilt in plain NumPy from the configuration in the zip; flatstep reads the zip, and takes each
step as DL4J would have: same updater, same clipping, same schedules, momentum and moments where the
run left them. The batches are those that the DL4J program would have come to next, so that the
first steps land where DL4J's own did. In the end the zip is written again, and
`ModelSerializer.restoreMultiLayerNetwork` goes on from there.

Needs scikit-learn, for the data.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_iris

import flatstep as fs

Array = NDArray[np.floating[Any]]

HERE = Path(__file__).parent
DEFAULT_MODEL = HERE.parent / "tests" / "goldens" / "zips" / "iris_mlp_adam_clip.zip"
BATCH_SIZE = 10


# ---- The network, rebuilt from DL4J's configuration


class Activation(NamedTuple):
    """An activation function, and its derivative as a function of its value."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]


ACTIVATIONS = {
    "ActivationIdentity": Activation(lambda x: x, np.ones_like),
    "ActivationReLU": Activation(lambda x: np.maximum(x, 0), lambda y: (y > 0).astype(y.dtype)),
    "ActivationSigmoid": Activation(lambda x: 1 / (1 + np.exp(-x)), lambda y: y * (1 - y)),
    "ActivationTanH": Activation(np.tanh, lambda y: 1 - y * y),
}


def class_name(settings: Any) -> str:
    """DL4J writes objects with their Java class: "org.nd4j.….ActivationTanH"."""
    return str(settings["@class"]).rpartition(".")[2]


class Network:
    """Dense layers, then softmax and cross entropy. The parameters are the model's own arrays."""

    def __init__(self, model: fs.DL4JModel) -> None:
        if model.network != "MultiLayerNetwork":
            raise SystemExit(f"the model is a {model.network}; this example knows layers in a row")
        self.params = model.params
        # A gradient has its parameter's shape and memory order; np.empty_like keeps both.
        self.gradients = {key: np.empty_like(array) for key, array in model.params.items()}
        *hidden, output = model.layers.values()
        for layer in hidden:
            if layer.kind != "DenseLayer":
                raise SystemExit(f"layer {layer.name} is a {layer.kind}; this example knows dense")
        self.activations = [
            ACTIVATIONS[class_name(layer.settings["activationFn"])] for layer in hidden
        ]
        ending = (
            output.kind,
            *(class_name(output.settings[k]) for k in ("activationFn", "lossFn")),
        )
        if ending != ("OutputLayer", "ActivationSoftmax", "LossMCXENT"):
            raise SystemExit(f"the model ends in {ending}; this example knows softmax + MCXENT")

    def forward(self, features: Array) -> list[Array]:
        """What goes into each layer, and the probabilities of the classes at the end."""
        values = [features]
        for index, activation in enumerate(self.activations):
            values.append(activation.value(self._linear(index, values[-1])))
        logits = self._linear(len(self.activations), values[-1])
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return [*values, exponentials / exponentials.sum(axis=1, keepdims=True)]

    def backward(self, values: list[Array], labels: Array) -> None:
        """Fills `gradients` with the sums over the batch, which is what DL4J's layers give.

        The updater divides by the batch size: the configuration says ``"miniBatch": true``.
        """
        delta = values[-1] - labels
        for index in reversed(range(len(self.activations) + 1)):
            self.gradients[f"{index}_W"][...] = values[index].T @ delta
            self.gradients[f"{index}_b"][...] = delta.sum(axis=0)
            if index > 0:
                slope = self.activations[index - 1].slope(values[index])
                delta = delta @ self.params[f"{index}_W"].T * slope

    def _linear(self, index: int, x: Array) -> Array:
        result: Array = x @ self.params[f"{index}_W"] + self.params[f"{index}_b"]
        return result


# ---- The data, as the DL4J program went through it


def batch_rows(iteration: int, rows: int) -> NDArray[np.integer[Any]]:
    """One batch: the DL4J program took every 37th row, ten at a time, round and round."""
    taken = iteration * BATCH_SIZE + np.arange(BATCH_SIZE)
    return 37 * taken % rows


# ---- The program


def report(when: str, network: Network, features: Array, labels: Array) -> None:
    probabilities = network.forward(features)[-1]
    score = -np.log((probabilities * labels).sum(axis=1)).mean()
    correct = probabilities.argmax(axis=1) == labels.argmax(axis=1)
    print(f"{when:>14}: score {score:.4f}, {correct.mean():6.1%} of {len(labels)} right")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", nargs="?", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--output", type=Path, default=Path("continued.zip"))
    options = parser.parse_args(arguments)

    # The model: parameters as NumPy arrays, and an updater that goes on where DL4J stopped.
    model = fs.load_dl4j(options.model)
    updater = model.updater()
    network = Network(model)
    print(model)
    for name, layer in model.configuration.layers.items():
        print(f"  layer {name}: {layer}")

    features, target = load_iris(return_X_y=True)
    dtype = model.flat_params.dtype
    features, labels = features.astype(dtype), np.eye(3, dtype=dtype)[target]

    # Training. The updater changes the model's arrays in place and counts the iterations.
    report("as loaded", network, features, labels)
    batches_per_epoch = len(features) // BATCH_SIZE
    for step in range(1, options.steps + 1):
        rows = batch_rows(updater.iteration, len(features))
        network.backward(network.forward(features[rows]), labels[rows])
        updater.step(network.gradients, batch_size=BATCH_SIZE)
        if step % batches_per_epoch == 0:
            updater.epoch += 1
        if step % 100 == 0:
            report(f"iteration {updater.iteration}", network, features, labels)

    # And back: DL4J restores this file with its parameters, moments, iteration and epoch.
    fs.save_dl4j(options.output, model)
    report("as saved", network, features, labels)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
