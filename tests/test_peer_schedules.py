"""Schedules against PyTorch's lr_scheduler and optax's schedules, value by value.

10 000 steps each, in float64, every value to a relative error of 1e-12, also where it comes close
to 0. What is 0 must be 0.

A peer that is not installed is named where its tests are left out.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flatstep as fs

STEPS = 10_000


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed (torch==2.13.0)")


class Optax:
    """optax in a process of its own: see optax_values.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def rates(self, expression: str, steps: int = STEPS, form: str = "vector") -> list[float]:
        """The values of a schedule, an expression in which ``optax`` is the module."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([expression, steps, form]) + "\n")
        self.process.stdin.flush()
        values: list[float] = json.loads(self.process.stdout.readline())
        return values


@pytest.fixture(scope="module")
def optax() -> Iterator[Optax]:
    if find_spec("optax") is None or find_spec("jax") is None:
        pytest.skip("optax is not installed")
    program = [sys.executable, str(Path(__file__).with_name("optax_values.py"))]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(
        program, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        yield Optax(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0


def rates(schedule: fs.Schedule, steps: int = STEPS) -> Any:
    """As a step would use them."""
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Sgd(schedule)), {"0_W": np.zeros(1)}
    )
    return np.array([updater.learning_rate("0_W", iteration=i) for i in range(steps)])


def momenta(schedule: fs.Schedule, steps: int = STEPS) -> Any:
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Nesterovs(momentum=schedule)), {"0_W": np.zeros(1)}
    )
    return np.array([updater.momentum("0_W", iteration=i) for i in range(steps)])


def assert_same(ours: Any, theirs: Any) -> None:
    theirs = np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    excess = np.abs(ours - theirs) - 1e-12 * np.abs(theirs)
    worst = int(np.argmax(excess))
    assert excess[worst] <= 0, f"at {worst}: {ours[worst]!r}, the peer's {theirs[worst]!r}"


# --------------------------------------------------------------------------------------- PyTorch


class Run:
    """What a scheduler of PyTorch gives an optimizer over the steps."""

    def __init__(self, torch: Any, rate: float, make: Callable[[Any], Any], steps: int) -> None:
        parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = torch.optim.SGD([parameter], lr=rate, momentum=0.5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of schedulers that warn of their own calls
            scheduler = make(optimizer)
            group = optimizer.param_groups[0]
            self.rates, self.momenta = [], []
            for _ in range(steps):
                self.rates.append(float(group["lr"]))
                self.momenta.append(float(group["momentum"]))
                optimizer.step()
                scheduler.step()


def torch_rates(torch: Any, rate: float, make: Callable[[Any], Any], steps: int = STEPS) -> Any:
    return Run(torch, rate, make, steps).rates


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("pct_start", [0.0, 0.25, 0.3, 0.4999])
@pytest.mark.parametrize("anneal_strategy", ["cos", "linear"])
def test_one_cycle(torch: Any, anneal_strategy: Any, pct_start: float, three_phase: bool) -> None:
    """Rate and momentum; every operation is PyTorch's, so no digit is given away."""
    options = {"pct_start": pct_start, "anneal_strategy": anneal_strategy}
    theirs = Run(
        torch,
        0.1,
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 0.3, total_steps=STEPS, three_phase=three_phase, **options
        ),
        STEPS,
    )
    ours = fs.OneCycleSchedule(0.3, STEPS, three_phase=three_phase, **options)
    assert_same(rates(ours), theirs.rates)
    assert_same(momenta(ours.momentum()), theirs.momenta)


def test_one_cycle_with_factors_and_momenta(torch: Any) -> None:
    theirs = Run(
        torch,
        0.1,
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            2.0,
            total_steps=STEPS,
            div_factor=7.0,
            final_div_factor=123.0,
            base_momentum=0.6,
            max_momentum=0.99,
        ),
        STEPS,
    )
    ours = fs.OneCycleSchedule(2.0, STEPS, div_factor=7.0, final_div_factor=123.0)
    assert_same(rates(ours), theirs.rates)
    assert_same(momenta(ours.momentum(0.6, 0.99)), theirs.momenta)


