"""Schedules that go up and down."""

# No postponed annotations: the fields are taken by their types, which are read at run time, when
# the classes are known as those of flatstep.schedules.
from dataclasses import dataclass
from typing import Literal

from flatstep._coerce import string, take_as

from .base import Formula, ScheduleType

__all__ = [
    "CosineRestartsSchedule",
    "CycleSchedule",
    "OneCycleMomentumSchedule",
    "OneCycleSchedule",
    "WarmupStableDecaySchedule",
]

OneCycleAnneal = Literal["cos", "linear"]
DecayAnneal = Literal["linear", "cos", "sqrt"]

take_as(OneCycleAnneal, string)
take_as(DecayAnneal, string)


@dataclass(frozen=True)
class CycleSchedule(Formula):
    r"""One cycle, again and again: up from low to high, down again, then annealing below low.

    With L = ``cycle_length``, a = ``annealing_length``, c = i mod L, st = ⌊(L − a)/2⌋ and
    inc = (high − low)/st: low + inc·c while c < st; high − inc·(c − st) while c < 2·st;
    low·decay^(c − (L − a)) after that. (Where L − a is odd, c = 2·st lies before the annealing and
    its exponent is −1, as in Deeplearning4j.)

    Smith and Topin 2017, https://arxiv.org/abs/1708.07120, as Deeplearning4j has it.

    Args:
        initial: low, the value at the start of a cycle.
        max: high, the value in its middle.
        cycle_length: L, at least 2.
        annealing_length: a, from 0 to L − 2.
        annealing_decay: the factor per iteration or epoch of annealing, > 0.
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Example:
        >>> import flatstep as fs
        >>> schedule = fs.CycleSchedule(1.0, 3.0, 6, 2, 0.5)
        >>> [schedule.value_at(i) for i in range(7)]
        [1.0, 2.0, 3.0, 2.0, 1.0, 0.5, 1.0]
    """

    initial: float
    max: float
    cycle_length: int
    annealing_length: int
    annealing_decay: float
    schedule_type: ScheduleType = "ITERATION"


@dataclass(frozen=True)
class CosineRestartsSchedule(Formula):
    r"""Cosine annealing with warm restarts: final + (v − final)·(1 + cos(π·c/L))/2.

    c counts from the last restart, L is the length of the cycle: ``first``, then
    ``first·multiplier``, ``first·multiplier²``, …

    SGDR (Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983), as PyTorch's
    CosineAnnealingWarmRestarts.

    Args:
        initial: v, the value at the start of every cycle.
        first: how many iterations or epochs the first cycle takes, ≥ 1.
        multiplier: how many times longer each cycle is than the one before, an integer ≥ 1.
        final: what the value falls towards.
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Example:
        >>> import flatstep as fs
        >>> schedule = fs.CosineRestartsSchedule(1.0, first=2, multiplier=2)
        >>> [round(schedule.value_at(i), 3) for i in range(7)]
        [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
    """

    initial: float
    first: int
    multiplier: int = 1
    final: float = 0.0
    schedule_type: ScheduleType = "ITERATION"


@dataclass(frozen=True)
class OneCycleMomentumSchedule(Formula):
    r"""The momentum of a one-cycle run: down while the rate rises, up again while it falls.

    From ``max_momentum`` to ``base_momentum`` at i = pct_start·n − 1, and back to ``max_momentum``
    at i = n − 1; with three phases already at 2·pct_start·n − 2. `OneCycleSchedule.momentum` makes
    the one that goes with a rate.

    Smith 2018, section 4.3, https://arxiv.org/abs/1803.09820, as PyTorch's OneCycleLR with
    ``cycle_momentum``.

    Args:
        total_steps: n ≥ 1.
        base_momentum: the momentum at the highest rate.
        max_momentum: that at the lowest.
        pct_start: the part of the run in which it falls, in [0, 1].
        anneal_strategy: "cos" or "linear".
        three_phase: whether it is back at ``max_momentum`` after two such parts.
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Example:
        >>> import flatstep as fs
        >>> schedule = fs.OneCycleMomentumSchedule(10, 0.5, 1.0, 0.5, anneal_strategy="linear")
        >>> schedule.value_at(0), schedule.value_at(4), schedule.value_at(9)
        (1.0, 0.5, 1.0)
    """

    total_steps: int
    base_momentum: float = 0.85
    max_momentum: float = 0.95
    pct_start: float = 0.3
    anneal_strategy: OneCycleAnneal = "cos"
    three_phase: bool = False
    schedule_type: ScheduleType = "ITERATION"


