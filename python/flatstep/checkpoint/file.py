"""The file of a checkpoint: safetensors, with one JSON object in its metadata.

A file, version 1, holds as tensors, in C order whatever their memory order was:

- every parameter by its key, ``"0_W"``;
- every state array, ``"0_W/m"``; where it is kept in fewer bits, its codes and, as
  ``"0_W/m.scale"``, their scales;
- of a parameter of dtype bfloat16 or float16, ``"0_W/parameter.lower"``, the lower halves of a
  split master, or ``"0_W/parameter.master"``, a full one;
- where they are kept, the average of every parameter, ``"0_W/average"``;
- where gradients are accumulated, their sums, ``"0_W/accumulated_gradient"``;

and in its metadata, under ``"flatstep"``, an object with the file's ``version``; ``written_by``,
flatstep's version, on which nothing depends; the ``updater``'s class and ``monitor``; its
``layout``, slot by slot; its ``configuration``, as `flatstep.serialization` has it; its
``state_dict``, with the names of arrays in place of arrays; whether gradients are ``accumulated``;
the CRC-32 of every tensor's bytes in ``tensors``; and ``crc32``, that of the object without it.

The same checkpoint gives the same bytes. Any reader of safetensors can look into the file.
"""

from __future__ import annotations

import math
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from flatstep import _core
from flatstep._shown import cut, listed, short, shown, whole
from flatstep.atomic_file import atomic_file, path_text
from flatstep.configuration import MultiLayerConfiguration
from flatstep.errors import CheckpointError
from flatstep.serialization import check_version, json_text, parse_json

from .container import TensorForm, bytes_of, little_endian_blocks, write_container

__all__ = ["ACCUMULATED", "Checkpoint", "SavedSlot", "read_checkpoint", "write_checkpoint"]

ACCUMULATED = "accumulated_gradient"
AVERAGE = "average"

_VERSION = 1
_METADATA_KEY = "flatstep"
_DTYPES = {"F32": "float32", "F64": "float64"}
#: What parameters and state in fewer bits have besides.
_NARROW_DTYPES = {"BF16": "bfloat16", "F16": "float16", "U16": "uint16", "U8": "uint8"}
_INFINITIES = {math.inf: "Infinity", -math.inf: "-Infinity"}


@dataclass(frozen=True)
class SavedSlot:
    """One parameter's place in the layout."""

    key: str
    layer: str
    param: str
    shape: tuple[int, ...]
    order: Literal["C", "F"]


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on; arrays may have any memory order."""

    updater: str
    monitor: bool
    layout: tuple[SavedSlot, ...]
    configuration: MultiLayerConfiguration
    state_dict: Mapping[str, Any]
    parameters: Mapping[str, NDArray[Any]]
    accumulated: Mapping[str, NDArray[Any]] | None


def require_safetensors() -> Any:
    """The module.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "a checkpoint is a safetensors file, and safetensors is not installed: "
            "pip install safetensors (or 'flatstep[checkpoint]')"
        ) from error
    return safetensors


# ---------------------------------------------------------------------------------------- writing


def write_checkpoint(
    path: str | os.PathLike[str],
    checkpoint: Checkpoint,
    crc32s: Mapping[str, int] | None = None,
    blocks_of: Callable[[str], Iterable[NDArray[Any]]] | None = None,
) -> None:
    """Write the file in the place of an old one; whoever looks finds one of the two, whole.

    Args:
        crc32s, blocks_of: the CRC-32 of each tensor and its bytes, where the checkpoint has forms
            (`TensorForm`) in place of arrays.
    """
    require_safetensors()  # A file that could not be read back here is not written.
    tensors = named_tensors(checkpoint)
    document = _document(checkpoint)
    document["tensors"] = {
        name: _crc32(array) if crc32s is None else crc32s[name] for name, array in tensors.items()
    }
    document["crc32"] = _crc32_of_rest(document)
    with atomic_file(path) as file:
        write_container(file, tensors, {_METADATA_KEY: json_text(document)}, blocks_of)


def named_tensors(checkpoint: Checkpoint) -> dict[str, Any]:
    """The arrays of a checkpoint, or their forms, by their names in the file.

    Raises:
        ValueError: two of one name.
    """
    tensors: dict[str, TensorForm] = {}
    for name, array in _named_arrays(checkpoint):
        if name in tensors:
            raise ValueError(
                f'checkpoint: expected names of arrays that differ, got "{cut(name)}" twice; '
                "rename the parameter, or the state of a CustomUpdater, that has a / in it"
            )
        tensors[name] = array
    return tensors