@pytest.mark.parametrize("final", [0.0, 1e-4])
@pytest.mark.parametrize(("first", "multiplier"), [(10_000, 1), (700, 1), (10, 2), (3, 3), (1, 1)])
def test_cosine_restarts(torch: Any, first: int, multiplier: int, final: float) -> None:
    theirs = torch_rates(
        torch,
        0.3,
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
            optimizer, first, multiplier, eta_min=final
        ),
    )
    assert_same(rates(fs.CosineRestartsSchedule(0.3, first, multiplier, final)), theirs)


@pytest.mark.parametrize("final", [0.0, 1e-3])
def test_cosine(torch: Any, final: float) -> None:
    theirs = torch_rates(
        torch,
        0.3,
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, STEPS, eta_min=final
        ),
    )
    assert_same(rates(fs.CosineSchedule(0.3, STEPS, final)), theirs)


@pytest.mark.parametrize(
    ("start", "end", "steps"), [(1 / 3, 1.0, 5), (1e-3, 1, 7000), (1, 0.1, 9999)]
)
def test_linear(torch: Any, start: float, end: float, steps: int) -> None:
    theirs = torch_rates(
        torch,
        0.3,
        lambda optimizer: torch.optim.lr_scheduler.LinearLR(optimizer, start, end, steps),
    )
    assert_same(rates(fs.LinearSchedule(0.3 * start, 0.3 * end, steps)), theirs)


@pytest.mark.parametrize("final", [0.0, 1e-3])
def test_warm_up_then_cosine(torch: Any, final: float) -> None:
    scheduler = torch.optim.lr_scheduler

    def make(optimizer: Any) -> Any:
        warm_up = scheduler.LinearLR(optimizer, 0.01, 1.0, 500)
        cosine = scheduler.CosineAnnealingLR(optimizer, STEPS - 500, eta_min=final)
        return scheduler.SequentialLR(optimizer, [warm_up, cosine], [500])

    ours = fs.SequenceSchedule(
        [
            (fs.LinearSchedule(0.003, 0.3, 500), 500),
            (fs.CosineSchedule(0.3, STEPS - 500, final), STEPS - 500),
        ]
    )
    assert_same(rates(ours), torch_rates(torch, 0.3, make))


def test_three_schedules_in_sequence(torch: Any) -> None:
    scheduler = torch.optim.lr_scheduler

    def make(optimizer: Any) -> Any:
        pieces = [
            scheduler.ConstantLR(optimizer, 0.1, 2000),
            scheduler.ExponentialLR(optimizer, 0.999),
            scheduler.StepLR(optimizer, 1000, 0.5),
        ]
        return scheduler.SequentialLR(optimizer, pieces, [1000, 4000])

    ours = fs.SequenceSchedule(
        [
            (0.03, 1000),
            (fs.ExponentialSchedule(0.3, 0.999), 3000),
            fs.StepSchedule(0.3, decay_rate=0.5, step=1000),
        ]
    )
    assert_same(rates(ours), torch_rates(torch, 0.3, make))


@pytest.mark.parametrize("gamma", [0.999, 0.9999])
def test_exponential(torch: Any, gamma: float) -> None:
    theirs = torch_rates(
        torch, 0.3, lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma)
    )
    assert_same(rates(fs.ExponentialSchedule(0.3, gamma)), theirs)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_polynomial(torch: Any, power: float) -> None:
    """PyTorch's is a recursion of quotients."""
    theirs = torch_rates(
        torch,
        0.3,
        lambda optimizer: torch.optim.lr_scheduler.PolynomialLR(optimizer, 9000, power),
    )
    assert_same(rates(fs.PolySchedule(0.3, power, 9000)), theirs)


