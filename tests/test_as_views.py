"""Other libraries' arrays: `as_views` shares their memory, or says why it cannot.

The producers below offer their memory as PyTorch, JAX and others do, so that nothing here depends
on what is installed; where PyTorch is, the last tests hold the same against the real one.
"""

from __future__ import annotations

import array
import ctypes
import gc
import importlib.util
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import flatstep as fs

CPU, CUDA, CUDA_PINNED, METAL = 1, 2, 3, 8
SGD = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5))


class OnlyDLPack:
    """Exports a DLPack capsule, in the version that the consumer asks for."""

    def __init__(self, memory: Any, device: int = CPU) -> None:
        self.memory = memory
        self.device = device

    def __dlpack__(self, **arguments: Any) -> Any:
        return self.memory.__dlpack__(**arguments)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0


class OldDLPack(OnlyDLPack):
    """DLPack before 1.0: the capsule does not say whether its memory may be written."""

    def __dlpack__(self, stream: Any = None) -> Any:
        return self.memory.__dlpack__()


class OnlyArray:
    """`__array__` as NumPy 2 has it."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        assert dtype is None
        assert copy is False
        return self.memory


class OldArray(OnlyArray):
    """`__array__` from before NumPy 2, without a `copy`."""

    def __array__(self, dtype: Any = None) -> Any:
        return self.memory


class TorchLike(OldDLPack):
    """As PyTorch before 2.9: an old capsule, and an `__array__` that may be written."""

    def __init__(self, memory: Any, requires_grad: bool = False) -> None:
        super().__init__(memory)
        self.requires_grad = requires_grad

    def detach(self) -> TorchLike:
        return TorchLike(self.memory)

    def __dlpack__(self, stream: Any = None) -> Any:
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        return super().__dlpack__()

    def __array__(self, dtype: Any = None) -> Any:
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return self.memory


class JaxLike(OldDLPack):
    """As JAX: immutable, so that `__array__` is read-only; the old capsule cannot say so."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        view = self.memory.view()
        view.flags.writeable = False
        return view


def memory(dtype: Any = np.float32) -> Any:
    return np.arange(6).reshape(2, 3).astype(dtype)


def owner_of_c_floats(values: Any) -> Any:
    return (ctypes.c_float * 3 * 2)(*(tuple(row) for row in values))


class Source:
    """A way to make an owner of given values, and a way to read them back without `as_views`."""

    def __init__(self, make: Callable[[Any], Any], read: Callable[[Any], Any]) -> None:
        self.make = make
        self.read = read


def read_memory(owner: Any) -> Any:
    return owner.memory


#: Owners of writable memory of shape (2, 3).
WRITABLE = {
    "ndarray": Source(lambda a: a, lambda owner: owner),
    "memoryview": Source(memoryview, lambda owner: np.array(owner.tolist())),
    "strided memoryview": Source(
        lambda a: memoryview(np.repeat(a, 2, axis=0))[::2], lambda owner: np.array(owner.tolist())
    ),
    "bytearray": Source(
        lambda a: memoryview(bytearray(a.tobytes())).cast("f", (2, 3)),
        lambda owner: np.array(owner.tolist()),
    ),
    "ctypes": Source(owner_of_c_floats, lambda owner: np.array([list(row) for row in owner])),
    "DLPack": Source(OnlyDLPack, read_memory),
    "DLPack, Fortran order": Source(lambda a: OnlyDLPack(np.asfortranarray(a)), read_memory),
    "DLPack, strided": Source(lambda a: OnlyDLPack(np.repeat(a, 2, axis=1)[:, ::2]), read_memory),
    "__array__": Source(OnlyArray, read_memory),
    "__array__ before NumPy 2": Source(OldArray, read_memory),
    "old DLPack and __array__": Source(TorchLike, read_memory),
}
if np.lib.NumpyVersion(np.__version__) < "2.1.0":  # Which imports no capsule as writable.
    for name in ("DLPack", "DLPack, Fortran order", "DLPack, strided"):
        del WRITABLE[name]

EACH_WRITABLE = pytest.mark.parametrize("source", WRITABLE.values(), ids=WRITABLE.keys())


