"""What moves between ranks in a step: buckets of gradients one way, of parameters the other.

A part's gradients travel to the rank that has the part, which adds them up in the order of the
ranks; what the step makes of them travels to all others: 2·N·(W−1)/W elements for each of W ranks,
and no more. Messages do not block: while one bucket is added up, looked at or stepped, the next are
on their way. All buckets of gradients are sent at once, and as many are received ahead as `_AHEAD`
says.

Messages are bytes: elements travel in the dtype in which they are given. Gradients become numbers
of the updater's dtype where they are added up, and parameters come back as they are kept; what
masters have beside them stays with the part.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatstep import _core

from .ranks import Fatal, Ranks

__all__ = ["Transport"]

_GRADIENTS, _RESULTS = 1, 2
#: How many buckets of each other rank's gradients are on their way at a time.
_AHEAD = 3

_Array = NDArray[Any]
_Bytes = NDArray[np.uint8]
_PARAMETERS = _core.BucketMemory.parameters
_GIVEN = _core.BucketMemory.gradients
_REDUCED = _core.BucketMemory.reduced


class Transport:
    """The hooks that the core calls in a step (`exchange`, `agree`, `arrive`, `leave`), and what
    stands around it. One of an updater."""

    def __init__(
        self, ranks: Ranks, *, shard: bool, mean: bool, deterministic: bool, bucket_bytes: int
    ) -> None:
        self.ranks = ranks
        self.comm = ranks.comm
        # The core reads these.
        self.rank = ranks.rank
        self.size = ranks.size
        self.shard = shard
        self.bucket_bytes = bucket_bytes
        self._deterministic = deterministic
        self._mean = mean
        #: Times of the last step, where somebody wants them: (what, bucket, begin, end).
        self.timeline: list[tuple[str, int, float, float]] | None = None
        self.fatal = Fatal(ranks)
        self._failure: BaseException | None = None
        self._returns = False

    @property
    def is_sharded(self) -> bool:
        """Whether no rank has all of the state."""
        return self.shard and self.size > 1

    def attach(self, updater: _core.Updater, dtype: np.dtype[Any]) -> None:
        """Learn of the updater's buckets, once it is made."""
        self._updater = updater
        self._dtype = dtype
        # 1/W is rounded to the dtype, then each element is multiplied by it.
        self._scale = float(dtype.type(1) / dtype.type(self.size)) if self._mean else 1.0
        self._sizes = [list(updater._bucket_sizes(part)) for part in range(self.size)]
        #: By part and bucket; those of gradients for the dtypes that were last given.
        memories = (_PARAMETERS, _GIVEN, _REDUCED)
        self._bytes = {memory: self._bytes_of(memory) for memory in memories}
        self._given_dtypes: list[str] = []
        most = max(self._sizes[self.rank], default=0) * dtype.itemsize
        self._own = range(len(self._sizes[self.rank]))
        self._others = [(self.rank + d) % self.size for d in range(1, self.size)]
        self._packed: dict[tuple[_core.BucketMemory, int, int], _Bytes] = {}
        self._staging = {
            other: [np.empty(most, np.uint8) for _ in range(min(_AHEAD, len(self._own)))]
            for other in (self._others if self._deterministic else [])
        }
        self._sends: list[Any] = []
        self._receives: dict[int, list[Any]] = {}
        self._results: list[Any] = []
        self._to_put: list[tuple[int, int, _Bytes]] = []

    def _bytes_of(self, memory: _core.BucketMemory) -> list[list[int]]:
        return [self._updater._bucket_bytes(memory, part) for part in range(self.size)]

    # -------------------------------------------------------------------------------- the hooks

    def exchange(self, sums: _Array) -> None:
        """Add up what the ranks know of their chunks."""
        with self.fatal:
            self.comm.Allreduce(self.ranks.mpi.IN_PLACE, sums, self.ranks.mpi.SUM)

    def agree(self, error: BaseException | None) -> None:
        """Raise, on every rank, where an update could not be made on one."""
        self.ranks.vote("step", error)

    def arrive(self, k: int) -> None:
        """Wait for the others' gradients of this rank's bucket, and add them up."""
        with self.fatal:
            self._arrive(k)

    def leave(self, k: int) -> None:
        """Send what is final of this rank's bucket to the others."""
        begin = time.perf_counter()
        try:
            with self.fatal:
                self._send_results(k)
        except BaseException as error:  # the step has no way back: `finish` raises it
            self._failure = self._failure or error
        self._note("send", k, begin, time.perf_counter())

    def _arrive(self, k: int) -> None:
        begin = time.perf_counter()
        if self._deterministic:
            self.ranks.mpi.Request.Waitall(self._receives.pop(k))
            arrived = time.perf_counter()
            terms = [
                None if rank == self.rank else self._staged(rank, k) for rank in range(self.size)
            ]
            self._updater._add_bucket(k, terms, self._scale)
            if k + _AHEAD in self._own:
                self._receive_gradients(k + _AHEAD)
        else:
            arrived = time.perf_counter()
            out = self._array(_REDUCED, self.rank, k)
            if self._mean:
                numbers = out.view(self._dtype)
                numbers *= self._dtype.type(self._scale)
            if not self.shard:
                self._updater._put_bucket(_REDUCED, self.rank, k, out)
        self._note("wait", k, begin, arrived)
        self._note("add", k, arrived, time.perf_counter())

    # --------------------------------------------------------------------------- around a step

    def begin(self, results: _core.BucketMemory) -> None:
        """Start to send this rank's gradients.

        Args:
            results: what is to travel back.
        """
        begin = time.perf_counter()
        self._memory = results
        self._returns = False
        self._failure = None
        dtypes = self._updater._taken_dtypes()
        if dtypes != self._given_dtypes:
            self._bytes[_GIVEN] = self._bytes_of(_GIVEN)
            self._given_dtypes = dtypes
        if self._deterministic:
            for k in range(min(_AHEAD, len(self._own))):
                self._receive_gradients(k)
            for k in range(max(map(len, self._sizes))):
                for other in self._others:
                    if k < len(self._sizes[other]):
                        array = self._sent(_GIVEN, other, k)
                        self._sends.append(self.comm.Isend(array, other, _GRADIENTS))
        else:
            self._reduce_scatter()
        self._note("post", -1, begin, time.perf_counter())

    def reduce_all(self) -> None:
        """The whole reduced gradient, for every rank."""
        self.begin(_REDUCED)
        for k in self._own:
            self.arrive(k)
            self.leave(k)
        self.finish(True)

    def finish(self, done: bool) -> None:
        """Wait until all that this step has sent and received is there.

        Args:
            done: whether the step was taken, so that something comes back.
        """
        if self._failure is not None:
            raise self._failure
        begin = time.perf_counter()
        if done and not self._returns:
            self._receive_results()
        wait = self.ranks.mpi.Request.Waitall
        wait(self._results)
        self._results.clear()
        for part, k, array in self._to_put:
            self._updater._put_bucket(self._memory, part, k, array)
        self._to_put.clear()
        wait(self._sends)
        self._sends.clear()
        self._note("finish", -1, begin, time.perf_counter())

    def spread(self, memory: _core.BucketMemory) -> None:
        """Send this rank's part of that memory to all others, and receive theirs."""
        self._memory = memory
        self._returns = False
        for k in self._own:
            self._send_results(k)
        self.finish(True)

    def spread_reduced_gradients(self) -> None:
        """Updates, which lie where the reduced gradients were, into the caller's gradients."""
        for part, sizes in enumerate(self._sizes):
            for k in range(len(sizes)):
                self._updater._write_updates(part, k)

    # --------------------------------------------------------------------------------- messages

    def _array(self, memory: _core.BucketMemory, part: int, k: int) -> _Bytes:
        """A bucket's memory, or an array of its size for what does not lie in one place."""
        found: _Bytes | None = self._updater._bucket(memory, part, k, None)
        return self._room(memory, part, k) if found is None else found

    def _room(self, memory: _core.BucketMemory, part: int, k: int) -> _Bytes:
        key = (memory, part, k)
        if key not in self._packed:
            self._packed[key] = np.empty(self._sizes[part][k] * self._dtype.itemsize, np.uint8)
        return self._packed[key][: self._bytes[memory][part][k]]

    def _sent(self, memory: _core.BucketMemory, part: int, k: int) -> _Bytes:
        """A bucket's bytes in one place: where they lie, or copied."""
        found: _Bytes | None = self._updater._bucket(memory, part, k, None)
        if found is None:
            found = self._updater._bucket(memory, part, k, self._room(memory, part, k))
        return found

    def _staged(self, rank: int, k: int) -> _Bytes:
        """Where that rank's gradients of this rank's bucket come to."""
        staging = self._staging[rank]
        return staging[k % len(staging)][: self._bytes[_GIVEN][self.rank][k]]

    def _receive_gradients(self, k: int) -> None:
        self._receives[k] = [
            self.comm.Irecv(self._staged(other, k), other, _GRADIENTS) for other in self._others
        ]

    def _receive_results(self) -> None:
        self._returns = True
        if self._memory is _GIVEN:
            # They come to where the gradients are sent from.
            self.ranks.mpi.Request.Waitall(self._sends)
            self._sends.clear()
        for k in range(max(map(len, self._sizes))):
            for other in self._others:
                if k >= len(self._sizes[other]):
                    continue
                array = self._updater._bucket(self._memory, other, k, None)
                if array is None:
                    array = self._room(self._memory, other, k)
                    self._to_put.append((other, k, array))
                self._results.append(self.comm.Irecv(array, other, _RESULTS))

    def _send_results(self, k: int) -> None:
        if not self._returns:
            self._receive_results()
        memory = self._memory
        if memory is _GIVEN:  # the update, where the reduced gradient was
            self._updater._write_updates(self.rank, k)
        array = self._sent(memory, self.rank, k)
        for other in self._others:
            self._sends.append(self.comm.Isend(array, other, _RESULTS))

    def _reduce_scatter(self) -> None:
        """MPI's own, a bucket of every part at a time, in numbers that MPI can add.

        The one that blocks: what Open MPI's other one gives is wrong at times (5.0.11).
        """
        for k in range(max(map(len, self._sizes))):
            counts = [sizes[k] if k < len(sizes) else 0 for sizes in self._sizes]
            given = np.empty(sum(counts), self._dtype)
            start = 0
            for part, count in enumerate(counts):
                if count:
                    self._updater._widen_bucket(part, k, given[start : start + count])
                start += count
            out = self._array(_REDUCED, self.rank, k) if k in self._own else np.empty(0, np.uint8)
            self.comm.Reduce_scatter(given, out.view(self._dtype), counts, self.ranks.mpi.SUM)

    def _note(self, what: str, k: int, begin: float, end: float) -> None:
        if self.timeline is not None:
            self.timeline.append((what, k, begin, end))
