"""PyTorch's CPU optimizers: fused where there is a fused one, and foreach.

The gradients are set once as `.grad` and never zeroed; parameters and gradients lie in NumPy's
memory (with huge pages, where the system grants them), like those of the other contenders.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from comparison.cases import Case
from comparison.contenders.base import (
    BETA1,
    BETA2,
    EPSILON,
    LEARNING_RATE,
    THRESHOLD,
    Arrays,
    import_or_absent,
)
from comparison.timing import Contender

_ADAM = {"lr": LEARNING_RATE, "betas": (BETA1, BETA2), "eps": EPSILON}
# flatstep's updater -> PyTorch's nearest optimizer, its arguments, and whether it can be fused.
OPTIMIZERS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "Sgd": ("SGD", {"lr": LEARNING_RATE}, True),
    "Nesterovs": ("SGD", {"lr": LEARNING_RATE, "momentum": 0.9, "nesterov": True}, True),
    "AdaGrad": ("Adagrad", {"lr": LEARNING_RATE, "eps": 1e-6}, True),
    "RmsProp": ("RMSprop", {"lr": LEARNING_RATE, "alpha": 0.95, "eps": 1e-8}, False),
    "AdaDelta": ("Adadelta", {"lr": 1.0, "rho": 0.95, "eps": 1e-6}, False),
    "Adam": ("Adam", _ADAM, True),
    "AMSGrad": ("Adam", {**_ADAM, "amsgrad": True}, True),
    "AdaMax": ("Adamax", _ADAM, False),
    "Nadam": ("NAdam", _ADAM, False),
}


def torch_arrays(torch: ModuleType, arrays: Arrays) -> list[list[Any]]:
    """The parameters of each layer as tensors on the same memory, their gradients set."""
    layers = []
    for keys in arrays.layers:
        layer = []
        for key in keys:
            parameter = torch.nn.Parameter(torch.from_numpy(arrays.parameters[key]))
            parameter.grad = torch.from_numpy(arrays.gradients[key])
            layer.append(parameter)
        layers.append(layer)
    return layers


def with_clipping(
    torch: ModuleType, strategy: str, layers: list[list[Any]], step: Callable[[], object]
) -> Callable[[], object]:
    """`step` after `clip_grad_norm_`: once over all parameters, or once per layer."""
    clip = torch.nn.utils.clip_grad_norm_
    if strategy == "None":
        return step
    groups = layers
    if strategy == "ClipL2Global":
        groups = [[parameter for layer in layers for parameter in layer]]

    def clipped_step() -> None:
        for parameters in groups:
            clip(parameters, THRESHOLD)
        step()

    return clipped_step


class Torch:
    name = "torch"

    def __init__(self, module: ModuleType) -> None:
        self._torch = module
        self.version = str(module.__version__)

    def set_threads(self, count: int) -> None:
        self._torch.set_num_threads(count)

    def contenders(self, case: Case) -> list[Contender]:
        if case.updater not in OPTIMIZERS or case.group == "cache":
            return []
        optimizer, arguments, fused = OPTIMIZERS[case.updater]
        found = []
        implementations = ("fused", "foreach") if fused else ("foreach",)
        if case.group == "storage":
            implementations = ("fused",)
        for implementation in implementations:
            arrays = Arrays(case.network, case.dtype)
            layers = torch_arrays(self._torch, arrays)
            parameters = [parameter for layer in layers for parameter in layer]
            make = getattr(self._torch.optim, optimizer)
            step = make(parameters, **arguments, **{implementation: True}).step
            call = with_clipping(self._torch, case.strategy, layers, step)
            found.append(Contender(f"torch {implementation}", call, (), arrays.result))
        return found


def load() -> Torch:
    # Huge pages for PyTorch's own memory too; read when it allocates for the first time.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    return Torch(import_or_absent("torch"))