def _named_arrays(checkpoint: Checkpoint) -> Iterator[tuple[str, NDArray[Any]]]:
    yield from checkpoint.parameters.items()
    for key, arrays in checkpoint.state_dict["state"].items():
        for name, array in arrays.items():
            yield f"{key}/{name}", array
    for key, array in checkpoint.state_dict.get("averages", {}).items():
        yield f"{key}/{AVERAGE}", array
    for key, array in (checkpoint.accumulated or {}).items():
        yield f"{key}/{ACCUMULATED}", array


def _document(checkpoint: Checkpoint) -> dict[str, Any]:
    state_dict = dict(checkpoint.state_dict)
    state_dict["state"] = {key: list(arrays) for key, arrays in state_dict["state"].items()}
    if "averages" in state_dict:
        state_dict["averages"] = list(state_dict["averages"])
    for name in ("learning_rate", "momentum"):
        # A growing policy ends at an infinity, for which JSON has no number.
        state_dict[name] = {
            key: _INFINITIES.get(value, value) for key, value in state_dict[name].items()
        }
    return {
        "version": _VERSION,
        "written_by": _core.__version__,
        "updater": checkpoint.updater,
        "monitor": checkpoint.monitor,
        "layout": [asdict(slot) for slot in checkpoint.layout],
        "configuration": checkpoint.configuration.to_dict(),
        "state_dict": state_dict,
        "accumulated": checkpoint.accumulated is not None,
    }


def _crc32(array: NDArray[Any]) -> int:
    crc32 = 0
    for block in little_endian_blocks(array):
        crc32 = zlib.crc32(bytes_of(block), crc32)
    return crc32


def _crc32_of_rest(document: Mapping[str, Any]) -> int:
    rest = {name: value for name, value in document.items() if name != "crc32"}
    return zlib.crc32(json_text(rest).encode("ascii"))


# ---------------------------------------------------------------------------------------- reading


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a file and check all of it but whether its parts fit together.

    Raises:
        CheckpointError: no checkpoint, one of another version, or damaged.
        OSError: the file cannot be read.
    """
    safetensors = require_safetensors()
    name = path_text("load_updater", path)
    if not stat.S_ISREG(os.stat(name).st_mode):
        raise CheckpointError(f'"{name}": expected a file, got what is none')
    try:
        with safetensors.safe_open(name, framework="np") as file:
            document = checked_document(file.metadata() or {})
            tensors = _checked_tensors(file, document["tensors"])
        return _checkpoint(document, tensors)
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f'"{name}": expected a whole safetensors file, got one that is truncated, damaged or '
            f"of another format: {cut(str(error))}"
        ) from short(error)
    except (TypeError, ValueError) as error:
        raise CheckpointError(whole(f'"{name}": {error}')) from short(error)


def checked_document(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The object in a file's metadata.

    Raises:
        ValueError, TypeError: there is none, it is damaged, or of another version.
    """
    text = metadata.get(_METADATA_KEY)
    if text is None:
        raise ValueError(
            f'expected a checkpoint of flatstep, got a safetensors file without "{_METADATA_KEY}" '
            "in its metadata"
        )
    document = parse_json("metadata", text)
    if not isinstance(document, dict):
        raise TypeError("metadata: expected an object")
    check_version("checkpoint", document.get("version"), _VERSION)
    _check("metadata", document, _DOCUMENT)
    if document["crc32"] != _crc32_of_rest(document):
        raise ValueError("the metadata is damaged: its CRC-32 is not the one it was written with")
    for slot in document["layout"]:
        _check("layout", slot, _SLOT)
    more = _AVERAGES if "averages" in document["state_dict"] else {}
    _check("state_dict", document["state_dict"], _STATE_DICT | more)
    return document