@dataclass(frozen=True)
class OneCycleSchedule(Formula):
    r"""One cycle over the whole run: up to the highest rate, then down to almost nothing.

    From start = max/div_factor to max at i = pct_start·n − 1, then to start/final_div_factor at
    i = n − 1; with three phases to start at i = 2·pct_start·n − 2 first. From a to b at the part s
    of the way: b + (a − b)/2·(1 + cos(π·s)), or (b − a)·s + a with ``anneal_strategy="linear"``.
    Where the rise has one step only, that is the highest rate. From i = n on the last value stays.

    Smith and Topin 2017, https://arxiv.org/abs/1708.07120, as PyTorch's OneCycleLR.

    Args:
        max_rate: the highest rate.
        total_steps: n ≥ 1.
        pct_start: the part of the run in which the rate rises, in [0, 1].
        anneal_strategy: "cos" or "linear".
        div_factor: > 0, how many times lower the rate starts.
        final_div_factor: > 0, how many times lower than that it ends.
        three_phase: whether to fall to the start first, as slowly as it rose.
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Example:
        >>> import flatstep as fs
        >>> rate = fs.OneCycleSchedule(1.0, total_steps=10, div_factor=4)
        >>> rate.value_at(0), rate.value_at(2), rate.value_at(9)
        (0.25, 1.0, 2.5e-05)
        >>> updater = fs.Nesterovs(rate, momentum=rate.momentum())
    """

    max_rate: float
    total_steps: int
    pct_start: float = 0.3
    anneal_strategy: OneCycleAnneal = "cos"
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False
    schedule_type: ScheduleType = "ITERATION"

    def momentum(
        self, base_momentum: float = 0.85, max_momentum: float = 0.95
    ) -> OneCycleMomentumSchedule:
        """The momentum that goes with this rate, PyTorch's ``cycle_momentum``.

        Args:
            base_momentum: the momentum at the highest rate.
            max_momentum: that at the lowest.

        Example:
            >>> import flatstep as fs
            >>> momentum = fs.OneCycleSchedule(1.0, total_steps=10).momentum()
            >>> momentum.value_at(0), momentum.value_at(2)
            (0.95, 0.85)
        """
        return OneCycleMomentumSchedule(
            total_steps=self.total_steps,
            base_momentum=base_momentum,
            max_momentum=max_momentum,
            pct_start=self.pct_start,
            anneal_strategy=self.anneal_strategy,
            three_phase=self.three_phase,
            schedule_type=self.schedule_type,
        )


@dataclass(frozen=True)
class WarmupStableDecaySchedule(Formula):
    r"""Warm-up, a constant rate, and a decay: a run that may be decided on while it runs.

    i < w: a straight line from initial to max; i < w + s: max; then, with c = i − w − s and
    d = ``decay_steps``: max·(1 − c/d) + final·c/d ("linear"), or final + (max − final)·x with
    x = (1 + cos(π·c/d))/2 ("cos") or x = 1 − √(c/d) ("sqrt"); final from c = d on.

    MiniCPM (Hu et al. 2024, https://arxiv.org/abs/2404.06395); the decay of the square root is
    Hägele et al. 2024, https://arxiv.org/abs/2405.18392.

    Args:
        max_rate: max, the rate between warm-up and decay.
        warmup_steps: w ≥ 0.
        stable_steps: s ≥ 0.
        decay_steps: d ≥ 1.
        initial: the rate at i = 0, where there is a warm-up.
        final: the rate after the decay.
        anneal_strategy: "linear", "cos" or "sqrt", how it decays.
        schedule_type: whether i counts iterations ("ITERATION") or epochs ("EPOCH").

    Example:
        >>> import flatstep as fs
        >>> schedule = fs.WarmupStableDecaySchedule(1.0, 2, 3, 4)
        >>> [schedule.value_at(i) for i in range(10)]
        [0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    max_rate: float
    warmup_steps: int
    stable_steps: int
    decay_steps: int
    initial: float = 0.0
    final: float = 0.0
    anneal_strategy: DecayAnneal = "linear"
    schedule_type: ScheduleType = "ITERATION"