@EACH_WRITABLE
def test_the_memory_is_the_owners(source: Source) -> None:
    owner = source.make(memory())
    view = fs.as_views(owner)
    assert type(view) is np.ndarray
    assert view.dtype == np.float32
    np.testing.assert_array_equal(view, memory())
    view[1, 2] = 99
    assert source.read(owner)[1, 2] == 99
    np.testing.assert_array_equal(view, source.read(owner))


@EACH_WRITABLE
def test_a_view_keeps_the_memory_alive(source: Source) -> None:
    view = fs.as_views(source.make(memory()))
    gc.collect()
    np.testing.assert_array_equal(view, memory())


def test_a_view_keeps_a_dlpack_owners_memory_alive() -> None:
    values = memory()
    freed = weakref.ref(values)
    view = fs.as_views(OnlyDLPack(values))
    del values
    gc.collect()
    assert freed() is not None
    del view
    gc.collect()
    assert freed() is None


@pytest.mark.parametrize("code", ["f", "d"])
def test_an_updater_steps_an_array_of_the_standard_library(code: str) -> None:
    weights, gradient = array.array(code, [1, 2, 3]), array.array(code, [2, 2, 2])
    updater = fs.MultiLayerUpdater(SGD, fs.as_views({"0_W": weights}))
    updater.step(fs.as_views({"0_W": gradient}))
    assert weights.tolist() == [0, 1, 2]
    assert gradient.tolist() == [2, 2, 2]


def test_shape_order_and_strides_are_kept() -> None:
    fortran = np.asfortranarray(memory())
    assert fs.as_views(OnlyArray(fortran)).flags.f_contiguous
    strided = fs.as_views(memoryview(np.arange(8.0))[::2])
    assert strided.strides == (16,)
    with pytest.raises(ValueError, match=r'parameter "0_W": expected a C- or F-contiguous array'):
        fs.MultiLayerUpdater(SGD, {"0_W": strided})


@pytest.mark.parametrize(
    ("dtype", "error", "text"),
    [
        (np.int64, TypeError, "expected dtype float32 or float64"),
        (np.bool_, TypeError, "expected dtype float32 or float64"),
        (np.float16, ValueError, 'master: expected "full" for a float16 parameter'),
    ],
)
def test_the_updater_judges_the_dtype(dtype: Any, error: type[Exception], text: str) -> None:
    view = fs.as_views(OnlyDLPack(memory(dtype)))
    assert view.dtype == dtype
    with pytest.raises(error, match=f'^parameter "0_W": {text}'):
        fs.MultiLayerUpdater(SGD, {"0_W": view})


@pytest.mark.parametrize("make", [OnlyDLPack, OldDLPack, OnlyArray, TorchLike])
@pytest.mark.parametrize("shape", [(0,), (2, 0), ()], ids=str)
def test_empty_arrays_and_scalars(make: Callable[[Any], Any], shape: tuple[int, ...]) -> None:
    view = fs.as_views(make(np.zeros(shape, np.float32)))
    assert view.shape == shape


# --------------------------------------------------------------------------------- read-only memory

READ_ONLY = {
    "memoryview": lambda a: memoryview(a).toreadonly(),
    "bytes": lambda a: memoryview(a.tobytes()).cast("f", (2, 3)),
    "JAX": JaxLike,
    "old DLPack, nothing else": OldDLPack,
}


@pytest.mark.parametrize("make", READ_ONLY.values(), ids=READ_ONLY.keys())
def test_read_only_memory(make: Callable[[Any], Any]) -> None:
    """It will do for a gradient; as a parameter, the updater refuses it by name."""
    owner = make(memory())
    view = fs.as_views(owner)
    assert not view.flags.writeable
    np.testing.assert_array_equal(view, memory())
    weights = np.zeros((2, 3), np.float32)
    fs.MultiLayerUpdater(SGD, {"0_W": weights}).step({"0_W": view})
    np.testing.assert_array_equal(weights, -0.5 * memory())
    with pytest.raises(ValueError, match=r'parameter "0_W": expected a writable array'):
        fs.MultiLayerUpdater(SGD, {"0_W": view})


def test_a_writable_copy_does_not_stand_in_for_read_only_memory() -> None:
    """The object keeps a copy of its own for NumPy; written to, the values would go nowhere."""

    class Cached(OldDLPack):
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
            return cache

    values, cache = memory(), memory()
    view = fs.as_views(Cached(values))
    assert np.shares_memory(view, values)
    assert not view.flags.writeable


