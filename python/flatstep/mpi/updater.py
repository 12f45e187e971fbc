"""The updater of a network that several processes train."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from flatstep import _core
from flatstep._coerce import at_least
from flatstep._shown import shown
from flatstep.checkpoint.container import bytes_of
from flatstep.configuration import MultiLayerConfiguration
from flatstep.errors import NonFiniteGradientError
from flatstep.names import LayerOf, named_by_rules
from flatstep.network_updater import NamedParameters, NetworkUpdater
from flatstep.parameters import Arrays, KeyStyle

from .ranks import Ranks, uninterrupted
from .saving import save
from .transport import Transport

__all__ = ["DistributedUpdater"]

_MOST_BUCKET_BYTES = 1 << 30


class DistributedUpdater(NetworkUpdater):
    r"""The updater of a network that several processes train, each on gradients of its own.

    With gradients :math:`g_0, …, g_{W-1}` of W ranks a step is that of one process on

    .. math:: g = ((g_0 + g_1) + g_2 + …)\cdot\tfrac{1}{W}

    (without the last factor where ``reduce="sum"``), in the updater's dtype, each operation
    rounded: to the bit, with the norms of whole layers and of the whole network, on any MPI, any
    number of threads. Every rank has all parameters and is given all of its gradients; the state,
    masters of parameters included, is sharded, each rank has 1/W of it. A step moves 2·N·(W−1)/W
    elements per rank: gradients in the dtype that they are given in, which is one for each
    parameter on all ranks, and parameters in theirs.

    All ranks make the updater, and call ``step``, ``update``, ``accumulate``,
    ``set_learning_rate``, ``clear_learning_rate``, ``apply_learning_rate_score_decay``,
    ``averaged``, ``evaluation`` and ``save`` together, in the same order. They succeed on all ranks
    or raise on all: where one rank's gradients are refused, every rank raises that error, whose
    text begins with the rank, and nothing has changed anywhere.

    Args:
        configuration: what to do.
        params: the parameters, in any form that `flatstep.create_updater` takes; the same on every
            rank, down to the values.
        comm: mpi4py's communicator; None: ``MPI.COMM_WORLD``.
        shard: whether each rank has its part of the state alone; else every rank has all of it, and
            takes the whole step.
        reduce: "mean" or "sum" of the ranks' gradients.
        deterministic: whether they are added in the order of the ranks. Else MPI adds as it
            likes: perhaps sooner, and with other bits for another MPI or number of ranks. It adds
            numbers of the updater's dtype, so gradients travel in that.
        bucket_bytes: how much of a gradient of the updater's dtype travels in one message.
        layer_of: as of `flatstep.create_updater`.
        monitor: as of `flatstep.MultiLayerUpdater`.

    Raises:
        ImportError: mpi4py or MPI is not installed.
        ValueError, TypeError, ParameterKeyError: as of `flatstep.create_updater`, or what the ranks
            were given differs: the configuration (but for CustomUpdaters whose class is not
            registered), layout, dtype, values of parameters, arguments. On every rank.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> W = np.ones((2, 3))
        >>> config = fs.MultiLayerConfiguration(updater=fs.Adam(0.5))
        >>> updater = fs.mpi.DistributedUpdater(config, {"0_W": W})  # mpiexec -n 4 python …
        >>> updater.step({"0_W": np.ones((2, 3))})  # this rank's gradients
        >>> W[0].round(6)
        array([0.5, 0.5, 0.5])
    """

    key_style: KeyStyle  # type: ignore[misc]  # that of the parameters' names
    _ranks: Transport

    def __init__(
        self,
        configuration: MultiLayerConfiguration,
        params: Arrays | NDArray[Any],
        *,
        comm: Any = None,
        shard: bool = True,
        reduce: Literal["mean", "sum"] = "mean",
        deterministic: bool = True,
        bucket_bytes: int = 1 << 20,
        layer_of: LayerOf | None = None,
        monitor: bool = False,
    ) -> None:
        ranks = Ranks.of(comm)
        error: BaseException | None = None
        facts: dict[str, Any] = {}
        with uninterrupted():
            try:
                if reduce not in ("mean", "sum"):
                    raise ValueError(f'reduce: expected "mean" or "sum", got {shown(reduce)}')
                for name, flag in (("shard", shard), ("deterministic", deterministic)):
                    if not isinstance(flag, (bool, np.bool_)):
                        raise TypeError(
                            f"{name}: expected True or False, got {type(flag).__name__}"
                        )
                bucket_bytes = at_least(1, "DistributedUpdater", "bucket_bytes", bucket_bytes)
                if bucket_bytes > _MOST_BUCKET_BYTES:
                    raise ValueError(
                        f"bucket_bytes: expected at most 2**30, as MPI counts elements in 32 bits, "
                        f"got {bucket_bytes}"
                    )
                if isinstance(params, StyledParameters):
                    named: NamedParameters = params
                    self.key_style = params.style
                else:
                    found, self.key_style = named_by_rules(params, layer_of)
                    named = NamedParameters(found)
                self._ranks = Transport(
                    ranks,
                    shard=bool(shard),
                    mean=reduce == "mean",
                    deterministic=bool(deterministic),
                    bucket_bytes=bucket_bytes,
                )
                super().__init__(configuration, named, monitor=monitor)
                facts = self._facts(isinstance(params, StyledParameters)) | {
                    "shard": bool(shard),
                    "reduce": reduce,
                    "deterministic": bool(deterministic),
                    "bucket_bytes": bucket_bytes,
                    "monitor": bool(monitor),
                }
            except BaseException as raised:
                error = raised
            ranks.compare("DistributedUpdater", error, facts)
            if ranks.size > 1:
                self._ranks.attach(self, self.dtype)
            #: By key, which elements of the parameter, as it lies in memory, are this rank's.
            self._shard = {
                slot.key: slice(begin, begin + size)
                for slot, (begin, size) in zip(
                    self._slots, self._pieces(ranks.rank if shard else 0), strict=True
                )
            }

    # ------------------------------------------------------------------------------- what it is

    @property
    def rank(self) -> int:
        """This process's number among the ranks."""
        return self._ranks.rank

    @property
    def size(self) -> int:
        """How many ranks there are: W."""
        return self._ranks.size

    @property
    def shard(self) -> dict[str, slice]:
        """By key, which elements of a parameter have their state on this rank: those of
        ``array.reshape(-1, order=…)`` in the array's own memory order. ``state``, ``averages`` and
        ``master`` of a parameter that is not wholly here are that stretch, in one dimension.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> config = fs.MultiLayerConfiguration()
            >>> fs.mpi.DistributedUpdater(config, {"0_W": np.ones(5)}).shard  # of one process
            {'0_W': slice(0, 5, None)}
        """
        if not self._ranks.shard or self.size == 1:
            return {slot.key: slice(0, slot.size) for slot in self._slots}
        return dict(self._shard)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, rank {self.rank} of {self.size}>"

    def _facts(self, are_overwritten: bool) -> dict[str, Any]:
        """What must be the same on every rank, by name.

        Args:
            are_overwritten: whether the values of the parameters are still to come.
        """
        facts: dict[str, Any] = {
            f"layout of {slot.key!r}": (slot.layer, slot.param, slot.shape, slot.order)
            for slot in self._slots
        }
        facts = {
            "list of keys": [slot.key for slot in self._slots],
            "dtype": str(self.dtype),
            **{f"dtype of parameter {p.key!r}": str(p.array.dtype) for p in self._named},
            **facts,
        }
        try:
            data = self._configuration.to_dict()
        except (TypeError, ValueError):  # what no file can hold: a CustomUpdater, a function
            data = {}
        facts |= {f"configuration.{name}": value for name, value in data.items()}
        if are_overwritten:
            return facts
        for slot, parameter in zip(self._slots, self._named, strict=True):
            flat = parameter.array.reshape(-1, order=slot.order)
            facts[f"values of parameter {slot.key!r} (CRC-32)"] = zlib.crc32(bytes_of(flat))
        return facts

    # ------------------------------------------------------------------------------------ steps

    def step(  # type: ignore[override]
        self,
        gradients: Any = None,
        *,
        iteration: int | None = None,
        epoch: int | None = None,
        batch_size: int = 1,
        gradient_scale: float = 1.0,
        allow_copy: bool = False,
    ) -> None:
        """One step, of all ranks: ``params -= update``, the update being that of the reduced
        gradient. Collective.

        Args:
            gradients: this rank's, in any form that the parameters may have, as of
                `MultiLayerUpdater.step`. None: the accumulated ones, else the bound ones.
            iteration, epoch, batch_size, gradient_scale: as there; the same on every rank. Where
                gradients are sums over a batch, ``batch_size`` is for ``reduce="sum"`` that of all
                ranks together.
            allow_copy: as there.

        Written: parameters, on every rank; state; counters. Left alone: the gradients.

        Raises:
            NonFiniteGradientError: under ``on_nonfinite="raise"``, on every rank; the text says
                whose gradients they were. Nothing has changed.
            TypeError, ValueError, ParameterKeyError: what some rank was given is refused, or
                differs; on every rank. Nothing has changed.
            RuntimeError: a rank has ended its program. Nothing has changed.
        """
        self._run(True, gradients, iteration, epoch, batch_size, gradient_scale, allow_copy)

    def update(  # type: ignore[override]
        self,
        gradients: Any = None,
        *,
        iteration: int | None = None,
        epoch: int | None = None,
        batch_size: int = 1,
        gradient_scale: float = 1.0,
        allow_copy: bool = False,
    ) -> None:
        """Turn each rank's gradients into the update of the reduced gradient, the same on all.
        Collective.

        Arguments and errors as of `step`. Written: the gradients, rounded to their dtype, state,
        counters. Left alone: the parameters.
        """
        self._run(False, gradients, iteration, epoch, batch_size, gradient_scale, allow_copy)

    def _run(
        self,
        applies: bool,
        gradients: Any,
        iteration: int | None,
        epoch: int | None,
        batch_size: int,
        gradient_scale: float,
        allow_copy: bool,
    ) -> None:
        given = (gradients, iteration, epoch, batch_size, gradient_scale, allow_copy)
        where = "step" if applies else "update"
        with uninterrupted():
            if self.size == 1:
                method = super().step if applies else super().update
                return method(
                    gradients,
                    iteration=iteration,
                    epoch=epoch,
                    batch_size=batch_size,
                    gradient_scale=gradient_scale,
                    allow_copy=allow_copy,
                )
            ranks = self._ranks.ranks
            voted = False

            def work() -> None:
                nonlocal voted
                error: BaseException | None = None
                facts: dict[str, int | float] = {}
                try:
                    self._take(*given, applies)
                    facts = {
                        "dtypes of gradients": zlib.crc32(" ".join(self._taken_dtypes()).encode()),
                        "iteration": int(self.iteration if iteration is None else iteration),
                        "epoch": int(self.epoch if epoch is None else epoch),
                        "batch_size": int(batch_size),
                        "gradient_scale": float(gradient_scale),
                        "count of skipped steps": self.skipped_steps,
                    }
                except BaseException as raised:
                    error = raised
                voted = True
                try:
                    ranks.vote(where, error, self._gradient_dtypes, **facts)
                    self._step_together(applies)
                finally:
                    self._let_go()

            try:
                self._alone(work)
            except BaseException as error:
                if not voted:  # a step is under way in another thread
                    ranks.vote(where, error)
                raise

    def _gradient_dtypes(self) -> dict[str, str]:
        """Those that were taken, as facts by name."""
        dtypes = self._taken_dtypes() or [str(self.dtype)] * len(self._slots)
        return {
            f'dtype of gradient "{slot.key}"': dtype
            for slot, dtype in zip(self._slots, dtypes, strict=True)
        }

    def _step_together(self, applies: bool) -> None:
        """What is left once all ranks have said that they will."""
        transport = self._ranks
        refused: BaseException | None = None
        done = False
        with transport.fatal:
            if transport.shard:
                memory = _core.BucketMemory
                transport.begin(memory.parameters if applies else memory.gradients)
            else:
                transport.reduce_all()
            try:
                self._run_taken(applies)
                last = self._last()
                done = last is not None and not last.skipped
            except BaseException as error:
                if transport.ranks.is_broken:
                    raise
                refused = error  # on every rank
            if transport.shard:
                transport.finish(done)
            elif done and not applies:
                transport.spread_reduced_gradients()
        if isinstance(refused, NonFiniteGradientError):
            self._raise_nonfinite(refused)
        if refused is not None:
            raise refused

    def _raise_nonfinite(self, error: NonFiniteGradientError) -> NoReturn:
        """The error of the reduced gradients, which names the ranks whose own are not finite."""
        found = self._ranks.ranks.gathered(list(self._nonfinite_taken()))
        whose = [
            f"rank {rank}: " + ", ".join(f'"{key}"' for key in keys)
            for rank, keys in enumerate(found)
            if keys
        ]
        origin = "; ".join(whose) or "none of a rank's own, only the ranks' sum"
        raise NonFiniteGradientError(
            f"{error} (not finite were those of {origin})", error.keys
        ) from None

    def accumulate(self, gradients: Any, *, allow_copy: bool = False) -> bool:
        """Add this rank's gradients to its buffer, which the next ``step()`` reduces. Collective.

        As of `MultiLayerUpdater.accumulate`; where one rank's micro-batch is refused or left out,
        every rank's is. Each rank adds up its own, and only the sums travel, in the updater's
        dtype: with n micro-batches the reduced gradient is Σ over ranks of Σ over micro-batches, in
        this order.

        Returns:
            Whether they were added.
        """
        with uninterrupted():
            if self.size == 1:
                return super().accumulate(gradients, allow_copy=allow_copy)
            error: BaseException | None = None
            finite = True
            try:
                finite = self._look(gradients, bool(allow_copy))
            except BaseException as raised:
                error = raised
            ranks = self._ranks.ranks
            ranks.vote("accumulate", error)
            all_finite = np.array(int(finite), np.int64)
            ranks.comm.Allreduce(ranks.mpi.IN_PLACE, all_finite, ranks.mpi.MIN)
            if not all_finite:
                self.skipped_steps += 1
                return False
            return super().accumulate(gradients, allow_copy=allow_copy)

    # ------------------------------------------------------------------------------------ rates

    def set_learning_rate(
        self, value: float, layer: str | int | None = None, param: str | None = None
    ) -> None:
        """As of `MultiLayerUpdater`; on every rank the same. Collective."""
        with self._rates_together("set_learning_rate"):
            super().set_learning_rate(value, layer, param)

    def clear_learning_rate(self, layer: str | int | None = None, param: str | None = None) -> None:
        """As of `MultiLayerUpdater`; on every rank the same. Collective."""
        with self._rates_together("clear_learning_rate"):
            super().clear_learning_rate(layer, param)

    def apply_learning_rate_score_decay(self) -> int:
        """As of `MultiLayerUpdater`; on every rank the same. Collective."""
        with self._rates_together("apply_learning_rate_score_decay"):
            return super().apply_learning_rate_score_decay()

    @contextmanager
    def _rates_together(self, where: str) -> Iterator[None]:
        """Rates are changed by all ranks to the same, or are what they were."""
        with uninterrupted():
            before = self._rates()
            error: BaseException | None = None
            try:
                yield
            except BaseException as raised:
                error = raised
            if self.size == 1 and error is None:
                return
            try:
                self._ranks.ranks.compare(where, error, {"rates": self._rates()})
            except BaseException:
                if error is None:
                    self._set_rates(before)
                raise

    # ----------------------------------------------------------------------------------- points

    @contextmanager
    def _replaced(
        self, pairs: list[tuple[NDArray[Any], NDArray[Any]]], what: str
    ) -> Iterator[None]:
        """Each rank puts its stretch of the points into its parameters, and all get them."""
        if not self._is_sharded:
            with super()._replaced(pairs, what):
                yield
            return
        with uninterrupted():
            self._ranks.ranks.vote(what, None)
            kept = [array.copy() for array, _ in pairs]
        iteration, shown_before = self.iteration, self._shows
        try:
            self._shows = what
            self._spread(pairs)
            yield
        finally:
            self._spread([(array, before) for (array, _), before in zip(pairs, kept, strict=True)])
            self._shows = shown_before
        if self.iteration != iteration:
            raise RuntimeError(
                f"{what}: expected no step inside, got {self.iteration - iteration}; the "
                "parameters are those from before it, the state is not: step outside of the with "
                "statement"
            )

    def _spread(self, pairs: list[tuple[NDArray[Any], NDArray[Any]]]) -> None:
        with uninterrupted():
            for array, values in pairs:
                array[...] = values
            self._ranks.spread(_core.BucketMemory.parameters)

    @property
    def _is_sharded(self) -> bool:
        return self._ranks.is_sharded

    def _own_part(self, place: int) -> NDArray[Any]:
        """This rank's stretch of a parameter, where it lies."""
        slot = self._slots[place]
        flat: NDArray[Any] = self._named[place].array.reshape(-1, order=slot.order)
        return flat[self.shard[slot.key]]

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """As of `MultiLayerUpdater`. Collective."""
        if not self._is_sharded:
            with super().averaged():
                yield
            return
        pairs = []
        for place, slot in enumerate(self._slots):
            if slot.layer in self._frozen:
                continue
            part = self._own_part(place)
            pairs.append((part, self.averages(slot.key).reshape(-1, order=slot.order)))
        with self._replaced(pairs, "averaged"):
            yield

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """As of `MultiLayerUpdater`. Collective."""
        if not self._is_sharded:
            with super().evaluation():
                yield
            return
        pairs = []
        anywhere = False
        for place, slot in enumerate(self._slots):
            part = self._own_part(place)
            whole = part.size == slot.size
            point = np.empty_like(self._named[place].array if whole else part, dtype=self.dtype)
            if self._evaluation_point(place, point):
                anywhere = True
                pairs.append((part, point.reshape(-1, order=slot.order)))
        if not any(self._ranks.ranks.gathered(anywhere)):
            raise ValueError(
                "evaluation: expected an updater that trains other points than it is evaluated at, "
                f"got {self._configuration.updater!r}; evaluate the parameters as they are"
            )
        with self._replaced(pairs, "evaluation"):
            yield

    # ------------------------------------------------------------------------------------ files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the checkpoint that one process with this state would write, byte for byte.
        Collective.

        Rank 0 writes the file; what the others have comes to it piece by piece, so no rank ever
        holds another's state. `flatstep.mpi.load_updater` reads it on any number of ranks,
        `flatstep.load_updater` on one process. Accumulated gradients are added up over the ranks
        in the order of the ranks.

        Args:
            path: on rank 0; as of `MultiLayerUpdater.save`.

        Raises:
            ValueError, TypeError, OSError, ImportError: as of `MultiLayerUpdater.save`, on every
                rank.
        """
        with uninterrupted():
            save(self, self._ranks, path)

    # --------------------------------------------------------------------------- what it is not

    def _refuse(self, what: str, why: str) -> NoReturn:
        raise TypeError(f"{what}: a DistributedUpdater has none: {why}")

    def clone(self, params: Arrays | None = None) -> NoReturn:
        """Refused: an updater is made by all ranks, together."""
        self._refuse("clone", "its ranks make it together; save it, and load_updater the file")

    def state_dict(self) -> NoReturn:
        """Refused: no rank has all of the state."""
        self._refuse(
            "state_dict", "no rank has all of the state; save(path) writes it, shard by shard"
        )

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> NoReturn:
        """Refused: no rank has all of the state."""
        self._refuse(
            "load_state_dict",
            "no rank has all of the state; flatstep.mpi.load_updater reads a checkpoint",
        )

    def snapshot(self) -> NoReturn:
        """Refused: no rank has all of the state."""
        self._refuse("snapshot", "no rank has all of the state; save(path) to a file")

    def restore(self, snapshot: Any) -> NoReturn:
        """Refused: no rank has all of the state."""
        self._refuse("restore", "no rank has all of the state; load_updater from a file")

    def __reduce__(self) -> NoReturn:
        self._refuse("pickle and copy", "a communicator cannot be copied; save it to a file")

    def __eq__(self, other: object) -> bool:
        """Whether it is this very updater: none has all of the state, to be compared."""
        return self is other

    def __hash__(self) -> int:
        return id(self)


class StyledParameters(NamedParameters):
    """Parameters whose names and style of names are settled, and whose values are still to come
    from a checkpoint."""

    style: KeyStyle

    @staticmethod
    def of(named: NamedParameters, style: KeyStyle) -> StyledParameters:
        made = StyledParameters(named)
        made.style = style
        return made
