"""Models of DL4J: loading, continuing, saving."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flatstep._shown import listed, shown, whole
from flatstep.atomic_file import atomic_file, path_text
from flatstep.configuration import MultiLayerConfiguration
from flatstep.multi_layer_updater import ComputationGraphUpdater, MultiLayerUpdater
from flatstep.network_updater import NetworkUpdater
from flatstep.parameters import flatten

from . import configuration
from .archive import Archive, Part, new_entry, write_archive
from .configuration import DL4JLayer, ModelDescription, SlotShape, read_configuration, with_counts
from .errors import DL4JModelError
from .nd4j import MAX_HEADER, array_bytes, new_header, read_array

__all__ = ["DL4JModel", "load_dl4j", "save_dl4j"]

COEFFICIENTS = "coefficients.bin"
UPDATER_STATE = "updaterState.bin"
# The entries that saving writes anew, the first with new counts only.
REWRITTEN = (configuration.ENTRY, COEFFICIENTS, UPDATER_STATE)
MAX_CONFIGURATION = 4 << 20
DEFAULT_MAX_BYTES = 4 << 30
# What any file may take by default, and how many bytes for each of its own: under AMSGrad there are
# four arrays for the bytes of one, while its state is zeros, which take no room in a zip.
_SMALL = 16 << 20
_BYTES_PER_BYTE = 5


@dataclass(frozen=True)
class _Source:
    """What saving needs of the file that the model came from."""

    configuration: bytes
    # The headers of the two arrays, by entry.
    headers: Mapping[str, bytes]
    # In the order of the file; `raw` is None for the entries that saving writes anew.
    parts: Mapping[str, Part]


class DL4JModel:
    """A model that DL4J's ModelSerializer saved: its parameters and the run that made them.

    Made by `load_dl4j`.

    Attributes:
        network: ``"MultiLayerNetwork"`` or ``"ComputationGraph"``.
        configuration: What the model's configuration.json says of updaters, rates, normalisation
            and regularisation, layer by layer.
        layers: By name, in their order, every layer with its kind and DL4J's own settings, also
            those without parameters.
        params: By key (``"0_W"``), in their order, arrays in DL4J's shapes and memory orders: views
            of `flat_params`.
        flat_params: All parameters in one buffer, as DL4J's ``params()``.
        updater_state: The updater state as it was saved, flat, in the order of a state view; None
            where the file has none (the updaters keep no state, or it was saved without).
        iteration: The iteration that the next step is.
        epoch: The epoch that the next step is in.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> model = fs.load_dl4j("model.zip")
        >>> model
        <DL4JModel: MultiLayerNetwork of 2 layers, 67 parameters (float32), iteration 40, epoch 2>
        >>> gradients = {key: np.zeros_like(array) for key, array in model.params.items()}
        >>> model.updater().step(gradients, batch_size=10)
        >>> fs.save_dl4j("model.zip", model)
    """

    def __init__(
        self,
        description: ModelDescription,
        params: dict[str, npt.NDArray[Any]],
        flat_params: npt.NDArray[Any],
        updater_state: npt.NDArray[Any] | None,
        source: _Source,
    ) -> None:
        self.network: str = description.network
        self.configuration: MultiLayerConfiguration = description.configuration
        self.layers: dict[str, DL4JLayer] = {layer.name: layer for layer in description.layers}
        self.params = params
        self.flat_params = flat_params
        self.updater_state = updater_state
        self.iteration: int = description.iteration
        self.epoch: int = description.epoch
        self._slots = description.slots
        self._source = source
        self._updater: MultiLayerUpdater | ComputationGraphUpdater | None = None

    def updater(self) -> MultiLayerUpdater | ComputationGraphUpdater:
        """The updater that continues the run: on `params`, with the saved state and counts.

        A `ComputationGraphUpdater` for a ComputationGraph. It is made at the first call and is the
        same object from then on, so that `save_dl4j` finds the run where it stands. A model that
        was saved without its updater's state starts with a fresh one, as in DL4J.

        DL4J's gradients are sums over the batch: pass ``batch_size=`` to ``step`` where the
        configuration has ``mini_batch`` and yours are sums too, and leave it out where they are
        means.
        """
        if self._updater is None:
            graph = self.network == "ComputationGraph"
            make = ComputationGraphUpdater if graph else MultiLayerUpdater
            updater = make(self.configuration, self.params)
            if self.updater_state is not None:
                updater.state_view[:] = self.updater_state
            updater.iteration = self.iteration
            updater.epoch = self.epoch
            self._updater = updater
        return self._updater

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: {self.network} of {len(self.layers)} layers, "
            f"{self.flat_params.size} parameters ({self.flat_params.dtype}), iteration "
            f"{self.iteration}, epoch {self.epoch}>"
        )


def load_dl4j(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> DL4JModel:
    """Read a model that DL4J 1.0 saved with ``ModelSerializer.writeModel``.

    The file is not trusted. Every size is checked against what the configuration needs before
    anything is allocated; nothing is unpickled, executed or extracted. Entries that flatstep has no
    use for, such as a normalizer, are kept as they are for `save_dl4j` and not looked into.

    Where DL4J 1.0.0-M2.1 strays from its own documents, flatstep follows the documents: its
    PolySchedule grows where it should fall, so a run under it does not continue as there.

    Args:
        path: The zip file.
        max_bytes: The most that parameters, updater state and unread entries may take in memory.
            Default: 4 GiB, but no more than 16 MiB and five bytes for each byte of the file, as a
            small zip can unfold to gigabytes.

    Returns:
        The model; ``model.updater()`` continues its run.

    Raises:
        DL4JModelError: The file is truncated, damaged, contradicts itself, was not written by DL4J
            1.0, or the model has something that flatstep could not continue exactly: a layer kind
            whose parameter layout it does not know, constraints, another optimisation algorithm.
            The message says what.
        OSError: The file cannot be opened or read.
        TypeError: ``path`` is no path.

    Example:
        >>> import flatstep as fs
        >>> model = fs.load_dl4j("model.zip")
        >>> {key: array.shape for key, array in model.params.items()}
        {'0_W': (4, 8), '0_b': (8,), '1_W': (8, 3), '1_b': (3,)}
    """
    name = path_text("load_dl4j", path)
    try:
        status = os.stat(name)
        if not stat.S_ISREG(status.st_mode):  # to open a FIFO could wait for ever
            raise DL4JModelError("expected a file, got what is none")
        if max_bytes is None:
            max_bytes = min(DEFAULT_MAX_BYTES, _SMALL + _BYTES_PER_BYTE * status.st_size)
        with open(name, "rb") as file:
            return _load(Archive(file), max_bytes)
    except DL4JModelError as error:
        raise DL4JModelError(whole(f"{name}: {error}")) from error


def _load(archive: Archive, max_bytes: int) -> DL4JModel:
    content = _read_configuration_entry(archive)
    description = read_configuration(content)
    length = sum(slot.size for slot in description.slots)
    itemsize = (description.dtype or np.dtype(np.float32)).itemsize
    entries = archive.entries.values()
    unread = sum(entry.end - entry.start for entry in entries if entry.name not in REWRITTEN)
    needed = (length + description.state_size) * itemsize + unread
    if needed > max_bytes:
        raise DL4JModelError(
            f"the model needs {shown(needed)} bytes of memory, more than max_bytes={max_bytes}; if "
            f"you trust the file, pass a larger max_bytes"
        )
    values, header = _read_entry(archive, COEFFICIENTS, length, description.dtype)
    headers = {COEFFICIENTS: header}
    state = None
    if UPDATER_STATE in archive.entries:
        if not description.state_size:
            raise DL4JModelError(f"{UPDATER_STATE}: none of the model's updaters has a state")
        state, headers[UPDATER_STATE] = _read_entry(
            archive, UPDATER_STATE, description.state_size, values.dtype
        )
    parts = {
        entry.name: Part(
            entry.record, entry.header, None if entry.name in REWRITTEN else archive.raw(entry)
        )
        for entry in entries
    }
    flat, views = flatten(_views(values, description.slots))
    return DL4JModel(description, views, flat, state, _Source(content, headers, parts))


def _read_configuration_entry(archive: Archive) -> bytes:
    for name in (configuration.ENTRY, COEFFICIENTS):
        if name not in archive.entries:
            raise DL4JModelError(f"there is no {name}: the file was not written by ModelSerializer")
    entry = archive.entries[configuration.ENTRY]
    if entry.size > MAX_CONFIGURATION:
        raise DL4JModelError(
            f"{entry.name} declares {entry.size} bytes; the limit is {MAX_CONFIGURATION}"
        )
    reader = archive.open(entry)
    content = reader.read(entry.size)
    reader.finish()
    return content


def _read_entry(
    archive: Archive, name: str, length: int, dtype: np.dtype[Any] | None
) -> tuple[npt.NDArray[Any], bytes]:
    entry = archive.entries[name]
    widest = (dtype or np.dtype(np.float64)).itemsize
    if entry.size > length * widest + MAX_HEADER:
        raise DL4JModelError(
            f"{name} declares {entry.size} bytes; the {length} values that "
            f"{configuration.ENTRY} calls for take {length * widest}"
        )
    array = read_array(archive.open(entry), name, length, dtype)
    return array.values, array.header


def _views(values: npt.NDArray[Any], slots: tuple[SlotShape, ...]) -> dict[str, npt.NDArray[Any]]:
    views = {}
    offset = 0
    for slot in slots:
        part = values[offset : offset + slot.size]
        views[slot.key] = part.reshape(slot.shape, order=slot.order)
        offset += slot.size
    return views


def save_dl4j(
    path: str | os.PathLike[str], model: DL4JModel, updater: NetworkUpdater | None = None
) -> None:
    """Write ``model`` as a zip that DL4J's ModelSerializer restores, where the run now stands.

    The file that the model was loaded from is written again with new coefficients, updater state,
    iteration and epoch. All else, every other entry and every other byte of configuration.json,
    stays as it was. The file is written beside ``path``, synced and renamed: a kill at any point
    leaves the old file or the new one, whole.

    Args:
        path: The file to write; may be the one the model came from.
        model: A model from `load_dl4j`.
        updater: The updater whose parameters, state and counts to save. Default: the one that
            ``model.updater()`` has made, and before that what was loaded, with `model.params` as
            they are now.

    Raises:
        DL4JModelError: The updater has another configuration or other parameters than the model, or
            a learning rate that was set by hand: the zip could not say so.
        OSError: The file cannot be written, or what is there is none: a folder, a FIFO, a device.
        TypeError: ``path`` is no path.
    """
    if updater is None:
        updater = model._updater
    source = model._source
    params: Mapping[str, npt.NDArray[Any]] = model.params
    state, iteration, epoch = model.updater_state, model.iteration, model.epoch
    if updater is not None:
        _check_updater(model, updater)
        params = updater.parameters
        state = updater.state_view if updater.state_view.size else None
        iteration, epoch = updater.iteration, updater.epoch
    if max(iteration, epoch) > configuration.MAX_COUNT:
        raise DL4JModelError(f"iteration {iteration}, epoch {epoch}: DL4J counts in 32 bits")
    slots = model._slots
    contents: dict[str, Iterator[bytes | memoryview]] = {
        configuration.ENTRY: iter([with_counts(source.configuration, iteration, epoch)]),
        COEFFICIENTS: array_bytes(
            source.headers[COEFFICIENTS],
            (params[slot.key].reshape(-1, order=slot.order) for slot in slots),
        ),
    }
    if state is not None:
        header = source.headers.get(UPDATER_STATE) or new_header(state.size, state.dtype)
        contents[UPDATER_STATE] = array_bytes(header, iter([state]))
    with atomic_file(path) as file:
        write_archive(file, _parts(source, contents))


def _parts(source: _Source, contents: Mapping[str, Iterator[bytes | memoryview]]) -> Iterator[Part]:
    for name, part in source.parts.items():
        yield part if part.raw is not None else Part(part.record, part.header, None, contents[name])
    for name in contents.keys() - source.parts.keys():
        yield Part(*new_entry(name), None, contents[name])


def _check_updater(model: DL4JModel, updater: NetworkUpdater) -> None:
    if updater.configuration != model.configuration:
        raise DL4JModelError(
            "the updater's configuration is not the model's, which the zip keeps: make the updater "
            "by model.updater()"
        )
    slots = model._slots
    if [slot.key for slot in updater.layout] != [slot.key for slot in slots]:
        raise DL4JModelError("the updater's parameters are not the model's: they have other keys")
    for slot in slots:
        array = updater.parameters[slot.key]
        flags = array.flags
        contiguous = flags.c_contiguous if slot.order == "C" else flags.f_contiguous
        if array.shape != slot.shape or not contiguous or array.dtype != model.flat_params.dtype:
            raise DL4JModelError(
                f"parameter {slot.key!r} of the updater: expected shape {slot.shape}, order "
                f"{slot.order!r} and {model.flat_params.dtype}, as in DL4J, got shape "
                f"{array.shape}, strides {array.strides} and {array.dtype}"
            )
    by_hand = updater.state_dict()["learning_rate"]
    if by_hand:
        raise DL4JModelError(
            f"the learning rate of {listed(by_hand)} was set by set_learning_rate, which "
            f"{configuration.ENTRY} has no place for: set it back, or continue with a schedule"
        )