# --------------------------------------------------------------------------------------- structures


def test_structures_are_kept() -> None:
    w, b = memory(), memory()
    views = fs.as_views(
        {
            "mapping": OrderedDict(W=OnlyDLPack(w), b=OnlyArray(b)),
            "sequence": [(w, OnlyArray(b)), []],
            3: memoryview(w),
            "absent": None,
        }
    )
    assert list(views) == ["mapping", "sequence", 3, "absent"]
    assert list(views["mapping"]) == ["W", "b"]
    assert views["absent"] is None
    assert views["sequence"][0][0] is w
    assert views["sequence"][1] == []
    for view, owner in (
        (views["mapping"]["W"], w),
        (views["mapping"]["b"], b),
        (views["sequence"][0][1], b),
        (views[3], w),
    ):
        assert np.shares_memory(view, owner)


def test_what_as_views_gives_an_updater_takes() -> None:
    w, b = memory(), memory()
    frozen = fs.MultiLayerConfiguration(
        updater=fs.Sgd(0.5), layers={"1": fs.LayerConfiguration(frozen=True)}
    )
    params = [{"W": OnlyArray(w)}, {"W": OnlyArray(b)}]
    updater = fs.MultiLayerUpdater(frozen, fs.as_views(params))
    updater.step(fs.as_views({"0_W": OnlyDLPack(np.ones_like(w)), "1_W": None}))
    np.testing.assert_array_equal(w, memory() - 0.5)
    np.testing.assert_array_equal(b, memory())


# ----------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("device", "name"),
    [
        (CUDA, "device 0 of CUDA"),
        (METAL, "device 0 of Metal"),
        (99, "device 0 of DLPack's type 99"),
    ],
)
def test_refuses_another_device(device: int, name: str) -> None:
    message = rf"^arrays\['fc1'\]: expected memory on the CPU, got OnlyDLPack on {name}; copy it to"
    with pytest.raises(ValueError, match=message):
        fs.as_views({"fc1": OnlyDLPack(memory(), device)})


def test_refuses_a_device_that_is_not_told() -> None:
    class Meta(OnlyDLPack):
        def __dlpack_device__(self) -> tuple[int, int]:
            raise ValueError("Unknown device type meta for Dlpack")

    with pytest.raises(ValueError, match=r"Meta whose __dlpack_device__ fails: Unknown device"):
        fs.as_views(Meta(memory()))


def test_takes_pinned_memory() -> None:
    class Pinned(OnlyArray):
        def __dlpack_device__(self) -> tuple[int, int]:
            return CUDA_PINNED, 0

    values = memory()
    assert np.shares_memory(fs.as_views(Pinned(values)), values)


def test_refuses_a_tensor_that_requires_a_gradient_and_says_what_to_do() -> None:
    values = memory()
    tensor = TorchLike(values, requires_grad=True)
    message = r"arrays\[1\]: expected memory .* without a copy, got TorchLike: .*tensor\.detach\(\)"
    with pytest.raises(ValueError, match=message):
        fs.as_views([values, tensor])
    assert np.shares_memory(fs.as_views(tensor.detach()), values)


@pytest.mark.parametrize("make", [OnlyArray, OldArray])
def test_refuses_an_array_method_that_copies(make: type[OnlyArray]) -> None:
    class Copies(make):  # type: ignore[misc, valid-type]
        def __array__(self, *arguments: Any, **keywords: Any) -> Any:
            return super().__array__(*arguments, **keywords).copy()

    with pytest.raises(ValueError, match=r"^arrays: .* got Copies: __array__ makes a copy$"):
        fs.as_views(Copies(memory()))


def test_refuses_dlpack_that_copies() -> None:
    class Copies(OnlyDLPack):
        def __dlpack__(self, **arguments: Any) -> Any:
            return self.memory.copy().__dlpack__(**arguments)

    with pytest.raises(ValueError, match=r"got Copies: __dlpack__ makes a copy"):
        fs.as_views(Copies(memory()))


def test_takes_another_way_where_one_fails() -> None:
    class Grudging(OnlyArray):
        def __dlpack__(self, **arguments: Any) -> Any:
            raise BufferError("not today")

    values = memory()
    assert np.shares_memory(fs.as_views(Grudging(values)), values)


