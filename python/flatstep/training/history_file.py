"""The history of a run, from the file that CSVWriter or JSONLWriter wrote of it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .history import History, LayerHistory
from .recorder import CSV_COLUMNS, STEP_FIELDS, GroupStep

__all__ = ["read_history"]

_Step = tuple[tuple[float, ...], dict[str, tuple[float, ...]]]


def read_history(path: Path) -> History:
    """The history in a log; the last line may be cut off, as one of a run that goes on is.

    The file knows no thresholds and no strategy: they are NaN and "".

    Args:
        path: a ``.csv`` or ``.jsonl`` file.

    Raises:
        ValueError: another suffix, or what is in it is no log; the message names the line.
        OSError: it cannot be read.
    """
    readers = {".csv": _csv_steps, ".jsonl": _jsonl_steps}
    if path.suffix not in readers:
        raise ValueError(
            f"{path}: expected a .csv or .jsonl file, got {path.suffix or 'no suffix'}"
        )
    with path.open(encoding="utf-8", newline="") as file:
        steps = list(readers[path.suffix](file, path))
    if not steps:
        raise ValueError(f"{path}: expected at least one step, got none")
    names = list(dict.fromkeys(name for _, layers in steps for name in layers))
    nothing = (math.nan,) * len(GroupStep._fields)
    iteration, epoch, score, skipped = np.array([step for step, _ in steps], np.float64).T
    layers = {}
    for name in names:
        columns = np.array([layers.get(name, nothing) for _, layers in steps], np.float64).T
        values = dict(zip(GroupStep._fields, columns, strict=True))
        layers[name] = LayerHistory(**values, threshold=math.nan)
    return History(
        iteration=iteration.astype(np.int64),
        epoch=epoch.astype(np.int64),
        score=score,
        skipped=skipped != 0,
        layers=layers,
        strategy="",
    )


def _number(value: Any) -> float:
    return math.nan if value is None or value == "" else float(value)


def _csv_steps(file: TextIO, path: Path) -> Iterator[_Step]:
    rows = csv.reader(file)
    if next(rows, None) != list(CSV_COLUMNS):
        raise ValueError(f"{path}: line 1: expected what CSVWriter writes, {','.join(CSV_COLUMNS)}")
    step: _Step | None = None
    bad: str | None = None
    for row in rows:
        if bad is not None:
            raise ValueError(bad)
        try:
            if len(row) != len(CSV_COLUMNS):
                raise ValueError(f"{len(row)} fields")
            start = tuple(map(_number, row[:4]))
            values = tuple(map(_number, row[5:]))
        except ValueError as error:
            bad = f"{path}: line {rows.line_num}: expected {len(CSV_COLUMNS)} fields, got {error}"
            continue  # the last line may be
        # A skipped step and the one after it have the same iteration.
        if step is None or step[0][0] != start[0] or row[4] in step[1]:
            if step is not None:
                yield step
            step = (start, {})
        step[1][row[4]] = values
    if step is not None:
        yield step


def _jsonl_steps(file: TextIO, path: Path) -> Iterator[_Step]:
    bad: str | None = None
    for line, text in enumerate(file, 1):
        if bad is not None:
            raise ValueError(bad)
        try:
            step = json.loads(text)
            start = tuple(_number(step[name]) for name in STEP_FIELDS)
            layers = {
                name: tuple(_number(layer[field]) for field in GroupStep._fields)
                for name, layer in step["layers"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            bad = f"{path}: line {line}: expected what JSONLWriter writes, got {error!r}"
            continue
        yield start, layers
