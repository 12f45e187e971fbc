"""Schedules of optax, evaluated for the tests in a process of their own.

JAX has threads from its first number on, and warns of every fork after that: it stays out of the
process that the tests run in. Each line that comes in is JSON, ``[expression, steps, form]``; each
that goes out is the list of values: "vector" of one call for all steps, "scalars" of a call for
each, "table" of a `flatstep.TableSchedule` made of it.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def values(optax: Any, expression: str, steps: int, form: str) -> list[float]:
    import numpy as np

    import flatstep as fs

    schedule = eval(expression, {"optax": optax})
    if form == "table":
        return list(fs.TableSchedule.from_callable(schedule, steps).values)
    if form == "scalars":
        return [float(schedule(i)) for i in range(steps)]
    made = np.asarray(schedule(np.arange(steps)))
    assert made.dtype == np.float64
    return [float(value) for value in np.broadcast_to(made, steps)]


def serve() -> None:
    import jax

    jax.config.update("jax_enable_x64", True)
    import optax

    for line in sys.stdin:
        print(json.dumps(values(optax, *json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
