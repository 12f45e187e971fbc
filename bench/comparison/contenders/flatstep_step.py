"""flatstep: `step` with a dict of gradients each time, and its variants."""

from __future__ import annotations

from types import ModuleType

from comparison.cases import STORAGE_GROUPS, Case
from comparison.contenders.base import THRESHOLD, Arrays, import_or_absent, rule_of
from comparison.timing import Contender

AVERAGE_DECAY = 0.999

# Where only the bytes count, the ways to pass gradients are left out.
GROUPS_WITHOUT_VARIANTS = ("updaters", "averages", "float64", "cache", "sizes", "loop")


class Flatstep:
    name = "flatstep"

    def __init__(self, module: ModuleType) -> None:
        self._fs = module
        self.version = f"{module.__version__}, {module.isa()}"

    def set_threads(self, count: int) -> None:
        self._fs.set_num_threads(count)

    def contenders(self, case: Case) -> list[Contender]:
        if case.group in STORAGE_GROUPS:
            return [self.make(case)]
        found = [self.make(case), self.make(case, on_nonfinite="raise")]
        if case.group not in GROUPS_WITHOUT_VARIANTS:
            found.append(self.make(case, bound=True))
            if case.network.num_arrays > 1:
                found.append(self.make(case, flat=True))
        if case.strategy != "None":
            found.append(self.make(case, strategy="None"))
        return found

    def make(
        self,
        case: Case,
        *,
        on_nonfinite: str = "propagate",
        bound: bool = False,
        flat: bool = False,
        strategy: str | None = None,
    ) -> Contender:
        """One variant; `strategy` replaces the case's."""
        fs = self._fs
        arrays = Arrays(case.network, case.dtype, flat=flat)
        config = fs.MultiLayerConfiguration(
            updater=rule_of(fs, case),
            gradient_normalization=case.strategy if strategy is None else strategy,
            gradient_normalization_threshold=THRESHOLD,
            on_nonfinite=on_nonfinite,
            # An older build, which two_builds.py has beside this one, knows no averages.
            **({"average_decay": AVERAGE_DECAY} if case.averages else {}),
        )
        updater = fs.MultiLayerUpdater(config, arrays.parameters)
        variants = {"raise": on_nonfinite == "raise", "bound": bound, "flat": flat}
        variants["plain"] = strategy is not None
        name = ", ".join(["flatstep", *(variant for variant, set_ in variants.items() if set_)])
        if bound:
            updater.bind_gradients(arrays.gradients)
            return Contender(name, updater.step, (), arrays.result)
        return Contender(name, updater.step, (arrays.gradients,), arrays.result)


def load() -> Flatstep:
    return Flatstep(import_or_absent("flatstep"))
