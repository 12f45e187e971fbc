"""DeepSpeed's CPUAdam, which compiles itself for this machine when first used."""

from __future__ import annotations

import contextlib
import os
import sys
from types import ModuleType

from comparison.cases import Case
from comparison.contenders.base import (
    BETA1,
    BETA2,
    EPSILON,
    LEARNING_RATE,
    Absent,
    Arrays,
    import_or_absent,
)
from comparison.contenders.torch_step import torch_arrays, with_clipping
from comparison.timing import Contender


class DeepSpeed:
    name = "deepspeed"

    def __init__(self, torch: ModuleType, deepspeed: ModuleType, adam: ModuleType) -> None:
        self._torch = torch
        self._adam = adam
        self.version = str(deepspeed.__version__)

    def set_threads(self, count: int) -> None:
        self._torch.set_num_threads(count)  # both use the same OpenMP

    def contenders(self, case: Case) -> list[Contender]:
        if (case.updater, case.dtype) != ("Adam", "float32") or case.group == "cache":
            return []
        arrays = Arrays(case.network, case.dtype)
        layers = torch_arrays(self._torch, arrays)
        optimizer = self._adam.DeepSpeedCPUAdam(
            [parameter for layer in layers for parameter in layer],
            lr=LEARNING_RATE,
            betas=(BETA1, BETA2),
            eps=EPSILON,
            adamw_mode=False,
        )
        call = with_clipping(self._torch, case.strategy, layers, optimizer.step)
        return [Contender("DeepSpeed CPUAdam", call, (), arrays.result)]


def load() -> DeepSpeed:
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    with contextlib.redirect_stdout(sys.stderr):  # it logs to both, and compiles
        torch = import_or_absent("torch")
        deepspeed = import_or_absent("deepspeed")
        adam = import_or_absent("deepspeed.ops.adam")
        try:
            adam.DeepSpeedCPUAdam([torch.nn.Parameter(torch.zeros(1))])
        except Exception as problem:  # no compiler, no ninja, an unknown processor, ...
            raise Absent(f"{type(problem).__name__}: {problem}") from problem
    return DeepSpeed(torch, deepspeed, adam)
