"""Checkpoints of many processes: the file of one, written and read shard by shard.

Rank 0 writes. A stretch of state that another rank has comes to it in blocks of a mebibyte, so
that nobody's memory ever holds another's shard. The CRC-32s, which stand in front of what they are
of, are put together from those of the stretches; only of a Fortran-ordered array, whose stretches
are none in the file, the blocks travel twice.

Every rank reads the file for itself: all parameters, and of the state what it has. Each checks the
CRC-32 of a part of the file for all of them, before anything is changed.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flatstep._shown import cut, listed, short, whole
from flatstep.checkpoint import Checkpoint, SavedSlot, write_checkpoint
from flatstep.checkpoint.container import file_order, little_endian_blocks
from flatstep.checkpoint.file import named_tensors, require_safetensors
from flatstep.checkpoint.stretches import CheckpointFile, combined_by_name
from flatstep.configuration import MultiLayerConfiguration
from flatstep.errors import CheckpointError
from flatstep.layout import Slot
from flatstep.loading import check_layout, check_slots, named_as_in_file, saved_slot
from flatstep.multi_layer_updater import UPDATER_CLASSES
from flatstep.network_updater import NamedParameters
from flatstep.parameters import Arrays, by_layer
from flatstep.state_dict import saved_state_dict, take_state_dict

from .ranks import Ranks, uninterrupted
from .updater import DistributedUpdater, StyledParameters

__all__ = ["load_updater", "save"]

_TAG = 3
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class _Form:
    """A tensor of the file, some of which is elsewhere."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the file, and what this rank has of it.

    Attributes:
        slot: whose it is.
        pieces: (begin, size) of every rank, in the memory order of the slot.
        array: this rank's elements: the whole array, in its shape, or a stretch in one dimension.
    """

    slot: Slot
    pieces: list[tuple[int, int]]
    array: NDArray[Any]
    shape: tuple[int, ...]

    @property
    def owner(self) -> int | None:
        """The rank that has all of it; the first, where all have."""
        size = self.slot.size
        return next((rank for rank, (_, own) in enumerate(self.pieces) if own == size), None)

    @property
    def is_cut_across(self) -> bool:
        """Whether it is in parts that are no stretches of the file."""
        return self.owner is None and self.slot.order == "F" and len(self.shape) > 1


# ------------------------------------------------------------------------------------------- saving


def save(updater: DistributedUpdater, path: str | os.PathLike[str]) -> None:
    """See `DistributedUpdater.save`."""
    ranks = updater._ranks.ranks
    found: list[tuple[Checkpoint, dict[str, _Tensor]]] = []
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
    shapes = _state_shapes(updater, ranks)
    try:
        updater._alone(lambda: found.append(_checkpoint_of(updater, ranks, shapes)))
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
    updater: DistributedUpdater, ranks: Ranks, shapes: list[dict[str, tuple[int, ...]]]
) -> tuple[Checkpoint, dict[str, _Tensor]]:
    """What is written of the updater, with forms in place of arrays, and the tensors by name."""
    pieces = _pieces_of(updater, ranks)
    tensors: dict[str, _Tensor] = {}
    dtype = updater.dtype
    state_dict = saved_state_dict(updater, updater._slots)

    def form(name: str, place: int, array: NDArray[Any], shape: tuple[int, ...]) -> _Form:
        tensors[name] = _Tensor(updater._slots[place], pieces[place], array, shape)
        return _Form(dtype, shape)

    state: dict[str, dict[str, _Form]] = {}
    averages: dict[str, _Form] = {}
    parameters: dict[str, _Form] = {}
    for place, slot in enumerate(updater._slots):
        everybody = [(0, slot.size)] * ranks.size
        own = updater._named[place].array
        tensors[slot.key] = _Tensor(slot, everybody, own, slot.shape)
        parameters[slot.key] = _Form(dtype, slot.shape)
        arrays = updater._state(place)
        if arrays:
            state[slot.key] = {
                name: form(f"{slot.key}/{name}", place, array, shapes[place][name])
                for name, array in arrays.items()
            }
        average = updater._average(place)
        if average is not None:
            averages[slot.key] = form(f"{slot.key}/average", place, average, slot.shape)
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


def _pieces_of(updater: DistributedUpdater, ranks: Ranks) -> list[list[tuple[int, int]]]:
    """By slot, what every rank has of its state."""
    if not updater._is_sharded:
        return [[(0, slot.size)] * ranks.size for slot in updater._slots]
    by_rank = [updater._pieces(rank) for rank in range(ranks.size)]
    return [[pieces[place] for pieces in by_rank] for place in range(len(updater._slots))]


def _state_shapes(updater: DistributedUpdater, ranks: Ranks) -> list[dict[str, tuple[int, ...]]]:
    """By slot and name, the shape of the whole array, which its owner knows where it is not the
    parameter's."""
    own: dict[tuple[int, str], tuple[int, ...]] = {}
    for place, slot in enumerate(updater._slots):
        if updater.shard[slot.key] == slice(0, slot.size):
            for name, array in updater._state(place).items():
                own[place, name] = array.shape
    known: dict[tuple[int, str], tuple[int, ...]] = {}
    for each in ranks.gathered(own):
        known |= each
    return [
        {name: known.get((place, name), slot.shape) for name in updater._state(place)}
        for place, slot in enumerate(updater._slots)
    ]


