"""A multi-layer perceptron in plain NumPy: what a user of flatstep brings along.

Dense layers with ReLU between them and a softmax at the end, trained on the cross-entropy.
Parameters and gradients are one flat buffer each, and the arrays of the layers are views into it,
named as Deeplearning4j names them: ``"0_W"`` with shape (inputs, outputs) and ``"0_b"`` with shape
(outputs,).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .. import flatten
from .digits import FloatArray


class Network:
    """The network; ``parameters`` and ``gradients`` are the arrays that an updater works on.

    Args:
        sizes: the number of inputs, of each hidden layer's outputs, and of classes.
        rng: for the initial weights.

    Example:
        >>> import numpy as np
        >>> from flatstep.demo.network import Network
        >>> network = Network((64, 128, 64, 10), np.random.default_rng(0))
        >>> network.parameters["0_W"].shape
        (64, 128)
    """

    def __init__(self, sizes: Sequence[int], rng: np.random.Generator) -> None:
        self.sizes = tuple(sizes)
        initial: dict[str, FloatArray] = {}
        for layer, (inputs, outputs) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            # He's initial weights: the variance of the signal survives a ReLU layer.
            deviation = np.float32(np.sqrt(2 / inputs))
            weights = rng.standard_normal((inputs, outputs), np.float32)
            initial[f"{layer}_W"] = weights * deviation
            initial[f"{layer}_b"] = np.zeros(outputs, np.float32)
        self.flat_parameters, self.parameters = flatten(initial)
        self.flat_gradients, self.gradients = flatten(
            {key: np.zeros_like(array) for key, array in initial.items()}
        )

    @property
    def num_layers(self) -> int:
        """How many layers have parameters."""
        return len(self.sizes) - 1

    @property
    def layer_slices(self) -> list[list[slice]]:
        """Where each layer's arrays are in the flat buffers."""
        layers: list[list[slice]] = [[] for _ in range(self.num_layers)]
        start = 0
        for key, array in self.parameters.items():
            layers[int(key.split("_")[0])].append(slice(start, start + array.size))
            start += array.size
        return layers

    def gradient_and_score(
        self, images: FloatArray, targets: FloatArray
    ) -> tuple[float, dict[str, FloatArray]]:
        """Return the mean cross-entropy and its gradients, which are sums over the batch."""
        activations = self._forward(images)
        outputs = activations[-1]
        score = -float(np.einsum("ij,ij->", targets, np.log(outputs + 1e-30))) / len(images)
        # The softmax and the cross-entropy together have this derivative at the last layer's sums.
        delta = outputs - targets
        for layer in reversed(range(self.num_layers)):
            inputs = activations[layer]
            np.matmul(inputs.T, delta, out=self.gradients[f"{layer}_W"])
            np.sum(delta, axis=0, out=self.gradients[f"{layer}_b"])
            if layer:
                delta = delta @ self.parameters[f"{layer}_W"].T
                delta *= inputs > 0
        return score, self.gradients

    def accuracy(
        self, images: FloatArray, labels: np.ndarray[tuple[int], np.dtype[np.intp]]
    ) -> float:
        """Return the share of images whose most probable class is their label."""
        return float(np.mean(self._forward(images)[-1].argmax(axis=1) == labels))

    def _forward(self, images: FloatArray) -> list[FloatArray]:
        """Return the images, each hidden layer's activations, and the classes' probabilities."""
        activations = [images]
        for layer in range(self.num_layers):
            sums = activations[-1] @ self.parameters[f"{layer}_W"]
            sums += self.parameters[f"{layer}_b"]
            if layer + 1 < self.num_layers:
                np.maximum(sums, 0, out=sums)
            else:
                sums -= sums.max(axis=1, keepdims=True)
                np.exp(sums, out=sums)
                sums /= sums.sum(axis=1, keepdims=True)
            activations.append(sums)
        return activations
