"""The demo's network on scikit-learn's handwritten digits."""

from __future__ import annotations

from itertools import pairwise

from trained.run import Kept, Task, configuration

SIZES = (64, 128, 64, 10)


def train(storage: str, seed: int, steps: int) -> tuple[float, list[float]]:
    """A split, a start and an order for each seed; the loss is that of each batch."""
    import numpy as np

    import flatstep as fs
    from flatstep.demo.digits import Batches, load_digits
    from flatstep.demo.network import Network

    digits = load_digits(seed)
    rng = np.random.default_rng(seed)
    network = Network(SIZES, rng)
    batches = Batches(digits, 64, rng)
    kept = Kept(storage, network.parameters, network.gradients)
    updater = fs.MultiLayerUpdater(
        configuration(
            storage, seed, fs.Adam(fs.CosineSchedule(1e-3, steps)), range(network.num_layers)
        ),
        kept.parameters,
    )
    losses = []
    for _ in range(steps):
        images, targets = batches.next()
        loss, _ = network.gradient_and_score(images, targets)
        losses.append(loss)
        kept.take_gradients()
        updater.step(kept.gradients, batch_size=len(images))
        kept.show()
    return 100 * network.accuracy(digits.test_images, digits.test_labels), losses


DIGITS = Task(
    "digits",
    "demo's network, handwritten digits",
    sum(a * b + b for a, b in pairwise(SIZES)),
    1380,
    40,
    train,
)