def test_products(torch: Any) -> None:
    """LambdaLR times a number, and ChainedScheduler."""
    scheduler = torch.optim.lr_scheduler
    inverse = fs.InverseSchedule(1.0, 0.01, 0.5)
    theirs = torch_rates(
        torch, 0.3, lambda optimizer: scheduler.LambdaLR(optimizer, inverse.value_at)
    )
    assert_same(rates(0.3 * inverse), theirs)

    def chain(optimizer: Any) -> Any:
        ramp = scheduler.LinearLR(optimizer, 0.1, 1.0, 300)
        return scheduler.ChainedScheduler([ramp, scheduler.ExponentialLR(optimizer, 0.9995)])

    ours = fs.LinearSchedule(0.1, 1.0, 300) * fs.ExponentialSchedule(0.3, 0.9995)
    assert_same(rates(ours), torch_rates(torch, 0.3, chain))


def test_warmup_stable_decay(torch: Any) -> None:
    """Of PyTorch's pieces."""
    scheduler = torch.optim.lr_scheduler

    def make(optimizer: Any) -> Any:
        pieces = [
            scheduler.LinearLR(optimizer, 0.01, 1.0, 1000),
            scheduler.ConstantLR(optimizer, 1.0, 1),
            scheduler.LinearLR(optimizer, 1.0, 0.02, 2000),
        ]
        return scheduler.SequentialLR(optimizer, pieces, [1000, 7000])

    ours = fs.WarmupStableDecaySchedule(0.3, 1000, 6000, 2000, initial=0.003, final=0.006)
    assert_same(rates(ours), torch_rates(torch, 0.3, make))


# ------------------------------------------------------------------------------------- plateaus


