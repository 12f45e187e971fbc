"""What records steps, in a loop of one's own or as a solver's listener, and what it records."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from flatstep import _core
from flatstep._coerce import at_least, number
from flatstep.last_step import LastStep
from flatstep.network_updater import NetworkUpdater

from .solver import Listener, StochasticGradientDescent

__all__ = [
    "CSV_COLUMNS",
    "NETWORK",
    "STEP_FIELDS",
    "GroupStep",
    "NormalizationGroup",
    "Recorder",
    "group_steps",
    "normalization_groups",
    "was_refused",
]

#: How many steps a recorder knows again: one of each updater that takes turns with others.
_REMEMBERED = 63


#: The name under which the whole network is reported where ClipL2Global gives it a norm.
NETWORK = "network"


class GroupStep(NamedTuple):
    """What a step did to one layer, as ``updater.last_step`` says it; None for what has no value.

    All of it is None for a skipped step. ``clipped`` is whether the strategy clipped, or of one
    that clips each element by itself the share of those, where the updater was made with
    ``monitor=True``; None where nobody says.
    """

    gradient_norm: float | None
    factor: float | None
    clipped: bool | float | None
    learning_rate: float | None
    update_ratio: float | None


#: What a log says of a step besides its layers.
STEP_FIELDS = ("iteration", "epoch", "score", "skipped")
#: What CSVWriter's files have.
CSV_COLUMNS = (*STEP_FIELDS, "layer", *GroupStep._fields)


class NormalizationGroup(NamedTuple):
    """Parameters whose steps are reported together."""

    kind: Literal["layer", "parameter", "network"]
    layer: str  # of the network's: the first
    param: str  # of a layer's or the network's: the first
    threshold: float | None

    @property
    def name(self) -> str:
        if self.kind == "network":
            return NETWORK
        return self.layer if self.kind == "layer" else f"{self.layer}_{self.param}"


def normalization_groups(updater: NetworkUpdater) -> list[NormalizationGroup]:
    """Return what the steps of an updater are reported by: its layers, in order.

    Where the strategy gives every parameter a norm of its own, the slots ("0_W") stand for the
    layer. Under ClipL2Global the network, whose norm it is that has the threshold, comes last.
    """
    groups: dict[str, NormalizationGroup] = {}
    network: NormalizationGroup | None = None
    for slot, settings in zip(updater.layout, updater._resolved, strict=True):
        threshold = settings.threshold
        if settings.group == "network":
            network = network or NormalizationGroup("network", slot.layer, slot.param, threshold)
            threshold = None
        kind: Literal["layer", "parameter"] = (
            "parameter" if settings.group == "parameter" else "layer"
        )
        group = NormalizationGroup(kind, slot.layer, slot.param, threshold)
        groups.setdefault(group.name, group)
    return [*groups.values(), *([network] if network else [])]


def was_refused(last_step: LastStep) -> bool:
    """Whether a gradient that is not finite kept the step from being taken: skipped, or raised."""
    return last_step.skipped or bool(last_step.nonfinite)


def group_steps(updater: NetworkUpdater, last_step: LastStep) -> dict[str, GroupStep]:
    """Return what the updater's last step did to each normalisation group, by its name."""
    groups = normalization_groups(updater)
    if was_refused(last_step):
        return {group.name: GroupStep(None, None, None, None, None) for group in groups}
    return {group.name: _group_step(last_step, group) for group in groups}


def _group_step(last_step: LastStep, group: NormalizationGroup) -> GroupStep:
    layer = last_step.layers[group.layer]
    step = layer if group.kind == "layer" else layer.params[group.param]
    clipped = step.clipped_share if step.factor is None else step.clipped
    if group.kind == "network":
        return GroupStep(last_step.gradient_norm, step.factor, clipped, None, None)
    return GroupStep(
        step.gradient_norm, step.factor, clipped, step.learning_rate, step.update_ratio
    )