def test_an_array_method_must_return_an_array() -> None:
    with pytest.raises(ValueError, match=r"__array__ fails: it returns list, no NumPy array"):
        fs.as_views(OnlyArray([1.0, 2.0]))


def test_a_released_buffer_is_refused() -> None:
    view = memoryview(memory())
    view.release()
    with pytest.raises(ValueError, match=r"got memoryview: the buffer protocol fails: .*released"):
        fs.as_views(view)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (1.5, r"arrays: .* got float"),
        (None, r"arrays: .* got NoneType"),
        ("weights", r"arrays: .* got str"),
        (SimpleNamespace(W=1), r"arrays: .* got SimpleNamespace"),
        ({"0_W": [1.0, 2.0]}, r"arrays\['0_W'\]\[0\]: .* got float"),
        (iter([memory()]), r"arrays: .* got list_iterator"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_refuses_what_offers_no_memory(value: Any, where: str) -> None:
    with pytest.raises(TypeError, match=where):
        fs.as_views(value)


# ------------------------------------------------------------------------------------ PyTorch's own

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="the real PyTorch; TorchLike stands in for it"
)


@needs_torch
def test_tensors_and_parameters_of_pytorch() -> None:
    import torch

    tensor = torch.arange(6.0).reshape(2, 3)
    parameter = torch.nn.Parameter(tensor)
    with pytest.raises(ValueError, match=r"got Parameter: .*tensor\.detach\(\)"):
        fs.as_views(parameter)
    for owner in (tensor, parameter.detach(), tensor.T, tensor[:, ::2], tensor.double()):
        view = fs.as_views(owner)
        assert view.flags.writeable
        assert view.ctypes.data == owner.data_ptr()
        assert view.shape == tuple(owner.shape)
        np.testing.assert_array_equal(view, owner.tolist())
    fs.MultiLayerUpdater(SGD, {"0_W": fs.as_views(parameter.detach())}).step(
        {"0_W": fs.as_views(torch.ones(2, 3))}
    )
    assert parameter.tolist() == (np.arange(6.0).reshape(2, 3) - 0.5).tolist()


@needs_torch
def test_refuses_tensors_that_numpy_cannot_have() -> None:
    import torch

    for tensor in (
        torch.zeros(3, dtype=torch.float8_e4m3fn),
        torch.zeros(3, device="meta"),
        torch.zeros(3, 3).to_sparse(),
        torch.zeros(3, dtype=torch.complex64).conj(),
    ):
        with pytest.raises(ValueError, match=r"got Tensor"):
            fs.as_views(tensor)


@needs_torch
def test_bfloat16_of_pytorch() -> None:
    import ml_dtypes
    import torch

    tensor = torch.arange(6.0).reshape(2, 3).to(torch.bfloat16)
    for owner in (tensor, tensor.T, tensor[:, ::2], tensor[0, 0], tensor[:0]):
        view = fs.as_views(owner)
        assert view.dtype == ml_dtypes.bfloat16
        assert view.flags.writeable
        assert view.ctypes.data == owner.data_ptr() or not view.size
        assert view.shape == tuple(owner.shape)
        assert [s // 2 for s in view.strides] == list(owner.stride()) or not view.size
        np.testing.assert_array_equal(view.astype(np.float32), owner.float().numpy())
    parameter = torch.nn.Parameter(tensor)
    config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5), master="split")
    updater = fs.MultiLayerUpdater(config, fs.as_views({"0_W": parameter.detach()}))
    updater.step(fs.as_views({"0_W": torch.ones(2, 3, dtype=torch.bfloat16)}))
    assert parameter.tolist() == (np.arange(6.0).reshape(2, 3) - 0.5).tolist()


@needs_torch
def test_refuses_bfloat16_that_cannot_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    tensor = torch.ones(3, 3, dtype=torch.bfloat16)
    for other, why in (
        (torch.nn.Parameter(tensor), r"got Parameter: .*tensor\.detach\(\)$"),
        (tensor.to("meta"), "got Tensor whose __dlpack_device__ fails"),
        (tensor.to_sparse(), "got Tensor: an int16 view fails: "),
        (torch._neg_view(tensor), "got Tensor: an int16 view fails: .*negative bit"),
    ):
        with pytest.raises(ValueError, match=why):
            fs.as_views(other)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(ValueError, match="ml_dtypes, which is not installed: pip install"):
        fs.as_views(tensor)
