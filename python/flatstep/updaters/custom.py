"""Updaters of one's own, in Python."""

# No postponed annotations: see built_in.py.
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import numpy as np

from flatstep._coerce import constructor_arguments
from flatstep.schedules import Schedule
from flatstep.serialization import MadeByConstructor, named_class, register

from .base import Updater

__all__ = ["CustomUpdater", "register_updater"]


class CustomUpdater(Updater, MadeByConstructor, ABC):
    r"""An updater of your own, in Python.

    A subclass names its state arrays and turns a gradient into an update:

    - ``state``: the names of the state arrays, for example ``("m",)``; ``()`` for none;
    - ``learning_rate``: a number, a schedule, or None where it has none;
    - ``initial_state``: what the state arrays start with, ``{name: number}``, or "parameter" for a
      copy of it; 0 where not said;
    - ``state_shapes``: the shapes of state arrays that have not their parameter's;
    - ``get_gradient``: the formula; one with a fifth argument, ``parameter``, is given the
      parameter, too (``reads_parameter`` says whether, and follows from it).

    Two instances are equal, and share an updater block, if they are of one class and their public
    attributes are equal; so do not change an instance that is in use.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> class Momentum(fs.CustomUpdater):
        ...     state = ("m",)
        ...     def __init__(self, learning_rate=0.1, decay=0.9):
        ...         self.learning_rate = learning_rate
        ...         self.decay = decay
        ...     def get_gradient(self, g, state, learning_rate, iteration):
        ...         state["m"] *= self.decay
        ...         state["m"] += g
        ...         np.multiply(state["m"], learning_rate, out=g)
        >>> w = np.array([1.0, 2.0])
        >>> config = fs.MultiLayerConfiguration(updater=Momentum(0.5))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([1.0, -1.0])})
        >>> w
        array([0.5, 2.5])
    """

    state: ClassVar[tuple[str, ...]] = ()
    initial_state: Mapping[str, float | str] = MappingProxyType({})
    learning_rate: float | Schedule | None = None
    reads_parameter: ClassVar[bool] = False

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "get_gradient" in vars(cls) and "reads_parameter" not in vars(cls):
            taken = inspect.signature(cls.get_gradient).parameters.values()
            by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            cls.reads_parameter = sum(one.kind in by_place for one in taken) > 5  # with self

    def state_shapes(self, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The shapes of state arrays that have not their parameter's, by name.

        Args:
            shape: the parameter's. The same shape must give the same answer every time.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> class Normalized(fs.CustomUpdater):
            ...     state = ("norm",)
            ...     learning_rate = 0.1
            ...     def state_shapes(self, shape):
            ...         return {"norm": ()}  # one number for each parameter
            ...     def get_gradient(self, g, state, learning_rate, iteration):
            ...         np.maximum(state["norm"], np.linalg.norm(g), out=state["norm"])
            ...         g *= learning_rate / state["norm"]
            >>> w = np.array([1.0, 2.0])
            >>> config = fs.MultiLayerConfiguration(updater=Normalized())
            >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
            >>> updater.step({"0_W": np.array([3.0, 4.0])})
            >>> updater.state("0_W")["norm"]
            array(5.)
        """
        return {}

    @abstractmethod
    def get_gradient(
        self,
        g: Any,
        state: dict[str, Any],
        learning_rate: float | None,
        iteration: int,
        parameter: Any = None,
    ) -> None:
        """Turns the gradient `g` of one parameter into its update, in place.

        It is called once per parameter and step, on scratch copies: where it raises, nothing has
        happened to parameters, state or counters.

        Args:
            g: the gradient after normalisation and regularisation, an array of the updater's dtype;
                must hold the update when the call returns. Valid during the call only.
            state: the state arrays by name, like `g`; to be changed in place.
            learning_rate: the rate of this step; None if the updater has none.
            iteration: counts from 0.
            parameter: the parameter as it is before the step, a copy that cannot be written to;
                given where ``get_gradient`` has this argument, and only there.
        """

    def _public(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        assert isinstance(other, CustomUpdater)
        return bool(_comparable(self._public()) == _comparable(other._public()))

    def __hash__(self) -> int:
        return hash((type(self), _comparable(self._public())))

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._public().items())
        return f"{type(self).__name__}({arguments})"


_C = TypeVar("_C", bound=type[CustomUpdater])


def register_updater(cls: _C) -> _C:
    """Let configurations with this class of CustomUpdater be saved to files and loaded from them.

    A file names the class and the arguments of its constructor, which the class must keep in public
    attributes of the same names; they may be numbers, strings, flags, None, schedules, updaters,
    and lists of these. Whoever loads the file registers the class, too. It may be used as a
    decorator.

    Args:
        cls: the class. Its name must not be that of another updater or schedule; a class of the
            same module and name replaces the one registered before, as when a cell runs again.

    Returns:
        The class.

    Raises:
        TypeError: no subclass of CustomUpdater, an abstract one, or one whose constructor has
            arguments without names (``*args``, ``**kwargs``).
        ValueError: the name is taken.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> @fs.register_updater
        ... class SignSgd(fs.CustomUpdater):
        ...     def __init__(self, learning_rate=0.1):
        ...         self.learning_rate = learning_rate
        ...     def get_gradient(self, g, state, learning_rate, iteration):
        ...         np.multiply(np.sign(g), learning_rate, out=g)
        >>> config = fs.MultiLayerConfiguration(updater=SignSgd(0.5))
        >>> fs.MultiLayerConfiguration.from_json(config.to_json()).updater
        SignSgd(learning_rate=0.5)
    """
    given: Any = cls
    fits = isinstance(given, type) and issubclass(given, CustomUpdater)
    if not fits or inspect.isabstract(given):
        raise TypeError(
            "register_updater: expected a subclass of CustomUpdater that has get_gradient, got "
            f"{cls!r}"
        )
    for parameter in constructor_arguments(cls).values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(
                f"register_updater: {cls.__name__}: expected a constructor whose arguments can be "
                f'given by name, got "{parameter}"; write them out'
            )
    name = cls.__name__
    taken = named_class(name) or cls
    if (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(
            f'register_updater: expected a name that is not taken, got "{name}", which is '
            f"{taken.__module__}.{taken.__qualname__}; rename the class"
        )
    register(cls)
    return cls


def _comparable(value: Any) -> Any:
    """`value` with its containers and arrays made hashable."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, Mapping):
        return frozenset((key, _comparable(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_comparable(item) for item in value)
    if isinstance(value, (set, frozenset)):
        return frozenset(_comparable(item) for item in value)
    return value
