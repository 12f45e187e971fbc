"""
The native part of flatstep. Use the package flatstep instead.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy

__all__: list[str] = [
    "BucketMemory",
    "HyperParameter",
    "LastReport",
    "SlotReport",
    "SlotSettings",
    "Uninterrupted",
    "Updater",
    "UpdaterInfo",
    "available_isas",
    "check_layer_index",
    "check_parameters",
    "chunk_size",
    "code_block",
    "compiler",
    "get_num_threads",
    "isa",
    "max_counter",
    "parse_key",
    "policy_next",
    "schedule_value",
    "set_isa",
    "set_num_threads",
    "updater_registry",
    "validate_configuration",
    "validate_policy",
    "validate_schedule",
    "validate_updater",
]

class Uninterrupted:
    """
    A block for whose end Ctrl-C waits, in the main thread.
    """
    def __enter__(self) -> None: ...
    def __exit__(self, arg0: typing.Any, arg1: typing.Any, arg2: typing.Any) -> None: ...
    def __init__(self, in_main_thread: bool) -> None: ...

class HyperParameter:
    """
    An argument of an updater: default, legal interval, and its role: all but the plain ones may follow schedules.
    """
    @property
    def choices(self) -> list[str]: ...
    @property
    def default(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def high_included(self) -> bool: ...
    @property
    def kind(self) -> str: ...
    @property
    def low(self) -> float: ...
    @property
    def low_included(self) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def optional(self) -> bool: ...
    @property
    def role(self) -> str: ...

class UpdaterInfo:
    """
    An updater of the core's registry.
    """
    @property
    def hyper_parameters(self) -> list[HyperParameter]: ...
    @property
    def name(self) -> str: ...
    @property
    def state_names(self) -> list[str]: ...

class LastReport:
    """
    Which step the reports are of.
    """
    @property
    def epoch(self) -> int: ...
    @property
    def iteration(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def skipped(self) -> bool: ...
    @property
    def updater(self) -> int: ...

class SlotReport:
    """
    What the last step saw of one slot; None where there is nothing to say.
    """
    @property
    def clipped(self) -> bool: ...
    @property
    def clipped_share(self) -> float | None: ...
    @property
    def factor(self) -> float | None: ...
    @property
    def gradient_norm(self) -> float | None: ...
    @property
    def group_norm(self) -> float | None: ...
    @property
    def learning_rate(self) -> float | None: ...
    @property
    def nonfinite(self) -> bool: ...
    @property
    def parameter_norm(self) -> float | None: ...
    @property
    def state_nonfinite(self) -> bool: ...
    @property
    def trust_ratio(self) -> float | None: ...
    @property
    def update_norm(self) -> float | None: ...

class SlotSettings:
    """
    What one slot gets, as network, layer and parameter say together.
    """
    @property
    def bias(self) -> bool: ...
    @property
    def frozen(self) -> bool: ...
    @property
    def group(self) -> str: ...
    @property
    def l1(self) -> float: ...
    @property
    def l2(self) -> float: ...
    @property
    def master(self) -> str | None: ...
    @property
    def policy(self) -> str: ...
    @property
    def pretrain(self) -> bool: ...
    @property
    def state_storage(self) -> str: ...
    @property
    def statistic(self) -> bool: ...
    @property
    def strategy(self) -> str: ...
    @property
    def threshold(self) -> float | None: ...
    @property
    def updater(self) -> str: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def weight_decay_apply_lr(self) -> bool: ...

class BucketMemory:
    """
    Where the elements of a bucket lie.

    Members:

      parameters

      gradients

      reduced
    """

    __members__: typing.ClassVar[dict[str, BucketMemory]]
    gradients: typing.ClassVar[BucketMemory]
    parameters: typing.ClassVar[BucketMemory]
    reduced: typing.ClassVar[BucketMemory]
    @typing.overload
    def __eq__(self, other: BucketMemory) -> bool: ...
    @typing.overload
    def __eq__(self, other: typing.Any) -> bool: ...
    def __getstate__(self) -> int: ...
    def __hash__(self) -> int: ...
    def __index__(self) -> int: ...
    def __init__(self, value: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __int__(self) -> int: ...
    @typing.overload
    def __ne__(self, other: BucketMemory) -> bool: ...
    @typing.overload
    def __ne__(self, other: typing.Any) -> bool: ...
    def __repr__(self) -> str: ...
    def __setstate__(self, state: typing.SupportsInt | typing.SupportsIndex) -> None: ...
    def __str__(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class Updater:
    """
    What all updaters share; see MultiLayerUpdater.
    """
    def __init__(
        self, configuration: typing.Any, names: list, arrays: list, monitor: bool, ranks: typing.Any
    ) -> None: ...
    def _add_bucket(
        self,
        arg0: typing.SupportsInt | typing.SupportsIndex,
        arg1: list,
        arg2: typing.SupportsFloat | typing.SupportsIndex,
    ) -> None: ...
    def _alone(self, work: collections.abc.Callable) -> typing.Any:
        """
        What work() returns, called while no step of this updater can begin; RuntimeError where one is under way.
        """
    def _average(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> typing.Any: ...
    def _bucket(
        self,
        arg0: BucketMemory,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: typing.SupportsInt | typing.SupportsIndex,
        arg3: typing.Any,
    ) -> typing.Any: ...
    def _bucket_bytes(
        self, arg0: BucketMemory, arg1: typing.SupportsInt | typing.SupportsIndex
    ) -> list: ...
    def _bucket_sizes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> list: ...
    def _evaluation_point(
        self, arg0: typing.SupportsInt | typing.SupportsIndex, arg1: numpy.ndarray
    ) -> bool: ...
    def _kept(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> dict: ...
    def _last(self) -> LastReport | None: ...
    def _layout(self) -> list: ...
    def _learning_rate(
        self, arg0: typing.SupportsInt | typing.SupportsIndex, arg1: typing.Any, arg2: typing.Any
    ) -> float | None: ...
    def _let_go(self) -> None: ...
    def _look(self, arg0: typing.Any, arg1: bool) -> bool: ...
    def _master(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> numpy.ndarray: ...
    def _momentum(
        self, arg0: typing.SupportsInt | typing.SupportsIndex, arg1: typing.Any, arg2: typing.Any
    ) -> float | None: ...
    def _nonfinite_taken(self) -> list: ...
    def _pieces(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> list: ...
    def _put_bucket(
        self,
        arg0: BucketMemory,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: typing.SupportsInt | typing.SupportsIndex,
        arg3: typing.Any,
    ) -> None: ...
    def _rates(self) -> list: ...
    def _report(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> SlotReport: ...
    def _restore(
        self,
        arrays: list,
        rates: list,
        iteration: typing.SupportsInt | typing.SupportsIndex,
        epoch: typing.SupportsInt | typing.SupportsIndex,
        skipped_steps: typing.SupportsInt | typing.SupportsIndex,
    ) -> None:
        """
        Replace state arrays, given as (slot, array, values), rates and counters: all or nothing.
        """
    def _restore_sums(self, arg0: typing.Any) -> None: ...
    def _run_taken(self, arg0: bool) -> None: ...
    def _set_rates(self, arg0: list) -> None: ...
    def _settings(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> SlotSettings: ...
    def _state(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> dict: ...
    def _take(
        self,
        gradients: typing.Any,
        iteration: typing.Any,
        epoch: typing.Any,
        batch_size: typing.Any,
        gradient_scale: typing.Any,
        allow_copy: typing.Any,
        applies: bool,
    ) -> None: ...
    def _taken_dtypes(self) -> list: ...
    def _unscaled_learning_rate(
        self, arg0: typing.SupportsInt | typing.SupportsIndex, arg1: typing.Any, arg2: typing.Any
    ) -> float | None: ...
    def _updater_blocks(self) -> list: ...
    def _widen_bucket(
        self,
        arg0: typing.SupportsInt | typing.SupportsIndex,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: numpy.ndarray,
    ) -> None: ...
    def _write_state(
        self,
        arg0: typing.SupportsInt | typing.SupportsIndex,
        arg1: typing.SupportsInt | typing.SupportsIndex,
        arg2: numpy.ndarray,
    ) -> None: ...
    def _write_updates(
        self,
        arg0: typing.SupportsInt | typing.SupportsIndex,
        arg1: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def accumulate(
        self,
        gradients: collections.abc.Mapping[typing.Any, typing.Any]
        | collections.abc.Sequence[typing.Any]
        | numpy.ndarray,
        *,
        allow_copy: bool = False,
    ) -> bool:
        """
        Add the gradients to a buffer that the next ``step()`` without arguments uses and clears.

        Each of these micro-batches is looked at as a step looks: where one holds NaN or an infinity, nothing
        of it is added. Under ``on_nonfinite="raise"`` that is an error; under "skip" it is left out and counts
        in ``skipped_steps``; under "propagate" nobody looks. A sum that overflows is the step's to refuse,
        which keeps the buffer: see ``discard_accumulated``.

        Args:
            gradients: in any form that ``step`` takes.
            allow_copy: as for ``step``.

        Returns:
            Whether they were added.

        Written: the buffer. Left alone: gradients, parameters, state.

        Raises:
            NonFiniteGradientError: under ``on_nonfinite="raise"``; nothing of these gradients was added.
            TypeError, ValueError, ParameterKeyError: bad input; nothing was added.
        """
    def adopt_parameters(self) -> None:
        """
        Take over what somebody else has written into parameters whose master is full.

        A step goes on from the master, float32 numbers that the updater keeps, and writes the parameter: an
        assignment to the array alone would be gone with the next step. Where an element is what its master
        rounds to, the master stays; where it is not, the element becomes the master.
        """
    def apply_learning_rate_score_decay(self) -> int:
        """
        Lower the rates of the parameters whose policy is "Score": lr ← lr·(decay_rate + 1e-5).

        A `StochasticGradientDescent` calls it where the score has stopped getting better; in a loop of your
        own you decide when that is.

        Returns:
            How many parameters' rates that were.

        Written: these rates, which are state.
        """
    def bind_gradients(
        self,
        gradients: collections.abc.Mapping[typing.Any, typing.Any]
        | collections.abc.Sequence[typing.Any]
        | numpy.ndarray,
    ) -> None:
        """
        Keep these gradient arrays for every ``step()`` without arguments: no lookup per call.

        The arrays stay the caller's: write each new gradient into them (``grad[...] = new``). A name that is
        bound to a new array (``grad = new``) leaves the old one here.
        """
    def discard_accumulated(self) -> None:
        """
        Forget what ``accumulate`` has added up.
        """
    def step(
        self,
        gradients: collections.abc.Mapping[typing.Any, typing.Any]
        | collections.abc.Sequence[typing.Any]
        | numpy.ndarray
        | None = None,
        *,
        iteration: typing.SupportsIndex | None = None,
        epoch: typing.SupportsIndex | None = None,
        batch_size: typing.SupportsIndex = 1,
        gradient_scale: typing.SupportsFloat = 1.0,
        allow_copy: bool = False,
    ) -> None:
        """
        Apply one step: ``params -= update``, in one fused pass.

        Args:
            gradients: in any form that the parameters may have (a dict by key in any order, a nested mapping, a
                sequence, one flat array), each of its parameter's dtype, shape and memory order. A frozen
                layer's may be missing. None: the accumulated gradients, else the bound ones. Gradients that are
                given leave accumulated ones for a later step.
            iteration: default ``updater.iteration``, which is one more afterwards.
            epoch: default ``updater.epoch``, which keeps what is given.
            batch_size: what to divide by where ``mini_batch`` is set. Give it when the gradients are sums over
                the batch; leave it at 1 when they are means.
            gradient_scale: what every gradient is multiplied by before all else, 1e-30 to 1e30: ``1/1024``
                where the loss was scaled by 1024. Norms, thresholds and ``last_step`` are about the product;
                running statistics are not scaled. ``on_nonfinite`` looks at the gradient, not at the product,
                which a scale above 1 may take out of the dtype's range.
            allow_copy: whether a gradient that is not in its parameter's memory order (a transposed matrix, a
                slice) is copied into it, at the price of that copy, and not refused.

        Written: parameters, state, counters. Left alone: the gradients.

        Raises:
            NonFiniteGradientError: under ``on_nonfinite="raise"``; nothing has changed.
            TypeError, ValueError, ParameterKeyError: bad input; nothing has changed.
        """
    def update(
        self,
        gradients: collections.abc.Mapping[typing.Any, typing.Any]
        | collections.abc.Sequence[typing.Any]
        | numpy.ndarray
        | None = None,
        *,
        iteration: typing.SupportsIndex | None = None,
        epoch: typing.SupportsIndex | None = None,
        batch_size: typing.SupportsIndex = 1,
        gradient_scale: typing.SupportsFloat = 1.0,
        allow_copy: bool = False,
    ) -> None:
        """
        Turn the gradients into updates, in place, as DL4J does; subtract them yourself.

        Arguments and errors as for ``step``, but that there is no copy to allow. Written: the gradients (0 for frozen layers), state, counters.
        Left alone: the parameters.
        """
    @property
    def _is_wide(self) -> bool: ...
    @property
    def _made(self) -> bool:
        """
        Whether __init__ has run.
        """
    @property
    def accumulated(self) -> typing.Any:
        """
        The accumulated gradients by key, as live views; None where there are none.
        """
    @property
    def epoch(self) -> int:
        """
        The epoch, for schedules of type EPOCH; yours to advance.
        """
    @epoch.setter
    def epoch(self, arg1: typing.Any) -> None: ...
    @property
    def iteration(self) -> int:
        """
        The iteration that the next step is, from 0.
        """
    @iteration.setter
    def iteration(self, arg1: typing.Any) -> None: ...
    @property
    def nbytes(self) -> int:
        """
        The bytes that are kept besides the parameters: state, masters, averages.
        """
    @property
    def skipped_steps(self) -> int:
        """
        How many steps ``on_nonfinite="skip"`` has refused.
        """
    @skipped_steps.setter
    def skipped_steps(self, arg1: typing.Any) -> None: ...
    @property
    def state_view(self) -> numpy.ndarray:
        """
        The flat updater state, in DL4J's order: one live array; where some of it is kept in fewer bits, a read-only array of its numbers.
        """

def available_isas() -> list[str]:
    """
    The instruction sets that this machine can run, best first.
    """

def check_layer_index(key: str, layer: str, param: str) -> None:
    """
    Check that the layer of a MultiLayerUpdater's parameter is an integer.
    """

def check_parameters(
    keys: collections.abc.Sequence[str], arrays: collections.abc.Sequence[typing.Any]
) -> None:
    """
    Raises for an array that cannot be a parameter, each by itself.
    """

def get_num_threads() -> int:
    """
    How many threads a large step uses.
    """

def isa() -> str:
    """
    The instruction set in use.
    """

def parse_key(key: str, graph: bool) -> tuple[str, str]:
    """
    Split a key into layer and parameter type.
    """

def policy_next(
    policy: typing.Any,
    learning_rate: typing.SupportsFloat | typing.SupportsIndex,
    iteration: typing.SupportsInt | typing.SupportsIndex,
) -> float:
    """
    The learning rate that a policy makes of the one that the step before left.
    """

def schedule_value(
    schedule: typing.Any,
    iteration: typing.SupportsInt | typing.SupportsIndex,
    epoch: typing.SupportsInt | typing.SupportsIndex,
) -> float:
    """
    A schedule's value at that iteration and epoch.
    """

def set_isa(name: typing.Any) -> None:
    """
    Use that instruction set from the next step on.
    """

def set_num_threads(n: typing.Any) -> None:
    """
    Set how many threads a large step uses.
    """

def updater_registry() -> list[UpdaterInfo]:
    """
    All updaters that the core has, by name.
    """

def validate_configuration(configuration: typing.Any) -> None:
    """
    Raises for settings that are not legal, whatever parameters there are.
    """

def validate_policy(policy: typing.Any) -> None:
    """
    Raises for a learning-rate policy whose formula cannot take its arguments.
    """

def validate_schedule(schedule: typing.Any) -> None:
    """
    Raises for a schedule whose formula cannot take its arguments.
    """

def validate_updater(updater: typing.Any) -> None:
    """
    Raises for an updater with a hyper-parameter out of its range.
    """

__version__: str
chunk_size: int
code_block: int
compiler: str
max_counter: int
