"""What the network of examples/hips_autograd.py has learnt."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from drawing import EXAMPLES, load
from style import COLORS, INK, panels


def draw() -> Any:
    try:
        example = load(EXAMPLES / "hips_autograd.py")
    except ImportError:  # the example says so itself
        return None
    t = np.linspace(0, example.END, 200).reshape(-1, 1)
    with panels(1, 1, height=2.8) as (figure, axes):
        axes.plot(t, example.exact(t), color=INK, linestyle=":", linewidth=2.2, label="exact")
        for steps, color in ((40, COLORS[4]), (120, COLORS[1]), (360, COLORS[0])):
            with contextlib.redirect_stdout(io.StringIO()):
                params = example.train(steps, 16, 16, 2e-2, 0)
            label = f"after {steps} steps"
            axes.plot(t, example.solution(params, t), color=color, label=label)
        axes.set(title="The damped oscillator, y(t)", xlabel="t")
        axes.legend(loc="upper right")
    return figure
