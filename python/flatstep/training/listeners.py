"""Ready-made recorders, which a solver calls after every step, and a loop of one's own does, too.

:class:`CSVWriter` and :class:`JSONLWriter` write what every step did to a file, and
:class:`ProgressListener` shows it on a progress bar; ``flatstep.HistoryListener`` keeps it for
``flatstep.plot_history``. They read ``updater.last_step``, after the step. Update ratios are there
where the updater was made with ``monitor=True``.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections import deque
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TextIO

from flatstep._coerce import flag, wrong_type
from flatstep.atomic_file import path_text
from flatstep.last_step import LastStep
from flatstep.network_updater import NetworkUpdater

from .recorder import CSV_COLUMNS, NETWORK, GroupStep, Recorder, group_steps, was_refused

__all__ = ["CSVWriter", "GroupStep", "JSONLWriter", "ProgressListener"]


class _FileWriter(Recorder):
    """A recorder that writes every n-th step to a text file, its own or one it is given."""

    #: A kill loses what has been written in so many seconds at most.
    _SECONDS = 5.0

    def __init__(
        self,
        file: str | bytes | os.PathLike[str] | TextIO,
        *,
        every: int = 1,
        append: bool = False,
    ) -> None:
        super().__init__(every=every)
        kind = type(self).__name__
        self._flushed = -math.inf
        self._owns_file = isinstance(file, str | bytes | os.PathLike)
        if isinstance(file, str | bytes | os.PathLike):
            mode: Literal["a", "w"] = "a" if flag(kind, "append", append) else "w"
            self._file: TextIO = Path(path_text(kind, file)).open(  # noqa: SIM115 (closed in close)
                mode, encoding="utf-8", newline=""
            )
        elif hasattr(file, "write"):
            self._file = file
        else:
            raise wrong_type(kind, "file", "a path or an open text file", file)

    def write(self, updater: NetworkUpdater, last_step: LastStep, score: float) -> None:
        """Writes the step, and flushes the file now and then."""
        if self._file.closed:
            raise ValueError(f"{type(self).__name__}: expected no step after close(), got one")
        self._write(updater, last_step, score)
        now = time.monotonic()
        if now - self._flushed >= self._SECONDS:
            self._flushed = now
            self._file.flush()

    def _write(self, updater: NetworkUpdater, last_step: LastStep, score: float) -> None:
        raise NotImplementedError

    def close(self) -> None:
        if self._owns_file:
            self._file.close()
        elif not self._file.closed:
            self._file.flush()


class CSVWriter(_FileWriter):
    """Writes a CSV file with a row for each step and layer.

    The columns are iteration, epoch, score, skipped (1 for a step that was refused for a non-finite
    gradient), layer, gradient_norm, factor, clipped (0 or 1, or the share of the elements),
    learning_rate, update_ratio. What a strategy has no value for is empty. The layer is a slot,
    such as ``0_W``, where every parameter has a norm of its own; under ClipL2Global there is a row
    for the ``network``, too.

    Args:
        file: a path (an existing file is replaced) or an open text file, which stays open. It is
            flushed with the first step, every five seconds, and by ``close``.
        every: write the steps whose iteration is a multiple of it.
        append: whether to write behind what an existing file has, as a run that is resumed does.

    Example:
        >>> import io, numpy as np, flatstep as fs
        >>> w, file = np.array([3.0, -2.0]), io.StringIO()
        >>> config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.25))
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
        >>> with fs.CSVWriter(file) as writer:
        ...     solver = fs.StochasticGradientDescent(
        ...         updater, lambda: (float(w @ w), {"0_W": 2 * w}), [writer])
        ...     score = solver.optimize()
        >>> print(file.getvalue())
        iteration,epoch,score,skipped,layer,gradient_norm,factor,clipped,learning_rate,update_ratio
        0,0,13.0,0,0,,,,0.25,
        <BLANKLINE>
    """

    def __init__(
        self,
        file: str | bytes | os.PathLike[str] | TextIO,
        *,
        every: int = 1,
        append: bool = False,
    ) -> None:
        super().__init__(file, every=every, append=append)
        self._rows = csv.writer(self._file, lineterminator="\n")
        if not (self._owns_file and self._file.tell() > 0):  # a log that goes on has its columns
            self._rows.writerow(CSV_COLUMNS)

    def _write(self, updater: NetworkUpdater, last_step: LastStep, score: float) -> None:
        start = (last_step.iteration, last_step.epoch, score, int(was_refused(last_step)))
        for name, (norm, factor, clipped, rate, ratio) in group_steps(updater, last_step).items():
            clips = int(clipped) if isinstance(clipped, bool) else clipped
            self._rows.writerow((*start, name, norm, factor, clips, rate, ratio))


class JSONLWriter(_FileWriter):
    """Writes a JSON object for each step, one a line, with an object for each layer in it.

    The keys are iteration, epoch, score, skipped, nonfinite (the slots with a non-finite gradient)
    and layers: by name gradient_norm, factor, clipped, learning_rate and update_ratio, null where
    there is no value. A number that JSON cannot hold (NaN, an infinity) is null as well.

    Args:
        file: a path (an existing file is replaced) or an open text file, which stays open. It is
            flushed with the first step, every five seconds, and by ``close``.
        every: write the steps whose iteration is a multiple of it.
        append: whether to write behind what an existing file has, as a run that is resumed does.

    Example:
        >>> import io, json, numpy as np, flatstep as fs
        >>> w, file = np.array([3.0, -2.0]), io.StringIO()
        >>> config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.25))
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
        >>> with fs.JSONLWriter(file) as writer:
        ...     solver = fs.StochasticGradientDescent(
        ...         updater, lambda: (float(w @ w), {"0_W": 2 * w}), [writer])
        ...     score = solver.optimize()
        >>> json.loads(file.getvalue())["layers"]["0"]["learning_rate"]
        0.25
    """

    def _write(self, updater: NetworkUpdater, last_step: LastStep, score: float) -> None:
        layers = {
            name: {field: _finite(value) for field, value in group._asdict().items()}
            for name, group in group_steps(updater, last_step).items()
        }
        step = {
            "iteration": last_step.iteration,
            "epoch": last_step.epoch,
            "score": _finite(score),
            "skipped": was_refused(last_step),
            "nonfinite": list(last_step.nonfinite),
            "layers": layers,
        }
        self._file.write(json.dumps(step, allow_nan=False) + "\n")


class ProgressListener(Recorder):
    """Shows a tqdm progress bar with the score, gradient norm, clipped share and learning rate.

    Score, norm (of the whole network: the root of the sum of squares of the groups' norms) and
    clipped share (of all groups) are means over the last ``window`` steps; the rate is the last
    step's, a range where the layers' rates differ.

    Args:
        total: the number of steps to come, if known.
        window: how many steps the means are over.
        **tqdm_options: passed on to ``tqdm``: desc, unit, leave, file, disable and so on.

    Raises:
        ImportError: tqdm is not installed.

    Example:
        >>> import flatstep as fs
        >>> with fs.ProgressListener(1000, desc="training") as progress:  # doctest: +SKIP
        ...     solver.listeners += (progress,)
        ...     for _ in range(1000):
        ...         solver.optimize()
    """

    def __init__(self, total: int | None = None, *, window: int = 50, **tqdm_options: Any) -> None:
        super().__init__()
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError(
                "ProgressListener shows a tqdm progress bar, and tqdm is not installed: "
                "pip install tqdm (or 'flatstep[demo]')"
            ) from error
        options: dict[str, Any] = {"unit": " steps", "dynamic_ncols": True}
        if total is not None:
            # The numbers come before the times: those are what a narrow terminal may cut off.
            options["bar_format"] = (
                "{l_bar}{bar}| {n_fmt}/{total_fmt}{postfix} [{elapsed}<{remaining}]"
            )
        self._bar = tqdm(total=total, **{**options, **tqdm_options})
        self._scores: deque[float] = deque(maxlen=window)
        self._norms: deque[float] = deque(maxlen=window)
        self._clips: deque[float] = deque(maxlen=window)
        self._pending = 0
        self._shown = -math.inf
        self._last: tuple[NetworkUpdater, LastStep] | None = None

    def write(self, updater: NetworkUpdater, last_step: LastStep, score: float) -> None:
        """Takes the step into the means, and shows them ten times a second."""
        self._pending += 1
        self._last = updater, last_step
        groups = group_steps(updater, last_step)
        groups.pop(NETWORK, None)
        norms = [step.gradient_norm for step in groups.values() if step.gradient_norm is not None]
        clipped = [step.clipped for step in groups.values() if step.clipped is not None]
        if norms:
            self._norms.append(math.hypot(*norms))
        if clipped:
            self._clips.append(sum(clipped) / len(clipped))
        self._scores.append(score)
        now = time.monotonic()
        if now - self._shown >= 0.1:
            self._shown = now
            self._show(updater, last_step)

    def close(self) -> None:
        if self._pending and self._last is not None:
            self._show(*self._last)
        self._bar.close()

    def _show(self, updater: NetworkUpdater, last_step: LastStep) -> None:
        shown = [f"score {fmean(self._scores):.3g}"]
        if self._norms:
            shown.append(f"norm {fmean(self._norms):.2g}")
        if self._clips:
            shown.append(f"clipped {fmean(self._clips):.0%}")
        layers = last_step.layers.values()
        rates = [layer.learning_rate for layer in layers if layer.learning_rate is not None]
        if rates:
            low, high = min(rates), max(rates)
            shown.append(f"rate {low:.2g}" if low == high else f"rate {low:.2g} to {high:.2g}")
        if updater.skipped_steps:
            shown.append(f"skipped {updater.skipped_steps:,}")
        self._bar.set_postfix_str(", ".join(shown), refresh=False)
        self._bar.update(self._pending)
        self._pending = 0


def _finite(value: Any) -> Any:
    """Return None for a number that JSON cannot hold, and anything else as it is."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