def _checked_tensors(file: Any, crc32s: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    if set(file.keys()) != set(crc32s):
        raise ValueError("the file is damaged: its tensors are not those it was written with")
    tensors: dict[str, NDArray[Any]] = {}
    for name, crc32 in crc32s.items():
        dtype = file.get_slice(name).get_dtype()
        if dtype not in _DTYPES | _NARROW_DTYPES:
            expected = ", ".join([*_DTYPES, *_NARROW_DTYPES])
            raise ValueError(f'tensor "{cut(name)}": expected dtype {expected}, got {dtype}')
        tensors[name] = file.get_tensor(name)
        if _crc32(tensors[name]) != crc32:
            raise ValueError(
                f'tensor "{cut(name)}" is damaged: its CRC-32 is not the one it was written with'
            )
    return tensors


def _checkpoint(document: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Checkpoint:
    layout = tuple(
        SavedSlot(**{**slot, "shape": tuple(slot["shape"])}) for slot in document["layout"]
    )
    shapes = {slot.key: slot.shape for slot in layout}
    if len(shapes) < len(layout):
        raise ValueError("layout: expected different keys")
    state_dict = dict(document["state_dict"])
    dtype = state_dict["dtype"]

    narrow = ("bfloat16", "float16") if dtype == "float32" else ()
    codes = ("uint16", "uint8") if dtype == "float32" else ()

    def tensor(
        key: str, name: str, *, of_state: bool = False, dtypes: tuple[str, ...] = (dtype,)
    ) -> NDArray[Any]:
        if name not in tensors or key not in shapes:
            raise ValueError(f'tensor "{cut(name)}": expected it and its parameter in the file')
        array = tensors[name]
        # What shape a state array has its updater says, so flatstep.state_dict looks at it.
        if (array.shape != shapes[key] and not of_state) or array.dtype.name not in dtypes:
            raise ValueError(
                f'tensor "{cut(name)}": expected {dtype} of shape {cut(str(shapes[key]))}, got '
                f"{array.dtype} of shape {cut(str(array.shape))}"
            )
        return array

    state_dict["state"] = {
        key: {
            name: tensor(key, f"{key}/{name}", of_state=True, dtypes=(dtype, *codes))
            for name in names
        }
        for key, names in state_dict["state"].items()
    }
    if "averages" in state_dict:
        state_dict["averages"] = {
            key: tensor(key, f"{key}/{AVERAGE}") for key in state_dict["averages"]
        }
    infinities = {name: value for value, name in _INFINITIES.items()}
    for name in ("learning_rate", "momentum"):
        state_dict[name] = {
            key: infinities.get(value, value) if isinstance(value, str) else value
            for key, value in state_dict[name].items()
        }
    accumulated = None
    if document["accumulated"]:
        accumulated = {key: tensor(key, f"{key}/{ACCUMULATED}") for key in shapes}
    return Checkpoint(
        updater=document["updater"],
        monitor=document["monitor"],
        layout=layout,
        configuration=MultiLayerConfiguration.from_dict(document["configuration"]),
        state_dict=state_dict,
        parameters={key: tensor(key, key, dtypes=(dtype, *narrow)) for key in shapes},
        accumulated=accumulated,
    )


# ---------------------------------------------------------------- what the object must consist of

_Test = Callable[[Any], bool]


def _is(kind: type[Any]) -> _Test:
    return lambda value: type(value) is kind


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _anything(value: Any) -> bool:
    return True


def _list_of(test: _Test) -> _Test:
    return lambda value: type(value) is list and all(map(test, value))


def _is_names(value: Any) -> bool:
    return _list_of(_is(str))(value) and len(set(value)) == len(value)


def _object_of(test: _Test) -> _Test:
    return lambda value: type(value) is dict and all(map(test, value.values()))


_DOCUMENT: dict[str, _Test] = {
    "version": _is_count,
    "written_by": _is(str),
    "updater": _is(str),
    "monitor": _is(bool),
    "layout": _list_of(_is(dict)),
    "configuration": _is(dict),
    "state_dict": _is(dict),
    "accumulated": _is(bool),
    "tensors": _object_of(_is_count),
    "crc32": _is_count,
}
_SLOT: dict[str, _Test] = {
    "key": _is(str),
    "layer": _is(str),
    "param": _is(str),
    "shape": _list_of(_is_count),
    "order": lambda value: value in ("C", "F"),
}
# What it takes to find the arrays; whether the values are legal is for flatstep.state_dict to say.
_STATE_DICT: dict[str, _Test] = {
    "version": _anything,
    "dtype": lambda value: value in _DTYPES.values(),
    "iteration": _anything,
    "epoch": _anything,
    "skipped_steps": _anything,
    "state": _object_of(_is_names),
    "learning_rate": _is(dict),
    "momentum": _is(dict),
}
#: Where the configuration keeps averages.
_AVERAGES: dict[str, _Test] = {"averages": _is_names}


def _check(where: str, value: Mapping[str, Any], tests: Mapping[str, _Test]) -> None:
    if set(value) != set(tests):
        raise ValueError(
            f"{where}: expected the fields {', '.join(tests)}, got {listed(value) or 'none'}"
        )
    for name, test in tests.items():
        if not test(value[name]):
            raise ValueError(f"{where}: {name}: got what cannot stand there: {shown(value[name])}")
