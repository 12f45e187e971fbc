"""A small LSTM in plain NumPy learns the Zen of Python: with gradient clipping, and without.

    python examples/lstm_text.py [--learning-rate 3] [--threshold 0.25] [--iterations 300]

The network reads one character after another and predicts the next. Its gradient goes back through
many time steps, and through each it may grow: now and then a gradient is far too long, one step
along it throws the weights far away, and training does not recover. Clipping each layer's gradient
to a greatest norm takes such a step in the same direction, but a short one. Two runs from the same
weights at the same learning rate show it; only `gradient_normalization` differs.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import io
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import flatstep as fs

Array = NDArray[np.floating[Any]]
Codes = NDArray[np.intp]
Params = dict[str, dict[str, Array]]


# ---- The text, as batches of neighbouring windows


def zen_of_python() -> str:
    with contextlib.redirect_stdout(io.StringIO()):  # `import this` prints it, …
        import this
    return codecs.decode(this.s, "rot13")  # … and keeps it in cipher.


class Text:
    """A text as numbers: `codes` index `characters`."""

    def __init__(self, text: str) -> None:
        self.characters = sorted(set(text))
        self.codes: Codes = np.array([self.characters.index(c) for c in text])

    def one_hot(self, codes: Codes, dtype: Any) -> Array:
        """Each code as a row of zeros with a single 1."""
        rows: Array = np.eye(len(self.characters), dtype=dtype)[codes]
        return rows

    def windows(self, batch_size: int, length: int) -> Iterator[tuple[Codes, Codes, bool]]:
        """Inputs and the characters that follow them, [time, batch], round and round.

        The text is cut into `batch_size` strands that are read side by side. The flag says that
        they start again, so that what the network remembers of the end does not belong there.
        """
        strand = (len(self.codes) - 1) // batch_size
        inputs = self.codes[: strand * batch_size].reshape(batch_size, strand).T
        following = self.codes[1 : strand * batch_size + 1].reshape(batch_size, strand).T
        while True:
            for start in range(0, strand - length + 1, length):
                window = slice(start, start + length)
                yield inputs[window], following[window], start == 0


# ---- The network: an LSTM layer and a softmax on what it puts out


def initial_parameters(
    characters: int, units: int, rng: np.random.Generator, dtype: Any = np.float32
) -> Params:
    """Two layers; an LSTM's weights hold input gate, forget gate, output gate, candidate."""

    def weights(inputs: int, outputs: int) -> Array:
        return (rng.standard_normal((inputs, outputs)) / np.sqrt(inputs)).astype(dtype)

    return {
        "lstm": {
            "W": weights(characters, 4 * units),
            "RW": weights(units, 4 * units),
            "b": np.zeros(4 * units, dtype),
        },
        "output": {"W": weights(units, characters), "b": np.zeros(characters, dtype)},
    }


class Memory(NamedTuple):
    """What an LSTM carries from one time step to the next, [batch, units]."""

    output: Array
    cell: Array

    @staticmethod
    def empty(batch_size: int, params: Params) -> Memory:
        units, dtype = params["lstm"]["RW"].shape[0], params["lstm"]["RW"].dtype
        return Memory(np.zeros((batch_size, units), dtype), np.zeros((batch_size, units), dtype))


def sigmoid(x: Array) -> Array:
    result: Array = 0.5 + 0.5 * np.tanh(0.5 * x)
    return result


