"""What the updaters of networks share. The steps themselves are native."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from numpy.typing import NDArray

from .checkpoint import Checkpoint, SavedSlot, write_checkpoint
from .configuration import MultiLayerConfiguration
from .errors import ParameterKeyError
from .last_step import LastStep, last_step
from .layout import Slot, UpdaterBlock
from .parameters import (
    Arrays,
    KeyStyle,
    NamedParameter,
    by_layer,
    in_slot_order,
    named_as,
    named_parameters,
)
from .points import WithPoints
from .rates import legal_rate, places_with_rate, replace_rates
from .settings import ParamSettings, Settings
from .snapshot import Snapshot, put_back, take_snapshot
from .state_dict import make_state_dict, put_accumulated, saved_state_dict, take_state_dict

__all__ = ["SAVED_CLASSES", "NamedParameters", "NetworkUpdater"]

_U = TypeVar("_U", bound="NetworkUpdater")

#: The classes that a checkpoint can name: `flatstep.multi_layer_updater` fills it.
SAVED_CLASSES: dict[str, type[NetworkUpdater]] = {}


class NetworkUpdater(WithPoints):
    """What `MultiLayerUpdater`, `ComputationGraphUpdater` and `LayerUpdater` share."""

    key_style: ClassVar[KeyStyle]
    #: The processes that share the network, where an updater takes its steps with others.
    _ranks: Any = None

    def __init__(
        self,
        configuration: MultiLayerConfiguration,
        params: Arrays,
        *,
        monitor: bool = False,
    ) -> None:
        if self._made:
            raise TypeError(
                f"{type(self).__name__}: expected one call of __init__, got another on an updater "
                "that is made; make a new one"
            )
        if not isinstance(configuration, MultiLayerConfiguration):
            raise TypeError(
                "configuration: expected a MultiLayerConfiguration, got "
                f"{type(configuration).__name__}"
            )
        named = (
            params
            if isinstance(params, NamedParameters)
            else named_parameters(params, self.key_style)
        )
        named = NamedParameters(by_layer(named))
        configuration._require_decaying([p.key for p in named])
        super().__init__(
            configuration,
            [(p.key, p.layer, p.param) for p in named],
            [p.array for p in named],
            bool(monitor),
            self._ranks,
        )
        self._configuration = configuration
        self._named = named
        self._monitor = bool(monitor)
        self._slots = tuple(Slot(**slot) for slot in self._layout())
        self._places = {slot.key: place for place, slot in enumerate(self._slots)}
        self._layers = tuple(dict.fromkeys(slot.layer for slot in self._slots))
        self._resolved = tuple(self._settings(place) for place in range(len(self._slots)))
        self._frozen = frozenset(
            slot.layer
            for slot, settings in zip(self._slots, self._resolved, strict=True)
            if settings.frozen
        )
        self._initial_rates = self._rates()

    # ------------------------------------------------------------------------------- what it is

    @property
    def configuration(self) -> MultiLayerConfiguration:
        """The configuration that it was made with."""
        return self._configuration

    @property
    def parameters(self) -> dict[str, NDArray[Any]]:
        """The parameter arrays by key: the caller's own, in a new dict. Which arrays an updater
        works on is settled when it is made; write into them (``a[...] = b``, ``a -= b``)."""
        return {p.key: p.array for p in self._named}

    @property
    def layout(self) -> tuple[Slot, ...]:
        """The slots, in order."""
        return self._slots

    @property
    def updater_blocks(self) -> tuple[UpdaterBlock, ...]:
        """The blocks that order the state view."""
        return tuple(UpdaterBlock(**block) for block in self._updater_blocks())

    @property
    def monitor(self) -> bool:
        """Whether each step also measures ‖update‖/‖parameter‖."""
        return self._monitor

    def is_frozen(self, layer: str | int) -> bool:
        """Whether that layer is frozen: its gradients may be missing.

        Raises:
            ParameterKeyError: there is no such layer.
        """
        name = str(layer)
        if name not in self._layers:
            raise ParameterKeyError(
                f'unknown layer "{name}"; expected one of {", ".join(self._layers[:12])}'
            )
        return name in self._frozen

    def settings(self) -> Settings:
        """What every parameter gets, of network, layer and parameter together, with its rate now:
        data, whose text is a table with a line for each. Look here for what decays, what counts as
        a bias, and what is clipped with what.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> config = fs.MultiLayerConfiguration(updater=fs.Adam(1e-3), weight_decay=0.01)
            >>> print(fs.MultiLayerUpdater(config, {"0_W": np.ones((2, 3))}).settings())
            key  layer  type  bias  updater  rate   decay              normalised
            0_W  0      W           Adam     0.001  weight decay 0.01
        """
        return Settings(
            ParamSettings(
                slot.key,
                slot.layer,
                slot.param,
                own.bias,
                own.updater,
                self.learning_rate(slot.key),
                own.l1,
                own.l2,
                own.weight_decay,
                own.strategy,
                own.threshold,
                own.group,
                own.frozen,
                own.statistic,
                own.state_storage,
                own.master,
            )
            for slot, own in zip(self._slots, self._resolved, strict=True)
        )

    @property
    def last_step(self) -> LastStep | None:
        """What the last step saw (norms, factors, rates); None before the first."""
        return last_step(self, self._slots, self._resolved)

    def __repr__(self) -> str:
        size = sum(slot.size for slot in self._slots)
        return (
            f"<{type(self).__name__}: {len(self._slots)} parameters, {size} elements, "
            f"{self.dtype}, iteration {self.iteration}>"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("learning_rate", "momentum"):  # methods, which the name would hide
            raise AttributeError(
                f"{name}: expected no assignment, as it is a method; "
                + (
                    "call set_learning_rate(value)"
                    if name == "learning_rate"
                    else "give the updater's configuration a number or a schedule"
                )
            )
        super().__setattr__(name, value)

    # ------------------------------------------------------------------------------------ state

    def state(self, key: str) -> dict[str, NDArray[Any]]:
        """The state arrays of one parameter by name, in its shape and order: live views; of what is
        kept in fewer bits, read-only arrays of its numbers.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> updater = fs.MultiLayerUpdater(
            ...     fs.MultiLayerConfiguration(updater=fs.Adam(1e-3)), {"0_W": np.ones((2, 3))}
            ... )
            >>> sorted(updater.state("0_W"))
            ['m', 'v']
        """
        return self._state(self._place(key))

    def master(self, key: str) -> NDArray[Any]:
        """The numbers of one parameter as steps see them: a read-only copy in its shape and order,
        in the updater's dtype. Of a parameter in fewer bits, those of its master.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> w = np.ones(2, np.float16)
            >>> config = fs.MultiLayerConfiguration(updater=fs.Sgd(1e-4), master="full")
            >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
            >>> updater.step({"0_W": w})
            >>> w, updater.master("0_W")
            (array([1., 1.], dtype=float16), array([0.9999, 0.9999], dtype=float32))
        """
        return self._master(self._place(key))

    def learning_rate(
        self, key: str, iteration: int | None = None, epoch: int | None = None
    ) -> float | None:
        """The rate of one parameter, as a step uses it: a schedule's at that iteration and epoch
        (default: now), or what a policy or `set_learning_rate` last left, times its
        ``learning_rate_scale``. None where its updater has none."""
        return self._learning_rate(
            self._place(key),
            self.iteration if iteration is None else iteration,
            self.epoch if epoch is None else epoch,
        )

    def momentum(
        self, key: str, iteration: int | None = None, epoch: int | None = None
    ) -> float | None:
        """The momentum of one parameter, likewise; None where its updater has none."""
        return self._momentum(
            self._place(key),
            self.iteration if iteration is None else iteration,
            self.epoch if epoch is None else epoch,
        )

    def set_learning_rate(
        self, value: float, layer: str | int | None = None, param: str | None = None
    ) -> None:
        """Set the learning rate by hand, as plateau rules do: from now on it is state.

        It takes the place of a number or schedule, until `clear_learning_rate`; a policy goes on
        from it. A ``learning_rate_scale`` multiplies it like any other rate.

        Args:
            value: a finite number ≥ 0.
            layer, param: which; default all that have a rate.

        Raises:
            ValueError: a bad value, or no such parameter with a learning rate.
        """
        rate = legal_rate(value)
        places = places_with_rate(self, self._slots, "set_learning_rate", layer, param)
        replace_rates(self, dict.fromkeys(places, rate))

    def clear_learning_rate(self, layer: str | int | None = None, param: str | None = None) -> None:
        """Undo `set_learning_rate`: the configuration's number or schedule applies again.

        A policy starts again from the configured rate.

        Args:
            layer, param: which; default all that have a rate.

        Raises:
            ValueError: no such parameter with a learning rate.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> config = fs.MultiLayerConfiguration(updater=fs.Sgd(fs.LinearSchedule(1.0, 0.0, 4)))
            >>> updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(3)})
            >>> updater.set_learning_rate(0.3)
            >>> updater.learning_rate("0_W", iteration=2)
            0.3
            >>> updater.clear_learning_rate()
            >>> updater.learning_rate("0_W", iteration=2)
            0.5
        """
        places = places_with_rate(self, self._slots, "clear_learning_rate", layer, param)
        replace_rates(self, {place: self._initial_rates[place][0] for place in places})

    def state_dict(self) -> dict[str, Any]:
        """All that a step may change but the parameters, by name; arrays are copies.

        Keys: ``version``, ``dtype``, ``iteration``, ``epoch``, ``skipped_steps``, ``state``
        (``{key: {name: array}}``), and ``learning_rate`` and ``momentum`` of the slots where they
        are state (policies, momentum schedules, `set_learning_rate`).
        """
        return make_state_dict(self, self._slots)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> list[str]:
        """Take over what `state_dict` gave: bit for bit, all of it or nothing.

        Args:
            state_dict: of an updater with the same parameters, dtype and updaters.
            strict: whether a missing or unknown name is an error; otherwise it is left out.

        Returns:
            What was left out (with ``strict=False``): names such as ``"0_W/m"``.

        Raises:
            ParameterKeyError: a missing or unknown name, with ``strict``.
            ValueError, TypeError: another version, dtype or shape.
        """
        return take_state_dict(self, self._slots, self._initial_rates, state_dict, strict)

    def snapshot(self) -> Snapshot:
        """A copy of all that a step may change, in memory, for `restore`: parameters, state,
        averages, rates, counters and accumulated gradients.

        Raises:
            RuntimeError: a step is under way in another thread, or it is called inside of
                ``with updater.averaged():`` or ``with updater.evaluation():``.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> w = np.zeros(2)
            >>> config = fs.MultiLayerConfiguration(updater=fs.Adam(0.5))
            >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
            >>> before = updater.snapshot()
            >>> updater.step({"0_W": w - 1})
            >>> w.round(6), updater.iteration
            (array([0.5, 0.5]), 1)
            >>> updater.restore(before)
            >>> w, updater.iteration
            (array([0., 0.]), 0)
        """
        return take_snapshot(self)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot, of this updater or of one that is made like it: to the bit, all of
        it or nothing. Meanwhile the memory holds a copy of what it replaces.

        Written: the parameters, in the arrays that the updater was made with, state, averages,
        rates, counters, accumulated gradients. Left alone: the snapshot, `last_step`, bound
        gradients.

        Raises:
            TypeError: no `Snapshot`.
            ValueError: one of other parameters, another dtype or configuration, the text says
                which; a parameter array that is read-only by now.
            RuntimeError: as of `snapshot`.

        Example:
            >>> import numpy as np, flatstep as fs
            >>> w = np.zeros(2)
            >>> updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"0_W": w})
            >>> start, twin = updater.snapshot(), updater.clone({"0_W": np.ones(2)})
            >>> twin.restore(start)
            >>> twin.parameters["0_W"]
            array([0., 0.])
        """
        put_back(self, snapshot)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters, state, rates, counters, accumulated gradients and configuration to one
        file, from which `load_updater` makes an updater that goes on bit for bit.

        The file is in the safetensors format (`flatstep.checkpoint.file` says what is in it) and
        takes the place of an old one at once: a kill at any point leaves the old or the new file
        whole, and perhaps a ``.<name>.<random>.tmp`` beside it. It is written from the arrays
        themselves, without a copy: a step of this updater in another thread is refused meanwhile.

        Args:
            path: the file; usually named ``*.safetensors``.

        Raises:
            ValueError: a CustomUpdater whose class is not registered (`register_updater`).
            TypeError: an updater of a class derived from flatstep's.
            OSError: the file cannot be written.
            ImportError: safetensors is not installed.
        """
        kind = type(self).__name__
        if SAVED_CLASSES.get(kind) is not type(self):
            raise TypeError(
                f"save: expected one of {', '.join(SAVED_CLASSES)}, got {kind}; a checkpoint "
                "cannot say what a subclass does, a pickle can"
            )
        layout = tuple(
            SavedSlot(slot.key, slot.layer, slot.param, slot.shape, slot.order)
            for slot in self._slots
        )

        def write() -> None:
            checkpoint = Checkpoint(
                updater=kind,
                monitor=self._monitor,
                layout=layout,
                configuration=self._configuration,
                state_dict=saved_state_dict(self, self._slots),
                parameters=self.parameters,
                accumulated=self.accumulated,
            )
            write_checkpoint(path, checkpoint)

        self._alone(write)

    # -------------------------------------------------------------------------------- gradients

    def _in_slot_order(
        self, gradients: Any, only_read: bool = True, allow_copy: bool = False
    ) -> list[Any]:
        """One gradient per slot, None for an absent frozen one; the native step asks for it where
        it is given anything but a complete dict of arrays by key."""
        return in_slot_order(
            self._slots, self._frozen, self.key_style, gradients, only_read, allow_copy
        )

    # ------------------------------------------------------------------------- copies and equality

    def clone(self: _U, params: Arrays | None = None) -> _U:
        """An updater with the same configuration and a state of its own.

        Args:
            params: the arrays that it updates; None: the same as this one's.
        """
        twin = type(self)(
            self._configuration,
            self._named
            if params is None
            else NamedParameters(named_as(self._slots, params, self.key_style)),
            monitor=self._monitor,
        )
        if twin._slots != self._slots or twin.dtype != self.dtype:
            raise ValueError(
                "params: expected arrays with the keys, shapes, orders and dtype of this updater's"
            )
        twin.load_state_dict(self.state_dict())
        if params is not None:
            twin.adopt_parameters()
        put_accumulated(twin, twin.parameters, self.accumulated)
        return twin

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NetworkUpdater):
            return NotImplemented

        def bits(average: NDArray[Any] | None) -> bytes:
            return b"" if average is None else average.tobytes()

        return (
            type(self) is type(other)
            and self._configuration == other._configuration
            and self._slots == other._slots
            and self.dtype == other.dtype
            and (self.iteration, self.epoch, self.skipped_steps)
            == (other.iteration, other.epoch, other.skipped_steps)
            and self._rates() == other._rates()
            and all(
                [bits(array) for array in self._kept(place).values()]
                == [bits(array) for array in other._kept(place).values()]
                and bits(self._average(place)) == bits(other._average(place))
                for place in range(len(self._slots))
            )
        )

    def __hash__(self) -> int:
        return hash((type(self), self._configuration, self._slots))

    def __reduce__(self) -> tuple[Any, ...]:
        accumulated = self.accumulated
        return _restore, (
            type(self),
            self._configuration,
            list(self._named),
            self._monitor,
            self.state_dict(),
            None if accumulated is None else {k: a.copy(order="K") for k, a in accumulated.items()},
        )


class NamedParameters(tuple[NamedParameter, ...]):
    """Parameters whose names are settled."""

    __slots__ = ()


def _restore(
    cls: type[_U],
    configuration: MultiLayerConfiguration,
    named: list[NamedParameter],
    monitor: bool,
    state_dict: dict[str, Any],
    accumulated: dict[str, NDArray[Any]] | None,
) -> _U:
    updater = cls(configuration, NamedParameters(named), monitor=monitor)
    updater.load_state_dict(state_dict)
    put_accumulated(updater, updater.parameters, accumulated)
    return updater