def _crc32s(ranks: Ranks, names: list[str], tensors: Mapping[str, _Tensor]) -> dict[str, int]:
    """Of every tensor, on rank 0."""
    own: dict[str, tuple[int, int, int]] = {}
    across: dict[str, int] = {}
    for name in names:
        tensor = tensors[name]
        if tensor.is_cut_across:
            crc32 = 0
            for block in _blocks(ranks, tensor):
                crc32 = zlib.crc32(block.data, crc32)
            across[name] = crc32
            continue
        owner = tensor.owner
        if owner is None or owner == ranks.rank:
            crc32 = 0
            for block in _own_blocks(tensor.array):
                crc32 = zlib.crc32(block.data, crc32)
            begin = 0 if owner is not None else tensor.pieces[ranks.rank][0]
            own[name] = (begin, tensor.array.nbytes, crc32)
    return combined_by_name(ranks.gathered(own)) | across


def _own_blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The bytes in C order, at most a mebibyte at a time where the array is in C order."""
    for whole_block in little_endian_blocks(array):
        flat = whole_block.reshape(-1)
        count = _BLOCK_BYTES // flat.itemsize
        for begin in range(0, flat.size, count):
            yield flat[begin : begin + count]


class _Incoming:
    """On rank 0: the bytes of the tensors, in the order of the file, whoever has them."""

    def __init__(self, ranks: Ranks, names: list[str], tensors: Mapping[str, _Tensor]) -> None:
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


def _blocks(ranks: Ranks, tensor: _Tensor) -> Iterator[NDArray[Any]]:
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


def _blocks_across(ranks: Ranks, tensor: _Tensor) -> Iterator[NDArray[Any]]:
    """The same of an array in Fortran order that is in parts: rows of it, from every part."""
    height = tensor.shape[0]
    width = tensor.slot.size // height
    for rows in _rows(tensor):
        begin, end = rows
        if ranks.rank != 0:
            own = _Across(tensor.pieces[ranks.rank], height).of_piece(tensor.array, begin, end)
            if own.size:
                ranks.comm.Send(own, 0, _TAG)
            continue
        block = np.empty((width, end - begin), tensor.array.dtype)
        for rank, piece in enumerate(tensor.pieces):
            across = _Across(piece, height)
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


def _rows(tensor: _Tensor) -> Iterator[tuple[int, int]]:
    height = tensor.shape[0]
    row = tensor.slot.size // height * tensor.array.itemsize
    step = max(_BLOCK_BYTES // max(row, 1), 1)
    for begin in range(0, height, step):
        yield begin, min(begin + step, height)


class _Across:
    """A stretch of an array in Fortran order, seen as columns of its first axis.

    Where the stretch begins or ends within a column, that column is a part by itself.
    """

    def __init__(self, piece: tuple[int, int], height: int) -> None:
        self._begin, size = piece
        self._end = self._begin + size
        self._height = height

    def parts(self, begin: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
        """What the stretch has of these rows: (first column, columns, first row, end row, where the
        first of these columns stands in the stretch)."""
        height = self._height
        at = self._begin
        while at < self._end:
            column, row = divmod(at, height)
            whole_columns = (self._end - at) // height if row == 0 else 0
            if whole_columns:
                yield column, whole_columns, begin, end, at - self._begin
                at += whole_columns * height
                continue
            stop = min(self._end, (column + 1) * height)
            low, high = max(begin, row), min(end, stop - column * height)
            if low < high:
                yield column, 1, low, high, column * height - self._begin
            at = stop

    def _view(
        self, piece: NDArray[Any], columns: int, low: int, high: int, at: int
    ) -> NDArray[Any]:
        if columns == 1:
            return piece[at + low : at + high].reshape(1, high - low)
        return piece[at : at + columns * self._height].reshape(columns, self._height)[:, low:high]

    def of_piece(self, piece: NDArray[Any], begin: int, end: int) -> NDArray[Any]:
        """The elements of these rows, column by column."""
        found = [
            self._view(piece, columns, low, high, at).reshape(-1)
            for _, columns, low, high, at in self.parts(begin, end)
        ]
        return np.concatenate(found) if found else np.empty(0, piece.dtype)

    def into_block(self, values: NDArray[Any], block: NDArray[Any], begin: int, end: int) -> None:
        """Put these elements where they belong in a block with a row for each column."""
        at = 0
        for column, columns, low, high, _ in self.parts(begin, end):
            count = columns * (high - low)
            block[column : column + columns, low - begin : high - begin] = values[
                at : at + count
            ].reshape(columns, high - low)
            at += count

    def into_piece(self, block: NDArray[Any], piece: NDArray[Any], begin: int, end: int) -> None:
        """The way back."""
        for column, columns, low, high, at in self.parts(begin, end):
            self._view(piece, columns, low, high, at)[...] = block[
                column : column + columns, low - begin : high - begin
            ]


# ------------------------------------------------------------------------------------------ loading


def load_updater(
    path: str | os.PathLike[str],
    params: Arrays | NDArray[Any] | None = None,
    *,
    comm: Any = None,
    shard: bool = True,
    reduce: Literal["mean", "sum"] = "mean",
    deterministic: bool = True,
    bucket_bytes: int = 1 << 20,
) -> DistributedUpdater:
    """The updater of a checkpoint, on any number of ranks: it goes on bit for bit. Collective.

    Args:
        path: a file that `DistributedUpdater.save` or `flatstep.MultiLayerUpdater.save` wrote, and
            that every rank can read.
        params: as of `flatstep.load_updater`: arrays of the file's layout, which are
            **overwritten**; None: new arrays, which are ``updater.parameters``.
        comm, shard, reduce, deterministic, bucket_bytes: as of `DistributedUpdater`.

    Raises:
        CheckpointError: no checkpoint, damaged, not the same for all ranks, of another layout or
            dtype, or with accumulated gradients, of which nobody can say whose they are. On every
            rank; nothing was changed.
        OSError, ImportError, TypeError, ValueError: as of `flatstep.load_updater`; on every rank.

    Example:
        >>> import tempfile, numpy as np, flatstep as fs
        >>> config = fs.MultiLayerConfiguration(updater=fs.Adam(0.1))
        >>> updater = fs.mpi.DistributedUpdater(config, {"0_W": np.ones(3)})
        >>> updater.step({"0_W": np.ones(3)})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     updater.save(f"{folder}/run.safetensors")
        ...     restored = fs.mpi.load_updater(f"{folder}/run.safetensors")
        >>> restored.iteration, restored.parameters["0_W"].round(6)
        (1, array([0.9, 0.9, 0.9]))
    """
    ranks = Ranks.of(comm)
    error: BaseException | None = None
    file: CheckpointFile | None = None
    found: list[tuple[MultiLayerConfiguration, StyledParameters]] = []
    digest = 0
    with uninterrupted():
        try:
            try:
                file = CheckpointFile(path)
                digest = file.document["crc32"]
                found.append(_checked_parameters(file, params))
            except BaseException as raised:
                error = raised
            ranks.compare("load_updater", error, {"checkpoint (CRC-32)": digest})
            assert file is not None
            _check_crc32s(ranks, file)
            configuration, named = found[0]
            updater = DistributedUpdater(
                configuration,
                named,
                comm=comm,
                shard=shard,
                reduce=reduce,
                deterministic=deterministic,
                bucket_bytes=bucket_bytes,
                monitor=file.document["monitor"],
            )
            try:
                _restore(updater, ranks, file)
            except (TypeError, ValueError) as raised:
                error = CheckpointError(whole(f'"{file.name}": {raised}'))
            except BaseException as raised:
                error = raised
            ranks.vote("load_updater", error)
            _read_parameters(updater, file)
            return updater
        finally:
            if file is not None:
                file.close()


def _checked_parameters(
    file: CheckpointFile, params: Arrays | NDArray[Any] | None
) -> tuple[MultiLayerConfiguration, StyledParameters]:
    """The configuration, and arrays that are to hold the parameters."""
    document = file.document
    name = f'"{file.name}"'
    cls = UPDATER_CLASSES.get(document["updater"])
    if cls is None:
        raise CheckpointError(f"{name}: updater: got one of an unknown class")
    if document["accumulated"]:
        raise CheckpointError(
            f"{name}: expected no accumulated gradients, as the sums are each rank's own; load it "
            "with flatstep.load_updater, step or discard them, and save it again"
        )
    layout = [SavedSlot(**{**slot, "shape": tuple(slot["shape"])}) for slot in document["layout"]]
    dtype = np.dtype(document["state_dict"]["dtype"])
    if params is None:
        params = {slot.key: np.empty(slot.shape, dtype, order=slot.order) for slot in layout}
    named = NamedParameters(by_layer(named_as_in_file(layout, params, cls.key_style)))
    given = [saved_slot(parameter) for parameter in named]
    try:
        check_layout(layout, given)
        check_slots(layout, given)
        for parameter in named:
            if parameter.array.dtype != dtype:
                raise ValueError(
                    f"params: expected dtype {dtype}, as in the file, got "
                    f"{parameter.array.dtype}; convert them with .astype(np.{dtype})"
                )
        for slot in layout:
            if file.shapes.get(slot.key) != slot.shape or file.dtype(slot.key) != dtype:
                raise ValueError(f'tensor "{cut(slot.key)}": expected it in the file, of its shape')
        configuration = MultiLayerConfiguration.from_dict(document["configuration"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(whole(f"{name}: {error}")) from short(error)
    return configuration, StyledParameters.of(named, cls.key_style)


def _check_crc32s(ranks: Ranks, file: CheckpointFile) -> None:
    """Each rank reads its part of the file, and all know whether it is whole."""
    total = sum(file.size(name) for name in file.shapes)
    begin = total * ranks.rank // ranks.size
    end = total * (ranks.rank + 1) // ranks.size
    own: dict[str, tuple[int, int, int]] = {}
    error: BaseException | None = None
    before = 0
    try:
        for name in sorted(file.shapes):
            size = file.size(name)
            low, high = max(begin - before, 0), min(end - before, size)
            if low < high:
                length = (high - low) * file.dtype(name).itemsize
                own[name] = (low, length, file.crc32(name, low, high - low))
            before += size
    except BaseException as raised:
        error = raised
    ranks.vote("load_updater", error)
    found = combined_by_name(ranks.gathered(own))
    damaged = [
        name for name, crc32 in file.document["tensors"].items() if found.get(name, 0) != crc32
    ]
    if damaged:
        raise CheckpointError(
            f'"{file.name}": tensor "{cut(damaged[0])}" is damaged: its CRC-32 is not the one it '
            "was written with"
        )


def _restore(updater: DistributedUpdater, ranks: Ranks, file: CheckpointFile) -> None:
    """This rank's state, rates and counters; the parameters are not touched."""
    saved = file.document["state_dict"]
    pieces = _pieces_of(updater, ranks)
    targets: dict[str, _Tensor] = {}
    names: dict[str, list[str]] = {}
    averages: list[str] = []
    for place, slot in enumerate(updater._slots):
        arrays = updater._state(place)
        if arrays:
            names[slot.key] = list(arrays)
        for name, array in arrays.items():
            targets[f"{slot.key}/{name}"] = _Tensor(slot, pieces[place], array, ())
        average = updater._average(place)
        if average is not None:
            averages.append(slot.key)
            targets[f"{slot.key}/average"] = _Tensor(slot, pieces[place], average, ())
    if names != saved["state"] or averages != saved.get("averages", []):
        differing = listed(
            set(targets) ^ (set(file.shapes) - {slot.key for slot in updater._slots})
        )
        raise ValueError(f"only in the file, or missing there: {differing}")
    left_out = take_state_dict(
        updater,
        updater._slots,
        updater._initial_rates,
        {**saved, "state": {}, "averages": {}},
        strict=False,
    )
    more = [name for name in left_out if name not in targets]
    if more:
        raise ValueError(f"only in the file, or missing there: {listed(more)}")
    for name, tensor in targets.items():
        _read_piece(file, name, tensor, ranks.rank)


