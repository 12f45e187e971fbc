"""An nd4j array as `Nd4j.write` stores it: coefficients.bin and updaterState.bin.

Two big-endian buffers follow each other, each `UTF(allocation mode) int64(length) UTF(type) data`
(UTF: a 16-bit length and that many bytes). The first holds the shape information in LONGs: rank,
shape, strides, extras with the type's flag, element stride, order. The second holds the values.
A model's arrays are flat: of rank 1, or a row of rank 2.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .archive import EntryReader
from .errors import DL4JModelError

# nd4j's name of a type, and its flag in the shape information.
_TYPES: dict[str, tuple[np.dtype[Any], int]] = {
    "FLOAT": (np.dtype(np.float32), 8192),
    "DOUBLE": (np.dtype(np.float64), 16384),
}
_ALL_FLAGS = 8192 | 16384
_ALLOCATION_MODE = "MIXED_DATA_TYPES"
_ORDER_C, _ORDER_F = ord("c"), ord("f")
_MAX_TEXT = 64
# A rank 2 array's header with allocation modes as long as they may be.
MAX_HEADER = 512
# Values that are converted at once when an array is written.
_PIECE = 1 << 14


@dataclass(frozen=True)
class Nd4jArray:
    """The values, native and flat, and the bytes that lie before them in the file."""

    header: bytes
    values: npt.NDArray[Any]


def type_name(dtype: np.dtype[Any]) -> str:
    """nd4j's name of a NumPy type: "FLOAT" or "DOUBLE"."""
    return next(name for name, (known, _) in _TYPES.items() if known == dtype)


def dtype_of(name: str) -> np.dtype[Any] | None:
    """The NumPy type of nd4j's ``name``; None for the types that flatstep does not work on."""
    return _TYPES[name][0] if name in _TYPES else None


def read_array(
    reader: EntryReader, entry: str, length: int, dtype: np.dtype[Any] | None
) -> Nd4jArray:
    """Read the array that fills ``entry``, of the ``length`` and ``dtype`` that the model needs.

    Nothing is allocated before the header has been found right. ``dtype`` None takes either type.
    """
    header = _HeaderReader(reader, entry)
    flags = _read_shape(header, entry, length)
    header.text("allocation mode")
    declared = header.long("number of values")
    type_found = header.text("type of the values")
    if declared != length:
        raise DL4JModelError(f"{entry} declares {declared} values, but its shape has {length}")
    found = dtype_of(type_found)
    if found is None:
        raise DL4JModelError(
            f"{entry} holds {type_found} values; flatstep works on FLOAT and DOUBLE: convert the "
            f"model with MultiLayerNetwork.convertDataType before saving it"
        )
    if flags & _ALL_FLAGS != _TYPES[type_found][1]:
        raise DL4JModelError(
            f"{entry} holds {type_found} values, but its shape information says otherwise (flags "
            f"{flags})"
        )
    if dtype is not None and found != dtype:
        raise DL4JModelError(
            f"{entry} holds {type_found} values, but the model's type is {type_name(dtype)}"
        )
    if reader.size_left != length * found.itemsize:
        raise DL4JModelError(
            f"{entry} has {reader.size_left} bytes of data; {length} {type_found} values take "
            f"{length * found.itemsize}"
        )
    values: npt.NDArray[Any] = np.empty(length, found)
    reader.read_into(values.view(np.uint8).data)
    reader.finish()
    if sys.byteorder == "little":
        values.byteswap(inplace=True)
    return Nd4jArray(bytes(header.consumed), values)


def new_header(length: int, dtype: np.dtype[Any]) -> bytes:
    """The bytes before the values of a flat array that the model's file did not have yet."""
    shape = struct.pack(">6q", 1, length, 1, _TYPES[type_name(dtype)][1], 1, _ORDER_C)
    return (
        _text(_ALLOCATION_MODE) + struct.pack(">q", 6) + _text("LONG") + shape
        + _text(_ALLOCATION_MODE) + struct.pack(">q", length) + _text(type_name(dtype))
    )  # fmt: skip


def array_bytes(header: bytes, arrays: Iterator[npt.NDArray[Any]]) -> Iterator[bytes | memoryview]:
    """The bytes of the stored array whose values are those of ``arrays``, one after the other."""
    yield header
    for values in arrays:
        for start in range(0, values.size, _PIECE):
            piece = values[start : start + _PIECE]
            yield piece.astype(piece.dtype.newbyteorder(">")).tobytes()


class _HeaderReader:
    """Reads the fields before the values, and keeps their bytes."""

    def __init__(self, reader: EntryReader, entry: str) -> None:
        self._reader = reader
        self._entry = entry
        self.consumed = bytearray()

    def longs(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f">{count}q", self._read(8 * count))

    def long(self, what: str) -> int:
        (value,) = self.longs(1)
        if value < 0:
            raise DL4JModelError(f"{self._entry}: the {what} is negative ({value})")
        return int(value)

    def text(self, what: str) -> str:
        (size,) = struct.unpack(">H", self._read(2))
        if size > _MAX_TEXT:
            raise DL4JModelError(f"{self._entry}: the {what} is {size} bytes long, not a word")
        encoded = self._read(size)
        word = encoded.decode("ascii", errors="replace")
        if not word.replace("_", "").isalnum():
            raise DL4JModelError(f"{self._entry}: the {what} is {encoded!r}, not a word")
        return word

    def _read(self, size: int) -> bytes:
        found = self._reader.read(size)
        self.consumed += found
        return found


def _read_shape(header: _HeaderReader, entry: str, length: int) -> int:
    """Check the shape information against the ``length`` needed; returns its flags."""
    header.text("allocation mode of the shape")
    count = header.long("length of the shape information")
    word = header.text("type of the shape information")
    if word != "LONG" or count not in (6, 8):
        raise DL4JModelError(
            f"{entry}: the shape information is {count} {word} values; a flat array of DL4J 1.0 "
            f"has 6 or 8 LONG values"
        )
    rank, *rest = header.longs(count)
    if 2 * rank + 4 != count:
        raise DL4JModelError(f"{entry}: an array of rank {rank} with {count} values of shape")
    shape, strides = rest[:rank], rest[rank : 2 * rank]
    flags, element_stride, order = rest[2 * rank :]
    if min(shape) < 0 or math.prod(shape) != length or max(shape) != length:
        raise DL4JModelError(
            f"{entry} has the shape {list(shape)}; the model needs {length} values in a row"
        )
    steps = [stride for stride, size in zip(strides, shape, strict=True) if size > 1]
    if element_stride != 1 or steps not in ([], [1]) or order not in (_ORDER_C, _ORDER_F):
        raise DL4JModelError(
            f"{entry} is not contiguous: strides {list(strides)}, element stride {element_stride}, "
            f"order {order}"
        )
    return flags


def _text(word: str) -> bytes:
    return struct.pack(">H", len(word)) + word.encode("ascii")
