"""Saving what many processes have: the file of one, written shard by shard.

Rank 0 writes. A stretch of state that another rank has comes to it in blocks of a mebibyte, so
that nobody's memory ever holds another's shard. The CRC-32s, which stand in front of what they are
of, are put together from those of the stretches; only of a Fortran-ordered array, whose stretches
are none in the file, the blocks travel twice.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatstep.checkpoint import Checkpoint, SavedSlot, write_checkpoint
from flatstep.checkpoint.container import bytes_of, file_order, little_endian_blocks
from flatstep.checkpoint.file import named_tensors, require_safetensors
from flatstep.checkpoint.stretches import combined_by_name
from flatstep.multi_layer_updater import UPDATER_CLASSES
from flatstep.network_updater import NetworkUpdater
from flatstep.state_dict import saved_state_dict

from .ranks import Ranks
from .shards import BLOCK_BYTES, Across, StateTensors, Tensor, row_blocks, state_tensors
from .transport import Transport

__all__ = ["save"]

_TAG = 3


@dataclass(frozen=True)
class _Form:
    """A tensor of the file, some of which is elsewhere."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def save(updater: NetworkUpdater, transport: Transport, path: str | os.PathLike[str]) -> None:
    """See `DistributedUpdater.save`."""
    ranks = transport.ranks
    found: list[tuple[Checkpoint, dict[str, Tensor]]] = []
    error: BaseException | None = None
    try:
        require_safetensors()
        if updater.accumulated is not None:
            raise ValueError(
                "save: expected no accumulated gradients, as the sums are each rank's own; step(), "
                "or discard_accumulated(), first"
            )
    except BaseException as raised:
        error = raised
    ranks.vote("save", error)
    state = _state_of_all(updater, transport)
    try:
        updater._alone(lambda: found.append(_checkpoint_of(updater, transport, state)))
    except BaseException as raised:
        error = raised
    ranks.vote("save", error)
    checkpoint, tensors = found[0]
    names = file_order(named_tensors(checkpoint))
    crc32s = _crc32s(ranks, names, tensors)
    if ranks.rank == 0:
        incoming = _Incoming(ranks, names, tensors)
        try:
            write_checkpoint(path, checkpoint, crc32s, incoming.blocks_of)
        except BaseException as raised:
            error = raised
        incoming.drain()  # the others have sent, or will
    else:
        for name in names:
            for _ in _blocks(ranks, tensors[name]):
                pass
    ranks.vote("save", error)


def _checkpoint_of(
    updater: NetworkUpdater, transport: Transport, found: list[StateTensors]
) -> tuple[Checkpoint, dict[str, Tensor]]:
    """What is written of the updater, with forms in place of arrays, and the tensors by name."""
    tensors: dict[str, Tensor] = {}
    state_dict = saved_state_dict(updater, updater._slots)

    def form(name: str, tensor: Tensor) -> _Form:
        tensors[name] = tensor
        return _Form(tensor.array.dtype, tensor.shape)

    state: dict[str, dict[str, _Form]] = {}
    averages: dict[str, _Form] = {}
    parameters: dict[str, _Form] = {}
    for slot, parameter, own in zip(updater._slots, updater._named, found, strict=True):
        everybody = [(0, slot.size)] * transport.size
        whole = Tensor(slot.size, slot.order, everybody, parameter.array, slot.shape)
        parameters[slot.key] = form(slot.key, whole)
        if own.kept:
            state[slot.key] = {
                name: form(f"{slot.key}/{name}", tensor) for name, tensor in own.kept.items()
            }
        if own.average is not None:
            averages[slot.key] = form(f"{slot.key}/average", own.average)
    state_dict["state"] = state
    if averages:
        state_dict["averages"] = averages
    kind = next(c.__name__ for c in UPDATER_CLASSES.values() if c.key_style is updater.key_style)
    layout = tuple(
        SavedSlot(slot.key, slot.layer, slot.param, slot.shape, slot.order)
        for slot in updater._slots
    )
    configuration: Any = updater._configuration
    configuration.to_dict()  # raises where it cannot be saved
    return (
        Checkpoint(
            updater=kind,
            monitor=updater._monitor,
            layout=layout,
            configuration=configuration,
            state_dict=state_dict,
            parameters=parameters,  # type: ignore[arg-type]  # forms
            accumulated=None,
        ),
        tensors,
    )


