"""Arrays of other libraries as NumPy arrays that share their memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_views"]

#: DLPack's types of devices whose memory the CPU reads and writes: its own, and that which CUDA or
#: ROCm pin or manage for it.
_CPU_DEVICES = frozenset({1, 3, 11, 13})
_DEVICE_NAMES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 14: "oneAPI"}


def as_views(arrays: Any) -> Any:
    """NumPy arrays that share the memory of other libraries' arrays: zero-copy, or an error.

    What an updater does to a view, the array that it was made of shows, and the other way round. A
    view keeps its memory alive.

    Args:
        arrays: a PyTorch CPU tensor, `array.array`, `memoryview`, ctypes array, pandas column:
            anything on the CPU with the buffer protocol, ``__dlpack__`` or ``__array__``; or
            mappings and sequences of these, nested at will, as an updater takes them. In these,
            None stays None: it stands for the absent gradient of a frozen layer.

    Returns:
        An array, or a dict or list of them, in the structure of ``arrays``. Shape, strides and
        dtype are as they were; whether they will do is for the updater to say, which knows what it
        reads and what it writes. PyTorch's bfloat16 is that of the package ml_dtypes, which must be
        installed. NumPy arrays are returned as they are. A view is read-only if all
        that its owner offers is: immutable arrays such as JAX's, and those whose only offer is a
        DLPack capsule that does not say (DLPack before 1.0, or NumPy before 2.1).

    Raises:
        TypeError: something that offers no memory at all, such as a float.
        ValueError: memory that cannot be shared: on another device, of a dtype that NumPy does not
            have, a tensor that is part of a gradient's computation (pass ``tensor.detach()``,
            which has the same memory), or an ``__array__`` that makes a copy.

    Example:
        >>> from array import array
        >>> import flatstep as fs
        >>> weights = array("d", [1.0, 2.0])
        >>> updater = fs.MultiLayerUpdater(
        ...     fs.MultiLayerConfiguration(updater=fs.Sgd(0.5)), fs.as_views({"0_W": weights})
        ... )
        >>> updater.step(fs.as_views({"0_W": array("d", [1.0, 1.0])}))
        >>> weights
        array('d', [0.5, 1.5])
    """
    return _views(arrays, "arrays")


def _views(value: Any, where: str) -> Any:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, Mapping):
        return {key: _item(item, f"{where}[{key!r}]") for key, item in value.items()}
    exports = list(_exports(value))
    if exports:
        return _view(value, exports, where)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_item(item, f"{where}[{place}]") for place, item in enumerate(value)]
    raise TypeError(
        f"{where}: expected an object with __dlpack__, the buffer protocol or __array__, or a "
        f"mapping or sequence of such objects, got {type(value).__name__}"
    )


def _item(value: Any, where: str) -> Any:
    return None if value is None else _views(value, where)


_Export = tuple[str, Callable[[], NDArray[Any]]]


def _exports(value: Any) -> Iterator[_Export]:
    """The ways in which an object offers its memory, each with its name."""
    torch: Any = sys.modules.get("torch")  # before it is imported there are no tensors
    if torch and isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16:
        yield "an int16 view", lambda: _of_bfloat16(value, value.view(torch.int16))
        return
    if _has_buffer(value):
        yield "the buffer protocol", lambda: np.asarray(memoryview(value))
    if hasattr(value, "__dlpack__"):
        yield "__dlpack__", lambda: np.from_dlpack(value)
    if hasattr(value, "__array__"):
        yield "__array__", lambda: _from_array_method(value)


def _of_bfloat16(tensor: Any, integers: Any) -> NDArray[Any]:
    """A tensor of a dtype that NumPy has no DLPack for, by integers of the same memory."""
    if tensor.requires_grad:  # which the integers do not
        raise BufferError("it requires a gradient, use tensor.detach()")
    view: NDArray[Any] = _view(integers, list(_exports(integers)), "its integers")
    return view.view(bfloat16())


def bfloat16() -> np.dtype[Any]:
    """The dtype, of another package than NumPy.

    Raises:
        ImportError: that is not installed.
    """
    try:
        import ml_dtypes
    except ImportError as error:
        raise ImportError(
            "bfloat16 arrays need ml_dtypes, which is not installed: pip install ml_dtypes"
        ) from error
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def _has_buffer(value: Any) -> bool:
    try:
        memoryview(value)
    except TypeError:
        return False
    except Exception:
        return True  # It has one and does not give it; why not, `_view` says.
    return True


def _from_array_method(value: Any) -> NDArray[Any]:
    try:
        array = value.__array__(copy=False)
    except TypeError:  # A method from before NumPy 2, without the argument.
        array = value.__array__()
    if not isinstance(array, np.ndarray):
        raise TypeError(f"it returns {type(array).__name__}, no NumPy array")
    return array


def _view(value: Any, exports: list[_Export], where: str) -> NDArray[Any]:
    """The first writable view that an object offers, else the first read-only one."""
    _require_cpu(value, where)
    found: NDArray[Any] | None = None
    refusals = []
    for name, export in exports:
        try:
            view, again = export(), export()
        except Exception as error:  # Whatever another library raises, it is a refusal.
            refusals.append(f"{name} fails: {error}")
            continue
        if not _same_memory(view, again):  # Both are alive: one of them at least is a copy.
            refusals.append(f"{name} makes a copy")
            continue
        if found is None or (view.flags.writeable and _same_memory(view, found)):
            found = view
        if found.flags.writeable:
            return found
    if found is None:
        raise ValueError(
            f"{where}: expected memory that can be shared without a copy, got "
            f"{type(value).__name__}: {'; '.join(refusals)}"
        )
    return found


def _same_memory(a: NDArray[Any], b: NDArray[Any]) -> bool:
    alike = (a.shape, a.strides, a.dtype) == (b.shape, b.strides, b.dtype)
    return alike and (a.ctypes.data == b.ctypes.data or a.size == 0)


def _require_cpu(value: Any, where: str) -> None:
    device_of = getattr(value, "__dlpack_device__", None)
    if device_of is None:
        return
    try:
        device, number = device_of()
        device = int(device)
    except Exception as error:
        raise ValueError(
            f"{where}: expected memory on the CPU, got {type(value).__name__} whose "
            f"__dlpack_device__ fails: {error}"
        ) from error
    if device not in _CPU_DEVICES:
        name = _DEVICE_NAMES.get(device, f"DLPack's type {device}")
        raise ValueError(
            f"{where}: expected memory on the CPU, got {type(value).__name__} on device {number} "
            f"of {name}; copy it to the CPU, and back after the step"
        )
