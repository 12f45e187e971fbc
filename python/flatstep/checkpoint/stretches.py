"""Stretches of a checkpoint's tensors: read into place, and their CRC-32 put together."""

from __future__ import annotations

import json
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatstep._shown import cut, short, whole
from flatstep.atomic_file import path_text
from flatstep.errors import CheckpointError
from flatstep.views import bfloat16

from .container import bytes_of
from .file import checked_document, require_safetensors

__all__ = ["CheckpointFile", "crc32_combined"]

_POLYNOMIAL = 0xEDB88320
_BLOCK_BYTES = 1 << 20
_DTYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "U16": "<u2", "U8": "u1"}


class CheckpointFile:
    """A checkpoint whose tensors are read stretch by stretch.

    Attributes:
        document: the object in its metadata, as `flatstep.checkpoint.file` describes it.
        shapes: of the tensors, by name.

    Raises:
        CheckpointError: no checkpoint, damaged, or of another version. Whether the tensors are
            whole the CRC-32s say, which are for the caller to compare.
        OSError: the file cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        safetensors = require_safetensors()
        self.name = path_text("load_updater", path)
        if not stat.S_ISREG(os.stat(self.name).st_mode):
            raise CheckpointError(f'"{self.name}": expected a file, got what is none')
        try:
            with safetensors.safe_open(self.name, framework="np") as file:  # checks the offsets
                metadata = file.metadata() or {}
                found = set(file.keys())
            self.document = checked_document(metadata)
            if found != set(self.document["tensors"]):
                raise ValueError(
                    "the file is damaged: its tensors are not those it was written with"
                )
            self._file = open(self.name, "rb", buffering=0)  # noqa: SIM115 (closed by close)
            (length,) = struct.unpack("<Q", self._file.read(8))
            header: dict[str, Any] = json.loads(self._file.read(length))
        except safetensors.SafetensorError as error:
            raise CheckpointError(
                f'"{self.name}": expected a whole safetensors file, got one that is truncated, '
                f"damaged or of another format: {cut(str(error))}"
            ) from short(error)
        except (TypeError, ValueError) as error:
            raise CheckpointError(whole(f'"{self.name}": {error}')) from short(error)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._dtypes: dict[str, np.dtype[Any]] = {}
        self._starts: dict[str, int] = {}
        for name in found:
            entry = header[name]
            self.shapes[name] = tuple(entry["shape"])
            try:
                self._dtypes[name] = _dtype_of(entry["dtype"])
            except ImportError:
                self.close()
                raise
            except ValueError as error:
                self.close()
                raise CheckpointError(f'"{self.name}": tensor "{cut(name)}": {error}') from None
            self._starts[name] = 8 + length + entry["data_offsets"][0]

    def __enter__(self) -> CheckpointFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def dtype(self, name: str) -> np.dtype[Any]:
        """That of a tensor, little-endian."""
        return self._dtypes[name]

    def size(self, name: str) -> int:
        """How many elements a tensor has."""
        return int(np.prod(self.shapes[name], dtype=np.int64))

    def read(self, name: str, begin: int, out: NDArray[Any]) -> None:
        """Read elements of a tensor, in C order from ``begin`` on, into a contiguous array."""
        dtype = self._dtypes[name]
        little = out if dtype.isnative else np.empty(out.shape, dtype)
        self._read_bytes(self._starts[name] + begin * dtype.itemsize, bytes_of(little))
        if little is not out:
            out[...] = little

    def _read_bytes(self, at: int, memory: memoryview) -> None:
        self._file.seek(at)
        done = 0
        while done < len(memory):
            count = self._file.readinto(memory[done:])
            if not count:
                raise CheckpointError(f'"{self.name}": the file was cut off while it was read')
            done += count

    def crc32(self, name: str, begin: int, size: int) -> int:
        """That of a stretch of a tensor's elements."""
        itemsize = self._dtypes[name].itemsize
        start, end = (self._starts[name] + place * itemsize for place in (begin, begin + size))
        block = memoryview(bytearray(min(max(end - start, 1), _BLOCK_BYTES)))
        crc32 = 0
        for at in range(start, end, len(block)):
            part = block[: min(len(block), end - at)]
            self._read_bytes(at, part)
            crc32 = zlib.crc32(part, crc32)
        return crc32


def _dtype_of(name: str) -> np.dtype[Any]:
    """The little-endian dtype that safetensors calls so.

    Raises:
        ImportError: it is another package's, which is not installed.
        ValueError: none that a checkpoint has.
    """
    if name == "BF16":
        return bfloat16()
    if name not in _DTYPES:
        raise ValueError(f"expected dtype BF16, {', '.join(_DTYPES)}, got {name}")
    return np.dtype(_DTYPES[name])


def crc32_combined(parts: Iterable[tuple[int, int]]) -> int:
    """The CRC-32 of bytes one after the other, of theirs and how many they are.

    It is the remainder of a polynomial over GF(2), so what stands before n bytes counts x^(8n)
    times.
    """
    combined = 0
    for crc32, length in parts:
        combined = _times(_power(8 * length), combined) ^ crc32
    return combined


def _times(a: int, b: int) -> int:
    """The product modulo the polynomial; the highest bit is x^0."""
    product = 0
    for bit in range(31, -1, -1):
        if a >> bit & 1:
            product ^= b
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product


def _power(exponent: int) -> int:
    """x to that power."""
    power, square = 1 << 31, 1 << 30
    while exponent:
        if exponent & 1:
            power = _times(power, square)
        square = _times(square, square)
        exponent >>= 1
    return power


def combined_by_name(
    parts: Iterable[Mapping[str, tuple[int, int, int]]],
) -> dict[str, int]:
    """CRC-32s of whole tensors from those of stretches: (begin, bytes, CRC-32) by name."""
    stretches: dict[str, list[tuple[int, int, int]]] = {}
    for each in parts:
        for name, stretch in each.items():
            stretches.setdefault(name, []).append(stretch)
    return {
        name: crc32_combined((crc32, length) for _, length, crc32 in sorted(found))
        for name, found in stretches.items()
    }
