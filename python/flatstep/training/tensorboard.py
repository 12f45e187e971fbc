"""What steps did, for TensorBoard: ``tensorboard --logdir runs``."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from statistics import fmean
from typing import Any

from flatstep.atomic_file import path_text
from flatstep.last_step import LastStep
from flatstep.network_updater import NetworkUpdater

from .recorder import Recorder, group_steps

__all__ = ["TensorBoardWriter"]

#: The tag of the decimal logarithm of ‖update‖ / ‖parameters‖, and DL4J's guide for it.
_RATIO, _GUIDE = "update_ratio_log10", -3.0

#: The charts of the tab "Custom Scalars", and a regular expression for the tags in each.
_CHARTS = {
    "score": "score$",
    "log10(‖update‖ / ‖parameters‖)": f"{_RATIO}/",
    "gradient norm": "gradient_norm/",
    "clipped share": "clipped_share/",
    "learning rate": "learning_rate/",
}

_WINDOW = 50
_SECONDS = 5.0
_numbers = itertools.count()


class TensorBoardWriter(Recorder):
    """Writes what every step did as scalars that TensorBoard shows.

    The tags are ``score``, and by layer ``learning_rate/0``, ``gradient_norm/0`` (before
    normalisation), ``factor/0``, ``clipped_share/0`` (of the last 50 that were written) and, with
    ``monitor=True``, ``update_ratio_log10/0``: log₁₀(‖update‖ / ‖parameters‖). In the same chart
    stands DL4J's guide, −3, in a colour of its own, as it is a run of its own, ``guide`` in the
    folder. The layer is a slot, such as ``0_W``, where every parameter has a norm of its own; under
    ClipL2Global there is the ``network``, too. What a strategy has no value for is not written, of
    a skipped step only the score and ``skipped_steps``, how many there were. The tab "Custom
    Scalars" has one chart for all layers.

    The file is one of tensorboardX, flushed every five seconds and by ``close``. TensorFlow and
    PyTorch are not needed.

    Args:
        logdir: the run's folder, which is made where there is none. A file is added to those that
            are there, so give each run one of its own: ``runs/1``.
        every: write the steps whose iteration is a multiple of it.

    Raises:
        ImportError: tensorboardX is not installed.
        OSError: the folder or the file cannot be written.
        ValueError, TypeError: ``every`` is no integer ≥ 1, ``logdir`` no path.

    Example:
        >>> import tempfile, numpy as np, flatstep as fs
        >>> w = np.array([3.0, -2.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Adam(0.01))
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": w}, monitor=True)
        >>> with tempfile.TemporaryDirectory() as runs:
        ...     with fs.TensorBoardWriter(f"{runs}/1") as board:
        ...         for _ in range(100):
        ...             score = float(w @ w)
        ...             updater.step({"0_W": 2 * w})
        ...             board.record(updater, score)
    """

    def __init__(self, logdir: str | bytes | os.PathLike[str], *, every: int = 1) -> None:
        super().__init__(every=every)
        try:
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event
            from tensorboardX.proto.summary_pb2 import Summary
            from tensorboardX.summary import custom_scalars
        except ImportError as error:
            raise ImportError(
                "TensorBoardWriter writes with tensorboardX, which is not installed: "
                "pip install tensorboardX (or 'flatstep[tensorboard]')"
            ) from error
        self._event, self._summary, self._file_class = Event, Summary, EventsWriter
        self._folder = path_text(type(self).__name__, logdir)
        self._file = self._new_file(self._folder)
        self._guide_file: Any = None
        self._guided: dict[str, int] = {}  # how far the guide is drawn
        self._last = 0
        self._clips: dict[str, deque[float]] = {}
        self._flushed = -math.inf
        charts = {title: ["Multiline", [tags]] for title, tags in _CHARTS.items()}
        self._add(self._file, 0, custom_scalars({"flatstep": charts}))

    def _new_file(self, folder: str) -> Any:
        os.makedirs(folder, exist_ok=True)
        # By time and host alone, two writers of a second would write to one file.
        suffix = f".{os.getpid()}.{next(_numbers)}"
        return self._file_class(os.path.join(folder, "events"), suffix)

    def _add(self, file: Any, iteration: int, summary: Any) -> None:
        file.write_event(self._event(wall_time=time.time(), step=iteration, summary=summary))

    def _add_scalars(self, file: Any, iteration: int, values: Mapping[str, float]) -> None:
        scalars = [self._summary.Value(tag=tag, simple_value=x) for tag, x in values.items()]
        self._add(file, iteration, self._summary(value=scalars))

    def write(self, updater: NetworkUpdater, last_step: LastStep, score: float) -> None:
        """Writes the step's scalars."""
        if self._file is None:
            raise ValueError("TensorBoardWriter: expected no step after close(), got one")
        values = {"score": score, **dict(self._values(updater, last_step))}
        self._add_scalars(self._file, last_step.iteration, values)
        ratios = [tag for tag in values if tag.startswith(_RATIO)]
        self._add_guide(last_step.iteration, [tag for tag in ratios if tag not in self._guided])
        self._last = last_step.iteration
        now = time.monotonic()
        if now - self._flushed >= _SECONDS:
            self._flushed = now
            self._add_guide(self._last, self._guided)
            for file in self._files():
                file.flush()

    def _add_guide(self, iteration: int, tags: Iterable[str]) -> None:
        """Where a ratio begins, and as far as there are steps: a straight line has two ends."""
        behind = [tag for tag in tags if self._guided.get(tag) != iteration]
        if not behind:
            return
        if self._guide_file is None:
            self._guide_file = self._new_file(os.path.join(self._folder, "guide"))
        self._add_scalars(self._guide_file, iteration, dict.fromkeys(behind, _GUIDE))
        self._guided.update(dict.fromkeys(behind, iteration))

    def _files(self) -> list[Any]:
        return [file for file in (self._file, self._guide_file) if file is not None]

    def _values(self, updater: NetworkUpdater, last_step: LastStep) -> Iterator[tuple[str, float]]:
        if updater.skipped_steps:
            yield "skipped_steps", updater.skipped_steps
        for name, step in group_steps(updater, last_step).items():
            for field in ("learning_rate", "gradient_norm", "factor"):
                value = getattr(step, field)
                if value is not None:
                    yield f"{field}/{name}", value
            if step.clipped is not None:
                clips = self._clips.setdefault(name, deque(maxlen=_WINDOW))
                clips.append(step.clipped)
                yield f"clipped_share/{name}", fmean(clips)
            ratio = step.update_ratio
            if ratio is not None and 0 < ratio < math.inf:  # parameters may be all zeros
                yield f"{_RATIO}/{name}", math.log10(ratio)

    def close(self) -> None:
        if self._file is not None:
            self._add_guide(self._last, self._guided)
            for file in self._files():
                file.close()
            self._file = self._guide_file = None
