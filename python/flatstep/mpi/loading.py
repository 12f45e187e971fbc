"""A checkpoint on any number of processes.

Every rank reads the file for itself: all parameters, and of the state what it has. Each checks the
CRC-32 of a part of the file for all of them, before anything is changed.
"""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flatstep._shown import cut, listed, short, whole
from flatstep.checkpoint import SavedSlot
from flatstep.checkpoint.stretches import CheckpointFile, combined_by_name
from flatstep.configuration import MultiLayerConfiguration
from flatstep.errors import CheckpointError
from flatstep.loading import check_layout, check_slots, named_as_in_file, saved_slot
from flatstep.multi_layer_updater import UPDATER_CLASSES
from flatstep.network_updater import NamedParameters
from flatstep.parameters import Arrays, by_layer
from flatstep.state_dict import take_state_dict

from .ranks import Ranks, uninterrupted
from .shards import BLOCK_BYTES, Across, Tensor, row_blocks, state_tensors
from .updater import DistributedUpdater, StyledParameters

__all__ = ["load_updater"]


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
    dtypes = [document["state_dict"]["dtype"]]
    if dtypes == ["float32"]:
        dtypes += ["bfloat16", "float16"]
    if params is None:
        missing = next((slot.key for slot in layout if slot.key not in file.shapes), None)
        if missing is not None:
            raise CheckpointError(f'{name}: tensor "{cut(missing)}": expected it in the file')
        params = {
            slot.key: np.empty(slot.shape, file.dtype(slot.key), order=slot.order)
            for slot in layout
        }
    named = NamedParameters(by_layer(named_as_in_file(layout, params, cls.key_style)))
    given = [saved_slot(parameter) for parameter in named]
    try:
        check_layout(layout, given)
        check_slots(layout, given)
        for slot in layout:
            if file.shapes.get(slot.key) != slot.shape or file.dtype(slot.key).name not in dtypes:
                raise ValueError(f'tensor "{cut(slot.key)}": expected it in the file, of its shape')
        for parameter in named:
            saved = file.dtype(parameter.key).name
            if parameter.array.dtype.name != saved:
                package = "ml_dtypes" if saved == "bfloat16" else "np"
                raise ValueError(
                    f'parameter "{cut(parameter.key)}": expected dtype {saved}, as in the file, '
                    f"got {parameter.array.dtype}; convert it with .astype({package}.{saved})"
                )
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
    targets: dict[str, Tensor] = {}
    names: dict[str, list[str]] = {}
    averages: list[str] = []
    for slot, own in zip(
        updater._slots, state_tensors(updater, updater.layout, updater._ranks), strict=True
    ):
        if own.kept:
            names[slot.key] = list(own.kept)
        targets |= {f"{slot.key}/{name}": tensor for name, tensor in own.kept.items()}
        if own.average is not None:
            averages.append(slot.key)
            targets[f"{slot.key}/average"] = own.average
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


def _read_piece(file: CheckpointFile, name: str, tensor: Tensor, rank: int) -> None:
    begin, size = tensor.pieces[rank]
    is_whole = size == tensor.size
    shape = file.shapes[name]
    dtype = file.dtype(name).name
    if dtype != tensor.array.dtype.name or (shape != tensor.shape and tensor.array.size):
        raise ValueError(
            f'tensor "{cut(name)}": expected {tensor.array.dtype} of shape '
            f"{cut(str(tensor.shape))}, got {dtype} of shape {cut(str(shape))}"
        )
    if tensor.array.size == 0:
        return
    if is_whole:
        _read_whole(file, name, tensor.array)
    elif tensor.order == "C" or len(shape) < 2:
        file.read(name, begin, tensor.array)
    else:
        across = Across((begin, size), shape[0])
        width = tensor.size // shape[0]
        for low, high in row_blocks(tensor):
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
    step = max(BLOCK_BYTES // max(width * array.itemsize, 1), 1)
    for low in range(0, array.shape[0], step):
        rows = np.empty(array[low : low + step].shape, array.dtype)
        file.read(name, low * width, rows)
        array[low : low + step] = rows


def _read_parameters(updater: DistributedUpdater, file: CheckpointFile) -> None:
    for key, array in updater.parameters.items():
        _read_whole(file, key, array)
