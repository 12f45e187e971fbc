"""The points beside the parameters: averages, points to evaluate at, and these in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .configuration import MultiLayerConfiguration
from .errors import ParameterKeyError
from .layout import Slot
from .parameters import NamedParameter, quoted_list

__all__ = ["WithPoints"]


class WithPoints(_core.Updater):
    """An updater that shows points beside its parameters, and puts them into their place.

    `NetworkUpdater` is made of it, and sets these attributes when it is made.
    """

    _configuration: MultiLayerConfiguration
    _named: tuple[NamedParameter, ...]
    _slots: tuple[Slot, ...]
    _places: Mapping[str, int]
    #: Which of the methods below has put other points into the parameters' place, if one has.
    _shows: str | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that steps compute in, float32 or float64: that of parameters, gradients and
        state, unless these are narrower."""
        return np.dtype(np.float64 if self._is_wide else np.float32)

    def _place(self, key: str) -> int:
        try:
            return self._places[key]
        except KeyError:
            keys = quoted_list(slot.key for slot in self._slots)
            raise ParameterKeyError(f'unknown key "{key}"; expected one of {keys}') from None

    def averages(self, key: str) -> NDArray[Any]:
        """The moving average of one parameter, with `average_decay`: a live view in its shape and
        order, to be looked at. It is saved with the state, but no part of the state view.

        Raises:
            ParameterKeyError: there is no such parameter.
            ValueError: the configuration keeps no averages.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> w = np.zeros(1)
            >>> config = fs.MultiLayerConfiguration(updater=fs.Sgd(1.0), average_decay=0.5)
            >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
            >>> updater.step({"0_W": np.array([-8.0])})
            >>> w, updater.averages("0_W")
            (array([8.]), array([4.]))
        """
        average: NDArray[Any] | None = self._average(self._place(key))
        if average is None:
            raise ValueError(
                "averages: expected a configuration that keeps them, got average_decay=None; make "
                "the updater with MultiLayerConfiguration(average_decay=0.999)"
            )
        return average

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averages in the parameters' place, to evaluate or save a network with them; the
        parameters come back at the end, whatever happens inside. Take no step inside.

        Raises:
            ValueError: the configuration keeps no averages.
            RuntimeError: a step was taken inside; the state keeps it, the parameters do not.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> w = np.zeros(1)
            >>> config = fs.MultiLayerConfiguration(updater=fs.Sgd(1.0), average_decay=0.5)
            >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
            >>> updater.step({"0_W": np.array([-8.0])})
            >>> with updater.averaged():
            ...     print(w)
            [4.]
            >>> w
            array([8.])
        """
        with self._replaced([(p.array, self.averages(p.key)) for p in self._named], "averaged"):
            yield

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """The points at which a network is to be evaluated in the parameters' place, where its
        updater trains other ones (`ScheduleFreeAdamW`); they come back at the end, to the bit,
        whatever happens inside. Other parameters stay as they are. Take no step inside.

        Raises:
            ValueError: there is no such updater.
            RuntimeError: a step was taken inside; the state keeps it, the parameters do not.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> w = np.zeros(1)
            >>> rule = fs.ScheduleFreeAdamW(1.0, beta1=0.5)
            >>> config = fs.MultiLayerConfiguration(updater=rule)
            >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
            >>> for _ in range(2):
            ...     updater.step({"0_W": np.array([-1.0])})
            >>> with updater.evaluation():
            ...     print(w.round(3))  # the average of 1 and 2
            [1.5]
            >>> w.round(3)  # halfway between that and 2
            array([1.75])
        """
        pairs = []
        for place, parameter in enumerate(self._named):
            point = np.empty_like(parameter.array, dtype=self.dtype)
            if self._evaluation_point(place, point):
                pairs.append((parameter.array, point))
        if not pairs:
            raise ValueError(
                "evaluation: expected an updater that trains other points than it is evaluated at, "
                f"got {self._configuration.updater!r}; evaluate the parameters as they are"
            )
        with self._replaced(pairs, "evaluation"):
            yield

    @contextmanager
    def _replaced(
        self, pairs: list[tuple[NDArray[Any], NDArray[Any]]], what: str
    ) -> Iterator[None]:
        """Others in the place of some parameters, which come back at the end."""
        kept = [array.copy(order="K") for array, _ in pairs]
        iteration, shown = self.iteration, self._shows
        try:
            self._shows = what
            for array, other in pairs:
                array[...] = other
            yield
        finally:
            for (array, _), before in zip(pairs, kept, strict=True):
                array[...] = before
            self._shows = shown
        if self.iteration != iteration:
            raise RuntimeError(
                f"{what}: expected no step inside, got "
                f"{self.iteration - iteration}; the parameters are those from before it, the state "
                "is not: step outside of the with statement"
            )
