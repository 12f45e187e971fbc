"""scikit-learn's MLPClassifier, trained with flatstep's updaters in place of its own.

    python examples/sklearn_mlp.py [--epochs 30] [--seed 0]

MLPClassifier has two optimizers, "sgd" and "adam", and no gradient clipping. That of
`flatstep.interop.sklearn` is scikit-learn's with one more argument, `configuration`: `fit` and
`partial_fit` then run on any updater, schedule and gradient normalisation of flatstep, on
scikit-learn's own arrays, without a copy.

The data are handwritten digits, with pixels from 0 to 16, not scaled. Adam does not mind;
flatstep's takes the same steps as scikit-learn's, to the rounding. Momentum with that rate does
mind: the first gradients are so long that the network is lost at once. Clipped per layer, it
learns.

Needs scikit-learn: pip install scikit-learn
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import flatstep as fs
from flatstep.interop.sklearn import MLPClassifier as FlatstepMLPClassifier


def report(name: str, classifier: MLPClassifier, data: list[Any]) -> None:
    train_images, test_images, train_labels, test_labels = data
    with warnings.catch_warnings():
        # It has a fixed number of epochs here, and warns that it could go on.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(train_images, train_labels)
    accuracy = classifier.score(test_images, test_labels)
    print(f"{name:48} loss {classifier.loss_:8.4f}, test accuracy {accuracy:6.1%}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--epochs", type=int, default=30, help="times through the data")
    parser.add_argument("--learning-rate", type=float, default=0.05, help="of the momentum runs")
    parser.add_argument("--threshold", type=float, default=0.1, help="a layer's greatest norm")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data")
    options = parser.parse_args(arguments)

    images, labels = load_digits(return_X_y=True)
    data = train_test_split(images, labels, stratify=labels, random_state=options.seed)
    settings: dict[str, Any] = {
        "hidden_layer_sizes": (64, 32),
        "batch_size": 64,
        "max_iter": options.epochs,
        "n_iter_no_change": options.epochs,
        "random_state": options.seed,
    }

    theirs = MLPClassifier(solver="adam", learning_rate_init=1e-3, **settings)
    report("scikit-learn: Adam", theirs, data)
    ours = FlatstepMLPClassifier(**settings)
    ours.configuration = fs.MultiLayerConfiguration(updater=fs.Adam(1e-3))
    report("flatstep: Adam", ours, data)
    pairs = zip(theirs.coefs_, ours.coefs_, strict=True)
    difference = max(np.abs(a - b).max() for a, b in pairs)
    print(f"  largest difference between their weights {difference:.1e}")

    rate = options.learning_rate
    theirs = MLPClassifier(solver="sgd", learning_rate_init=rate, momentum=0.9, **settings)
    report(f"scikit-learn: Nesterov momentum, rate {rate}", theirs, data)
    ours = FlatstepMLPClassifier(**settings)
    ours.configuration = fs.MultiLayerConfiguration(
        updater=fs.Nesterovs(rate, momentum=0.9),
        gradient_normalization="ClipL2PerLayer",
        gradient_normalization_threshold=options.threshold,
    )
    report(f"flatstep: the same with ClipL2PerLayer at {options.threshold}", ours, data)


if __name__ == "__main__":
    main()