RULES = [
    {"factor": 0.5, "patience": 3},
    {"factor": 0.9, "patience": 0, "min_lr": 0.01},
    {"factor": 0.7, "patience": 2, "cooldown": 5, "threshold": 0.05},
    {"factor": 0.1, "patience": 1, "cooldown": 1, "eps": 1e-3},
    {"factor": 0.0, "patience": 50},
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_reduce_lr_on_plateau(
    torch: Any, mode: Any, threshold_mode: Any, rule: dict[str, Any], seed: int
) -> None:
    """Scores that fall, stall, jump, are negative, repeat themselves, or are NaN."""
    rng = np.random.default_rng(seed)
    scores = np.cumsum(rng.standard_normal(STEPS // 10)) * (-1 if mode == "min" else 1)
    scores = np.round(scores * rng.choice([0.1, 1.0]), 2)
    scores[rng.random(len(scores)) < 0.05] = np.nan
    scores[:100] = np.sort(scores[:100])[:: -1 if mode == "min" else 1]
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([parameter], lr=0.4)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, threshold_mode=threshold_mode, **rule
    )
    updater = fs.MultiLayerUpdater(
        fs.MultiLayerConfiguration(updater=fs.Sgd(0.4)), {"0_W": np.zeros(1)}
    )
    ours = fs.ReduceLROnPlateau(updater, mode, threshold_mode=threshold_mode, **rule)
    reductions = 0
    for score in scores:
        before = optimizer.param_groups[0]["lr"]
        theirs.step(score)
        now = optimizer.param_groups[0]["lr"]
        assert ours.step(score) == (now != before)
        reductions += now != before
        assert updater.learning_rate("0_W") == now
        assert ours.num_bad_epochs == theirs.num_bad_epochs
        assert ours.cooldown_counter == theirs.cooldown_counter
        assert ours.best == theirs.best
    assert reductions


# ---------------------------------------------------------------------------------------- optax


@pytest.mark.parametrize(("init", "end"), [(0.0, 0.3), (0.3, 0.03), (0.01, 0.3), (0.3, 0.0)])
@pytest.mark.parametrize("steps", [10, 9999])
def test_optax_linear(optax: Optax, init: float, end: float, steps: int) -> None:
    theirs = optax.rates(f"optax.linear_schedule({init}, {end}, {steps})")
    assert_same(rates(fs.LinearSchedule(init, end, steps)), theirs)


@pytest.mark.parametrize("alpha", [0.0, 0.01])
def test_optax_cosine_decay(optax: Optax, alpha: float) -> None:
    theirs = optax.rates(f"optax.cosine_decay_schedule(0.3, 9000, {alpha})")
    ours = fs.CosineSchedule(0.3, 9000, 0.3 * alpha)
    assert_same(rates(ours), theirs)


@pytest.mark.parametrize("end", [0.0, 0.003])
def test_optax_warmup_cosine_decay(optax: Optax, end: float) -> None:
    theirs = optax.rates(f"optax.warmup_cosine_decay_schedule(0.001, 0.3, 500, 9500, {end})")
    ours = fs.SequenceSchedule(
        [(fs.LinearSchedule(0.001, 0.3, 500), 500), fs.CosineSchedule(0.3, 9000, end)]
    )
    assert_same(rates(ours), theirs)


def test_optax_sgdr(optax: Optax) -> None:
    """Cycles with a warm-up each, as optax joins them."""
    cycles = [(0.3, 100, 2000), (0.2, 50, 3000), (0.1, 20, 5000)]
    given = [
        {
            "init_value": 0.01,
            "peak_value": peak,
            "warmup_steps": warm_up,
            "decay_steps": length,
            "end_value": 0.001,
        }
        for peak, warm_up, length in cycles
    ]
    theirs = optax.rates(f"optax.sgdr_schedule({given})")
    pieces = [
        (
            fs.SequenceSchedule(
                [
                    (fs.LinearSchedule(0.01, peak, warm_up), warm_up),
                    fs.CosineSchedule(peak, length - warm_up, 0.001),
                ]
            ),
            length,
        )
        for peak, warm_up, length in cycles
    ]
    assert_same(rates(fs.SequenceSchedule(pieces)), theirs)


def test_optax_sgdr_without_warm_up(optax: Optax) -> None:
    lengths = [1000, 2000, 4000, 8000]
    cosines = ", ".join(f"optax.cosine_decay_schedule(0.3, {length}, 0.01)" for length in lengths)
    ends = list(itertools.accumulate(lengths[:-1]))
    theirs = optax.rates(f"optax.join_schedules([{cosines}], {ends})")
    ours = fs.CosineRestartsSchedule(0.3, 1000, multiplier=2, final=0.003)
    assert_same(rates(ours), theirs)


def test_optax_join(optax: Optax) -> None:
    theirs = optax.rates(
        "optax.join_schedules([optax.constant_schedule(0.1), "
        "optax.exponential_decay(0.3, 1, 0.999), "
        "optax.polynomial_schedule(0.3, 0.0, 2.0, 4000)], [1000, 5000])"
    )
    ours = fs.SequenceSchedule(
        [
            (0.1, 1000),
            (fs.ExponentialSchedule(0.3, 0.999), 4000),
            fs.PolySchedule(0.3, 2.0, 4000),
        ]
    )
    assert_same(rates(ours), theirs)


@pytest.mark.parametrize("staircase", [False, True])
def test_optax_exponential(optax: Optax, staircase: bool) -> None:
    theirs = optax.rates(f"optax.exponential_decay(0.3, 100, 0.9, staircase={staircase})")
    ours = fs.StepSchedule(0.3, 0.9, 100) if staircase else fs.ExponentialSchedule(0.3, 0.9**0.01)
    assert_same(rates(ours), theirs)


def test_optax_piecewise_constant(optax: Optax) -> None:
    theirs = optax.rates("optax.piecewise_constant_schedule(0.5, {2000: 0.5, 7000: 0.25})")
    assert_same(rates(fs.MapSchedule({0: 0.5, 2000: 0.25, 7000: 0.0625})), theirs)


def test_any_schedule_of_optax_as_a_table(optax: Optax) -> None:
    made = "optax.warmup_exponential_decay_schedule(0.0, 0.3, 100, 50, 0.9, end_value=0.01)"
    table = fs.TableSchedule(optax.rates(made, 1000, "table"))
    assert rates(table, 1000).tolist() == optax.rates(made, 1000, "scalars")