class Network:
    """The parameters, a gradient array for each, and the two passes."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.gradients: Params = {
            layer: {name: np.empty_like(array) for name, array in arrays.items()}
            for layer, arrays in params.items()
        }

    def forward(self, inputs: Array, memory: Memory) -> Memory:
        """Read `inputs`, [time, batch, characters]; what `backward` needs is kept."""
        lstm, output = self.params["lstm"], self.params["output"]
        units = len(lstm["RW"])
        self.inputs = inputs
        self.outputs, self.cells = [memory.output], [memory.cell]
        self.gates: list[tuple[Array, Array, Array, Array]] = []
        for sums in inputs @ lstm["W"] + lstm["b"]:  # for each time step
            sums = sums + self.outputs[-1] @ lstm["RW"]
            gates = sigmoid(sums[:, : 3 * units])
            let_in, keep, let_out = (gates[:, k * units : (k + 1) * units] for k in range(3))
            candidate = np.tanh(sums[:, 3 * units :])
            self.gates.append((let_in, keep, let_out, candidate))
            self.cells.append(keep * self.cells[-1] + let_in * candidate)
            self.outputs.append(let_out * np.tanh(self.cells[-1]))
        logits = np.stack(self.outputs[1:]) @ output["W"] + output["b"]
        logits -= logits.max(axis=-1, keepdims=True)
        self.log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return Memory(self.outputs[-1], self.cells[-1])

    def loss(self, targets: Array) -> float:
        """The mean cross-entropy per character; log(number of characters) is guessing."""
        return -float((self.log_probabilities * targets).sum() / targets[..., 0].size)

    def backward(self, targets: Array) -> None:
        """Fill `gradients`: those of `loss`, back through all time steps of the last `forward`."""
        lstm, output = self.params["lstm"], self.params["output"]
        steps, batch_size, _ = targets.shape
        d_logits = (np.exp(self.log_probabilities) - targets) / (steps * batch_size)
        d_outputs = d_logits @ output["W"].T
        d_sums = np.empty((steps, batch_size, lstm["RW"].shape[1]), d_logits.dtype)
        d_output = np.zeros_like(self.outputs[0])
        d_cell = np.zeros_like(self.cells[0])
        for t in reversed(range(steps)):
            let_in, keep, let_out, candidate = self.gates[t]
            squashed = np.tanh(self.cells[t + 1])
            d_output = d_output + d_outputs[t]
            d_cell = d_cell + d_output * let_out * (1 - squashed**2)
            d_sums[t] = np.concatenate(
                [
                    d_cell * candidate * let_in * (1 - let_in),
                    d_cell * self.cells[t] * keep * (1 - keep),
                    d_output * squashed * let_out * (1 - let_out),
                    d_cell * let_in * (1 - candidate**2),
                ],
                axis=1,
            )
            d_output = d_sums[t] @ lstm["RW"].T
            d_cell = d_cell * keep

        def product(inputs: Array, d_results: Array) -> Array:
            """The gradient of the weights: over all time steps and the batch at once."""
            rows: Array = inputs.reshape(-1, inputs.shape[-1])
            return rows.T @ d_results.reshape(-1, d_results.shape[-1])

        self.gradients["lstm"]["W"][...] = product(self.inputs, d_sums)
        self.gradients["lstm"]["RW"][...] = product(np.stack(self.outputs[:-1]), d_sums)
        self.gradients["lstm"]["b"][...] = d_sums.sum(axis=(0, 1))
        self.gradients["output"]["W"][...] = product(np.stack(self.outputs[1:]), d_logits)
        self.gradients["output"]["b"][...] = d_logits.sum(axis=(0, 1))


def continue_text(network: Network, text: Text, start: str, length: int) -> str:
    """What the network thinks comes after `start`: always the most probable character."""
    memory = Memory.empty(1, network.params)
    written, unread = start, start
    for _ in range(length):
        codes = np.array([[text.characters.index(c)] for c in unread])
        memory = network.forward(text.one_hot(codes, memory.cell.dtype), memory)
        unread = text.characters[int(network.log_probabilities[-1, 0].argmax())]
        written += unread
    return written


# ---- Training


class Run(NamedTuple):
    """A training run: per iteration the loss and the norm of the LSTM layer's gradient."""

    network: Network
    losses: list[float]
    norms: list[float]
    ended_by: str  # why it stopped early, if it did

    @property
    def final_loss(self) -> float:
        """The mean of the last 25 iterations: about one and a half times through the text."""
        return float(np.mean(self.losses[-25:]))


