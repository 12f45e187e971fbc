"""Objects of every class that a pickle of release 0.1 can name: tests/pickles has them.

The pickles were written by flatstep 0.1.0 itself: ``python tests/old_objects.py`` with that release
installed. They are never written again.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

import flatstep as fs

FOLDER = Path(__file__).parent / "pickles"


def configuration(*arguments: Any, **named: Any) -> fs.MultiLayerConfiguration:
    """With the names of biases that were 0.1's default."""
    return fs.MultiLayerConfiguration(*arguments, bias_params=("b", "bias"), **named)


def updaters() -> list[Any]:
    return [
        fs.Sgd(0.5),
        fs.NoOp(),
        fs.Nesterovs(0.1, momentum=fs.MapSchedule({0: 0.5, 9: 0.75})),
        fs.AdaGrad(),
        fs.RmsProp(0.1, rms_decay=0.75),
        fs.AdaDelta(),
        fs.Adam(fs.StepSchedule(0.1, decay_rate=0.5, step=3)),
        fs.AdamW(0.1),
        fs.AMSGrad(),
        fs.AdaMax(),
        fs.Nadam(),
        fs.AdaBelief(),
    ]


def schedules() -> list[Any]:
    return [
        fs.FixedSchedule(0.1),
        fs.ExponentialSchedule(0.1, gamma=0.5),
        fs.InverseSchedule(0.1, gamma=0.5, power=1),
        fs.StepSchedule(0.1, decay_rate=0.5, step=3),
        fs.PolySchedule(0.1, power=2, max_iter=100),
        fs.SigmoidSchedule(0.1, gamma=0.9, step=4),
        fs.MapSchedule({0: 0.1, 100: 0.01}, schedule_type="EPOCH"),
        fs.CycleSchedule(1.0, 3.0, 6, 2, 0.5),
        fs.CosineSchedule(0.1, max_iter=100),
        fs.RampSchedule(fs.FixedSchedule(1.0), num_iter=4),
    ]


def policies() -> list[Any]:
    return [
        fs.LearningRatePolicy("Step", decay_rate=0.5, steps=2),
        fs.LearningRatePolicy("Schedule", schedule={3: 0.25}),
    ]


def configurations() -> list[Any]:
    layer = fs.LayerConfiguration(
        updater=fs.Sgd(0.1),
        gradient_normalization=fs.GradientNormalization.ClipL2PerLayer,
        params={"b": fs.ParamConfiguration(updater=fs.NoOp(), l2=0.0)},
    )
    return [
        configuration(updater=fs.Adam(0.01), l2=1e-4, layers={"0": layer}),
        configuration(
            updater=fs.Nesterovs(0.1),
            semantics="dl4j-0.8",
            learning_rate_policy=fs.LearningRatePolicy("Exponential", decay_rate=0.5),
            momentum_schedule={2: 0.8},
        ),
        layer,
        layer.params["b"],
    ]


def gradient(updater: Any) -> dict[str, Any]:
    """The same for any updater of these parameters."""
    return {
        slot.key: np.linspace(-1, 1, slot.size).reshape(slot.shape, order=slot.order)
        for slot in updater.layout
    }


def network_updaters() -> list[Any]:
    made = [
        fs.MultiLayerUpdater(configurations()[0], {"0_W": np.ones((2, 3)), "0_b": np.zeros(3)}),
        fs.MultiLayerUpdater(configurations()[1], {"0_W": np.ones((2, 3), order="F")}),
        fs.ComputationGraphUpdater(
            configuration(fs.AMSGrad()), {"fc1": {"kernel": np.ones((2, 2))}}
        ),
        fs.LayerUpdater(configuration(fs.AdaDelta()), {"W": np.ones(3)}),
    ]
    for updater in made:
        for _ in range(3):
            updater.step(gradient(updater))
    made[0].accumulate(gradient(made[0]))
    made[2].set_learning_rate(0.25)
    return made


def of_training() -> list[Any]:
    updater = fs.MultiLayerUpdater(configurations()[0], {"0_W": np.ones((2, 3)), "0_b": np.ones(3)})
    listener = fs.HistoryListener()
    solver = fs.StochasticGradientDescent(
        updater, lambda: (1.0, gradient(updater)), listeners=[listener]
    )
    for _ in range(3):
        solver.optimize()
    return [listener.history, listener, updater.last_step, updater.layout, updater.updater_blocks]


def solvers() -> list[Any]:
    """Whose function is one that a pickle can name, if no useful one."""
    updater = fs.LayerUpdater(configuration(), {"W": np.ones(3)})
    return [fs.StochasticGradientDescent(updater, dict, [fs.Listener(), fs.HistoryListener()])]


def errors() -> list[Any]:
    return [
        fs.ParameterKeyError("no such key"),
        fs.CheckpointError("no checkpoint"),
        fs.DL4JModelError("no model"),
        fs.NonFiniteGradientError("not finite", ["0_W"]),
    ]


OBJECTS = {
    "updaters": updaters,
    "schedules": schedules,
    "policies": policies,
    "configurations": configurations,
    "network_updaters": network_updaters,
    "training": of_training,
    "solvers": solvers,
    "strategies": lambda: list(fs.GradientNormalization),
    "errors": errors,
}

if __name__ == "__main__":
    assert fs.__version__ == "0.1.0", fs.__version__
    for name, make in OBJECTS.items():
        (FOLDER / f"{name}.pickle").write_bytes(pickle.dumps(make(), protocol=4))