def _state_of_all(updater: NetworkUpdater, transport: Transport) -> list[StateTensors]:
    """The state's tensors, with the shapes that their owners know."""
    found = state_tensors(updater, updater.layout, transport)
    own = {
        (place, name): tensor.shape
        for place, tensors in enumerate(found)
        for name, tensor in tensors.kept.items()
        if tensor.pieces[transport.rank][1] == tensor.size
    }
    known: dict[tuple[int, str], tuple[int, ...]] = {}
    for each in transport.ranks.gathered(own):
        known |= each
    return [
        replace(
            tensors,
            kept={
                name: replace(tensor, shape=known.get((place, name), tensor.shape))
                for name, tensor in tensors.kept.items()
            },
        )
        for place, tensors in enumerate(found)
    ]


def _crc32s(ranks: Ranks, names: list[str], tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Of every tensor, on rank 0."""
    own: dict[str, tuple[int, int, int]] = {}
    across: dict[str, int] = {}
    for name in names:
        tensor = tensors[name]
        if tensor.is_cut_across:
            crc32 = 0
            for block in _blocks(ranks, tensor):
                crc32 = zlib.crc32(bytes_of(block), crc32)
            across[name] = crc32
            continue
        owner = tensor.owner
        if owner is None or owner == ranks.rank:
            crc32 = 0
            for block in _own_blocks(tensor.array):
                crc32 = zlib.crc32(bytes_of(block), crc32)
            begin = 0 if owner is not None else tensor.pieces[ranks.rank][0]
            own[name] = (begin, tensor.array.nbytes, crc32)
    return combined_by_name(ranks.gathered(own)) | across


def _own_blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The bytes in C order, at most a mebibyte at a time where the array is in C order."""
    for whole_block in little_endian_blocks(array):
        flat = whole_block.reshape(-1)
        count = BLOCK_BYTES // flat.itemsize
        for begin in range(0, flat.size, count):
            yield flat[begin : begin + count]


class _Incoming:
    """On rank 0: the bytes of the tensors, in the order of the file, whoever has them."""

    def __init__(self, ranks: Ranks, names: list[str], tensors: Mapping[str, Tensor]) -> None:
        self._ranks = ranks
        self._tensors = tensors
        self._left = list(names)
        self._under_way: Iterator[NDArray[Any]] = iter(())

    def blocks_of(self, name: str) -> Iterator[NDArray[Any]]:
        self._left.remove(name)
        self._under_way = _blocks(self._ranks, self._tensors[name])
        return self._under_way

    def drain(self) -> None:
        """Receive what has not been asked for."""
        for _ in self._under_way:
            pass
        for name in self._left:
            for _ in _blocks(self._ranks, self._tensors[name]):
                pass


def _blocks(ranks: Ranks, tensor: Tensor) -> Iterator[NDArray[Any]]:
    """On rank 0 the bytes of a tensor, in C order; on the others they are sent there."""
    if tensor.is_cut_across:
        yield from _blocks_across(ranks, tensor)
        return
    owner = tensor.owner
    senders = [owner] if owner is not None else range(ranks.size)
    for rank in senders:
        if rank == ranks.rank:
            for block in _own_blocks(tensor.array):
                if ranks.rank == 0:
                    yield block
                else:
                    ranks.comm.Send(block.view(np.uint8), 0, _TAG)
        elif ranks.rank == 0:
            size = int(np.prod(tensor.shape, dtype=np.int64))
            left = (size if owner is not None else tensor.pieces[rank][1]) * tensor.array.itemsize
            status = ranks.mpi.Status()
            while left > 0:
                ranks.comm.Probe(rank, _TAG, status)
                block = np.empty(status.Get_count(ranks.mpi.BYTE), np.uint8)
                ranks.comm.Recv(block, rank, _TAG)
                left -= block.size
                yield block


def _blocks_across(ranks: Ranks, tensor: Tensor) -> Iterator[NDArray[Any]]:
    """The same of an array in Fortran order that is in parts: rows of it, from every part."""
    height = tensor.shape[0]
    width = tensor.size // height
    for begin, end in row_blocks(tensor):
        if ranks.rank != 0:
            own = Across(tensor.pieces[ranks.rank], height).of_piece(tensor.array, begin, end)
            if own.size:
                ranks.comm.Send(own, 0, _TAG)
            continue
        block = np.empty((width, end - begin), tensor.array.dtype)
        for rank, piece in enumerate(tensor.pieces):
            across = Across(piece, height)
            count = sum((hi - lo) * columns for _, columns, lo, hi, _ in across.parts(begin, end))
            if not count:
                continue
            if rank == 0:
                values = across.of_piece(tensor.array, begin, end)
            else:
                values = np.empty(count, tensor.array.dtype)
                ranks.comm.Recv(values, rank, _TAG)
            across.into_block(values, block, begin, end)
        shaped = block.reshape(-1).reshape((end - begin, *tensor.shape[1:]), order="F")
        yield from little_endian_blocks(np.ascontiguousarray(shaped))
