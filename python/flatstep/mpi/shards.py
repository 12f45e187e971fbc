"""What each rank has of the tensors of a checkpoint, and where that stands in the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flatstep import _core
from flatstep.layout import Slot

from .transport import Transport

__all__ = ["BLOCK_BYTES", "Across", "StateTensors", "Tensor", "row_blocks", "state_tensors"]

#: How much of a tensor is on its way at a time.
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file, and what this rank has of it.

    Attributes:
        size: the elements of its slot; of scales, the slot's blocks.
        order: its memory order.
        pieces: (begin, size) of every rank, of these elements in memory order.
        array: this rank's elements: the whole array, in its shape, or a stretch in one dimension.
        shape: of the whole array, where this rank can know it.
    """

    size: int
    order: Literal["C", "F"]
    pieces: list[tuple[int, int]]
    array: NDArray[Any]
    shape: tuple[int, ...]

    @property
    def owner(self) -> int | None:
        """The rank that has all of it; the first, where all have."""
        return next((rank for rank, (_, own) in enumerate(self.pieces) if own == self.size), None)

    @property
    def is_cut_across(self) -> bool:
        """Whether it is in parts that are no stretches of the file."""
        return self.owner is None and self.order == "F" and len(self.shape) > 1


@dataclass(frozen=True)
class StateTensors:
    """State and master of a slot by name, and the average of its parameter."""

    kept: dict[str, Tensor]
    average: Tensor | None


def state_tensors(
    updater: _core.Updater, slots: Sequence[Slot], transport: Transport
) -> list[StateTensors]:
    """By slot, what is kept besides its parameter."""
    found: list[StateTensors] = []
    for slot, pieces in zip(slots, _pieces_of(updater, slots, transport), strict=True):
        is_whole = pieces[transport.rank][1] == slot.size
        place = len(found)
        kept = updater._kept(place)
        tensors: dict[str, Tensor] = {}
        for name, array in kept.items():
            coded = kept.get(name.removesuffix(".scale"))
            if coded is not None and coded is not array and coded.dtype.kind == "u":
                scales = [(begin // _core.code_block, _blocks_of(size)) for begin, size in pieces]
                blocks = _blocks_of(slot.size)
                tensors[name] = Tensor(blocks, "C", scales, array, (blocks,))
            else:
                shape = array.shape if is_whole else slot.shape
                tensors[name] = Tensor(slot.size, slot.order, pieces, array, shape)
        average = updater._average(place)
        found.append(
            StateTensors(
                tensors,
                None
                if average is None
                else Tensor(slot.size, slot.order, pieces, average, slot.shape),
            )
        )
    return found


def _blocks_of(size: int) -> int:
    return -(-size // _core.code_block)


def _pieces_of(
    updater: _core.Updater, slots: Sequence[Slot], transport: Transport
) -> list[list[tuple[int, int]]]:
    """By slot, what every rank has of its state: (begin, size)."""
    if not transport.is_sharded:
        return [[(0, slot.size)] * transport.size for slot in slots]
    by_rank = [updater._pieces(rank) for rank in range(transport.size)]
    return [[pieces[place] for pieces in by_rank] for place in range(len(slots))]


def row_blocks(tensor: Tensor) -> Iterator[tuple[int, int]]:
    """(begin, end) of the rows that make a block each, along the first axis."""
    height = tensor.shape[0]
    row = tensor.size // height * tensor.array.itemsize
    step = max(BLOCK_BYTES // max(row, 1), 1)
    for begin in range(0, height, step):
        yield begin, min(begin + step, height)


class Across:
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
