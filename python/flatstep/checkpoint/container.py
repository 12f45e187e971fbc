"""The safetensors format, written from arrays as they lie in memory.

Eight bytes with the header's length, the header in JSON, padded with spaces to a multiple of eight
bytes, and the tensors' bytes, wide dtypes first, then by name: byte for byte what
``safetensors.numpy.save`` gives, which makes a copy of every array and one of the file.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["TensorForm", "bytes_of", "file_order", "little_endian_blocks", "write_container"]

_METADATA = "__metadata__"
#: By their place in a file: wide ones first, as the format has it.
_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "bfloat16": "BF16",
    "float16": "F16",
    "uint16": "U16",
    "uint8": "U8",
}
# How much of an array in another memory order is copied at a time.
_BLOCK_BYTES = 1 << 20


class TensorForm(Protocol):
    """What the header says of a tensor: an array, or what stands for one that is elsewhere."""

    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def nbytes(self) -> int: ...


def file_order(tensors: Mapping[str, TensorForm]) -> list[str]:
    """The names in the order of their bytes in the file."""
    places = {dtype: place for place, dtype in enumerate(_DTYPES)}
    return sorted(tensors, key=lambda name: (places[tensors[name].dtype.name], name))


def write_container(
    file: BinaryIO,
    tensors: Mapping[str, TensorForm],
    metadata: Mapping[str, str],
    blocks_of: Callable[[str], Iterable[NDArray[Any]]] | None = None,
) -> None:
    """Write the arrays, of a dtype of these and any memory order, in C order.

    Args:
        blocks_of: the bytes of a tensor by its name, asked for in `file_order`; None: the tensors
            are arrays.
    """
    if _METADATA in tensors:
        raise ValueError(
            f'checkpoint: expected other names of parameters than "{_METADATA}", which the format '
            "of the file has for itself; rename the parameter"
        )
    names = file_order(tensors)
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    end = 0
    for name in names:
        array = tensors[name]
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": _DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)))
    file.write(text)
    for name in names:
        tensor: Any = tensors[name]
        for block in little_endian_blocks(tensor) if blocks_of is None else blocks_of(name):
            file.write(bytes_of(block))


def bytes_of(block: NDArray[Any]) -> memoryview:
    """The memory of a contiguous block; that of bfloat16, which has no buffer, too."""
    return block.reshape(-1).view(np.uint8).data


def little_endian_blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The elements in C order, in contiguous parts: the array itself where it is so in memory."""
    if array.flags.c_contiguous:
        # bfloat16, of another package, knows no byte order but the machine's.
        dtype = array.dtype if array.dtype.kind == "V" else array.dtype.newbyteorder("<")
        yield array.astype(dtype, copy=False)
    elif array.nbytes <= _BLOCK_BYTES:
        yield from little_endian_blocks(np.ascontiguousarray(array))
    else:
        row = array.nbytes // len(array)
        if row > _BLOCK_BYTES:
            for part in array:
                yield from little_endian_blocks(part)
        else:
            rows = _BLOCK_BYTES // row
            for start in range(0, len(array), rows):
                yield from little_endian_blocks(np.ascontiguousarray(array[start : start + rows]))