def _read_piece(file: CheckpointFile, name: str, tensor: _Tensor, rank: int) -> None:
    begin, size = tensor.pieces[rank]
    is_whole = size == tensor.slot.size
    shape = file.shapes[name]
    if shape != (tensor.array.shape if is_whole else tensor.slot.shape) and tensor.array.size:
        raise ValueError(f'tensor "{cut(name)}": got one of shape {shape}')
    if tensor.array.size == 0:
        return
    if is_whole:
        _read_whole(file, name, tensor.array)
    elif tensor.slot.order == "C" or len(shape) < 2:
        file.read(name, begin, tensor.array)
    else:
        across = _Across((begin, size), shape[0])
        width = tensor.slot.size // shape[0]
        for low, high in _rows(_Tensor(tensor.slot, tensor.pieces, tensor.array, shape)):
            rows = np.empty((high - low, *shape[1:]), tensor.array.dtype)
            file.read(name, low * width, rows)
            block = rows.reshape(-1, order="F").reshape(width, high - low)
            across.into_piece(block, tensor.array, low, high)


def _read_whole(file: CheckpointFile, name: str, array: NDArray[Any]) -> None:
    if array.size == 0:
        return
    if array.flags.c_contiguous:
        file.read(name, 0, array)
        return
    width = array.size // array.shape[0]
    step = max(_BLOCK_BYTES // max(width * array.itemsize, 1), 1)
    for low in range(0, array.shape[0], step):
        rows = np.empty(array[low : low + step].shape, array.dtype)
        file.read(name, low * width, rows)
        array[low : low + step] = rows


def _read_parameters(updater: DistributedUpdater, file: CheckpointFile) -> None:
    for key, array in updater.parameters.items():
        _read_whole(file, key, array)
