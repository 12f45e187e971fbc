"""bitsandbytes' Adam with 8-bit state, on the CPU: a row of PyTorch's whole-tensor operations.

Its operators choose by the tensors' device, so it is called as on any other; parameters of fewer
than 4096 elements keep full state.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from types import ModuleType

from comparison.cases import BITSANDBYTES, Case
from comparison.contenders.base import (
    BETA1,
    BETA2,
    EPSILON,
    LEARNING_RATE,
    Arrays,
    import_or_absent,
)
from comparison.contenders.torch_step import torch_arrays
from comparison.timing import Contender


class BitsAndBytes:
    name = "bitsandbytes"

    def __init__(self, torch: ModuleType, module: ModuleType) -> None:
        self._torch = torch
        self._optim = module.optim
        self.version = str(module.__version__)

    def set_threads(self, count: int) -> None:
        self._torch.set_num_threads(count)

    def contenders(self, case: Case) -> list[Contender]:
        # A second of a step each: once for a storage will do.
        if case.group != "storage" or case.strategy != "None":
            return []
        arrays = Arrays(case.network, case.dtype)
        layers = torch_arrays(self._torch, arrays)
        optimizer = self._optim.Adam8bit(
            [parameter for layer in layers for parameter in layer],
            lr=LEARNING_RATE,
            betas=(BETA1, BETA2),
            eps=EPSILON,
        )
        return [Contender(BITSANDBYTES, optimizer.step, (), arrays.result)]


def load() -> BitsAndBytes:
    torch = import_or_absent("torch")
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of PyTorch's scripts, which it is made of
        return BitsAndBytes(torch, import_or_absent("bitsandbytes"))