def train(text: Text, configuration: fs.MultiLayerConfiguration, options: Any) -> Run:
    """Train from scratch; equal options start from equal weights and see the same windows."""
    params = initial_parameters(
        len(text.characters), options.units, np.random.default_rng(options.seed)
    )
    network = Network(params)
    updater = fs.ComputationGraphUpdater(configuration, params)  # layers have names
    updater.bind_gradients(network.gradients)  # the arrays that backward() fills, again and again
    run = Run(network, [], [], "")
    dtype = updater.dtype
    memory = Memory.empty(options.batch_size, params)
    windows = text.windows(options.batch_size, options.length)
    for inputs, following, restarted in itertools.islice(windows, options.iterations):
        if restarted:
            memory = Memory.empty(options.batch_size, params)
        memory = network.forward(text.one_hot(inputs, dtype), memory)
        targets = text.one_hot(following, dtype)
        network.backward(targets)
        run.losses.append(network.loss(targets))
        squares = [np.vdot(g, g) for g in network.gradients["lstm"].values()]
        run.norms.append(float(np.sqrt(sum(squares))))
        try:
            updater.step()
        except fs.NonFiniteGradientError as error:  # Parameters and state are as they were.
            return run._replace(ended_by=str(error))
    return run


def print_curves(free: Run, clipped: Run, every: int) -> None:
    print(f"{'':9}  {'no normalisation':^20}  {'ClipL2PerLayer':^20}")
    print(f"{'iteration':>9}  {'loss':>9} {'LSTM ‖g‖':>10}  {'loss':>9} {'LSTM ‖g‖':>10}")
    for iteration in range(0, len(clipped.losses), every):
        columns = []
        for run in (free, clipped):
            if iteration < len(run.losses):
                # The worst of these iterations, as a single long gradient does the damage.
                norm = max(run.norms[iteration : iteration + every])
                columns.append(f"{run.losses[iteration]:9.4g} {norm:10.3g}")
            else:
                columns.append(f"{'stopped':>9} {'':10}")
        print(f"{iteration:9}  {columns[0]}  {columns[1]}")
    for name, run in (("no normalisation", free), ("ClipL2PerLayer", clipped)):
        if run.ended_by:
            print(f"{name} stopped in iteration {len(run.losses) - 1}: {run.ended_by}")


def parse(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--iterations", type=int, default=300, help="training steps")
    parser.add_argument("--learning-rate", type=float, default=3.0, help="of the updater")
    parser.add_argument("--threshold", type=float, default=0.25, help="a layer's greatest norm")
    parser.add_argument("--units", type=int, default=64, help="of the LSTM")
    parser.add_argument("--batch-size", type=int, default=8, help="strands of text side by side")
    parser.add_argument("--length", type=int, default=32, help="time steps between two updates")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> tuple[Run, Run]:
    options = parse(arguments)
    text = Text(zen_of_python())
    print(f"{len(text.codes)} characters, {len(text.characters)} different ones")

    updater = fs.Nesterovs(options.learning_rate, momentum=0.9)
    free = train(text, fs.MultiLayerConfiguration(updater=updater), options)
    clipping = fs.MultiLayerConfiguration(
        updater=updater,
        gradient_normalization="ClipL2PerLayer",
        gradient_normalization_threshold=options.threshold,
    )
    clipped = train(text, clipping, options)

    print_curves(free, clipped, every=max(1, options.iterations // 15))
    print(f"guessing would give {np.log(len(text.characters)):.3f}")
    for name, run in (("no normalisation", free), ("ClipL2PerLayer", clipped)):
        sample = continue_text(run.network, text, "Beautiful is", 60)
        print(f"{name}: final loss {run.final_loss:.3f}, continues {sample!r}")
    return free, clipped


if __name__ == "__main__":
    main()