class Recorder(Listener):
    """What keeps, writes or shows every step: derive from it and override `write`.

    In a loop of your own call `record` after each step. A solver that has it as a listener needs no
    such call.

    Args:
        every: record the steps whose iteration is a multiple of it.

    Raises:
        ValueError, TypeError: ``every`` is no integer ≥ 1.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> class PrintNorms(fs.training.Recorder):
        ...     def write(self, updater, last_step, score):
        ...         print(last_step.iteration, score, last_step.layers["0"].gradient_norm)
        >>> w = np.array([3.0, 4.0])
        >>> config = fs.MultiLayerConfiguration(
        ...     updater=fs.Sgd(0.25), gradient_normalization="ClipL2PerLayer",
        ...     gradient_normalization_threshold=100.0)
        >>> updater, norms = fs.MultiLayerUpdater(config, {"0_W": w}), PrintNorms(every=2)
        >>> for _ in range(4):
        ...     score = float(w @ w)
        ...     updater.step({"0_W": 2 * w})
        ...     norms.record(updater, score)
        0 25.0 10.0
        2 1.5625 2.5
    """

    #: The steps that were recorded last, of whichever updaters. A class's attribute, as pickles
    #: have none.
    _recorded: tuple[tuple[int, int], ...] = ()

    def __init__(self, *, every: int = 1) -> None:
        self._every = at_least(1, type(self).__name__, "every", every)

    def record(self, updater: NetworkUpdater, score: float) -> None:
        """Record the step that the updater has just taken.

        Call it after ``updater.step(...)``, also after one that was skipped. Left alone: the
        updater.

        Args:
            updater: whose step it was.
            score: of the parameters before the step, as a solver has it.

        Raises:
            ValueError: there was no step yet, or it has been recorded already.
            TypeError: no updater, or no number.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> w = np.array([3.0, 4.0])
            >>> updater = fs.MultiLayerUpdater(
            ...     fs.MultiLayerConfiguration(updater=fs.Sgd(0.25)), {"0_W": w})
            >>> history = fs.HistoryListener()
            >>> for _ in range(3):
            ...     score = float(w @ w)
            ...     updater.step({"0_W": 2 * w})
            ...     history.record(updater, score)
            >>> history.history.score
            array([25.    ,  6.25  ,  1.5625])
        """
        where = f"{type(self).__name__}.record"
        if not isinstance(updater, _core.Updater):
            raise TypeError(
                f"{where}: updater: expected an updater such as MultiLayerUpdater, got "
                f"{type(updater).__name__}"
            )
        score = number(where, "score", score)
        last_step = updater.last_step
        if last_step is None:
            raise ValueError(f"{where}: expected a step before it, got none; call it after step()")
        if _identity(updater) in self._recorded:
            raise ValueError(
                f"{where}: expected a step since the last record, got none: that of iteration "
                f"{last_step.iteration} is recorded; call it once after each step()"
            )
        self._take(updater, last_step, score)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_recorded"}

    def write(self, updater: NetworkUpdater, last_step: LastStep, score: float) -> None:
        """Called with each step that is to be recorded; here it does nothing.

        Args:
            updater: whose step it was; to be looked at.
            last_step: ``updater.last_step``.
            score: of the parameters before the step.
        """

    def iteration_done(self, solver: StochasticGradientDescent, iteration: int) -> None:
        """Records the solver's step."""
        self._take(solver.updater, solver.last_step, solver.score)

    def _take(self, updater: NetworkUpdater, last_step: LastStep, score: float) -> None:
        if last_step.iteration % self._every == 0:
            self.write(updater, last_step, score)
        self._recorded = (*self._recorded[-_REMEMBERED:], _identity(updater))


def _identity(updater: NetworkUpdater) -> tuple[int, int]:
    """Of the updater's last step: no other step of any updater in this process has it."""
    last = updater._last()
    return (0, 0) if last is None else (last.updater, last.number)
