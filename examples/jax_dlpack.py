"""JAX's gradients, flatstep's steps: from one to the other by DLPack, without a copy.

    python examples/jax_dlpack.py [--steps 300] [--seed 0]

JAX's arrays never change, and flatstep changes its parameters in place. So the parameters are NumPy
arrays, which JAX takes as its function's arguments; the gradients are JAX's, which `fs.as_views`
shows to flatstep where they lie. A step reads them only.

Needs JAX: pip install jax
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import flatstep as fs

try:
    import jax
    import jax.numpy as jnp
except ImportError:
    sys.exit("examples/jax_dlpack.py needs JAX, which is not installed: pip install jax")


def initial_parameters(sizes: Sequence[int], rng: Any) -> list[dict[str, Any]]:
    return [
        {
            "W": (rng.standard_normal((n, m)) / np.sqrt(n)).astype(np.float32),
            "b": np.zeros(m, np.float32),
        }
        for n, m in itertools.pairwise(sizes)
    ]


def loss(params: Any, x: Any, y: Any) -> Any:
    *hidden, last = params
    for layer in hidden:
        x = jnp.tanh(x @ layer["W"] + layer["b"])
    return jnp.mean((x @ last["W"] + last["b"] - y) ** 2)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--steps", type=int, default=300, help="training steps")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data")
    options = parser.parse_args(arguments)

    rng = np.random.default_rng(options.seed)
    x = rng.uniform(-3, 3, (256, 1)).astype(np.float32)
    y = np.sin(2 * x)
    params = initial_parameters((1, 32, 32, 1), rng)
    configuration = fs.MultiLayerConfiguration(
        updater=fs.Adam(fs.CosineSchedule(1e-2, options.steps)),
        gradient_normalization="ClipL2PerLayer",
    )
    updater = fs.MultiLayerUpdater(configuration, params)
    loss_and_gradients = jax.jit(jax.value_and_grad(loss))
    shared = 0
    for step in range(options.steps):
        # Copies of the parameters: on the CPU JAX may keep the very memory of a NumPy array.
        arguments_of_jax = jax.tree.map(lambda array: jnp.array(array, copy=True), params)
        value, gradients = loss_and_gradients(arguments_of_jax, x, y)
        views = fs.as_views(gradients)
        updater.step(views)
        shared += views[0]["W"].ctypes.data == gradients[0]["W"].unsafe_buffer_pointer()
        if step % max(1, options.steps // 5) == 0 or step == options.steps - 1:
            print(f"step {step:4}: loss {value:.5f}")
    print(f"gradients in shared memory: {shared} of {options.steps} steps")


if __name__ == "__main__":
    main()
