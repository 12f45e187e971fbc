"""flatstep with narrow storage: state in 16 and 8 bits, bfloat16 parameters with a split master."""

from __future__ import annotations

from dataclasses import fields
from types import ModuleType
from typing import Any

import numpy as np

from comparison.cases import STORAGE_GROUPS, STORAGES, Case, stored
from comparison.contenders.base import (
    THRESHOLD,
    Absent,
    Arrays,
    import_or_absent,
    rule_of,
)
from comparison.timing import Contender


class FlatstepStorage:
    name = "storage"

    def __init__(self, module: ModuleType, bfloat16: Any, version: str) -> None:
        self._fs = module
        self._bfloat16 = bfloat16
        self.version = f"bfloat16 of ml_dtypes {version}"

    def set_threads(self, count: int) -> None:
        self._fs.set_num_threads(count)

    def contenders(self, case: Case) -> list[Contender]:
        if case.group not in STORAGE_GROUPS or case.storage == "full":
            return []
        fs, storage = self._fs, STORAGES[case.storage]
        arrays = Arrays(case.network, self._bfloat16 if storage.split else case.dtype)
        config = fs.MultiLayerConfiguration(
            updater=rule_of(fs, case),
            gradient_normalization=case.strategy,
            gradient_normalization_threshold=THRESHOLD,
            on_nonfinite="propagate",
            state_storage=storage.state_storage,
            master="split" if storage.split else None,
        )
        updater = fs.MultiLayerUpdater(config, arrays.parameters)

        def result() -> Any:
            return arrays.result().astype(np.float32)

        name = stored("flatstep", case.storage)
        return [Contender(name, updater.step, (arrays.gradients,), result)]


def load() -> FlatstepStorage:
    fs = import_or_absent("flatstep")
    known = {field.name for field in fields(fs.MultiLayerConfiguration)}
    if not {"state_storage", "master"} <= known:
        raise Absent(f"flatstep {fs.__version__} has no state_storage and no master")
    ml_dtypes = import_or_absent("ml_dtypes")
    return FlatstepStorage(fs, ml_dtypes.bfloat16, ml_dtypes.__version__)
