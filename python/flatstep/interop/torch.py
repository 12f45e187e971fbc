"""flatstep as an optimizer of PyTorch: :class:`Optimizer`, for parameters on the CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from flatstep.configuration import MultiLayerConfiguration
from flatstep.multi_layer_updater import ComputationGraphUpdater
from flatstep.views import as_views

try:
    import torch
except ImportError as error:
    raise ImportError(
        "flatstep.interop.torch needs PyTorch, which is not installed: pip install torch"
    ) from error

__all__ = ["Optimizer"]

#: What a state dict holds of flatstep's beside the arrays of each parameter.
_OWN = "flatstep"
#: Where the layer of a parameter without a module is found.
_ROOT = "model"
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Optimizer(torch.optim.Optimizer):
    r"""A ``torch.optim.Optimizer`` whose steps are flatstep's: any updater, strategy and schedule.

    Parameters and gradients are stepped where they are, without a copy: tensors on the CPU, dense,
    all float64, or float32, bfloat16 and float16 mixed at will. Those in half precision need a
    ``master`` in the configuration, and bfloat16 the package ml_dtypes. The gradients are taken as
    they come from ``backward()``, as means.

    The layers of the configuration are the modules: the parameter "encoder.fc1.weight" is "weight"
    of the layer "encoder.fc1". For that the names are needed: pass ``model.named_parameters()``.
    Parameters without names are a layer each, "0", "1", …, with "weight" in it.

    A parameter whose ``grad`` is None this step is left alone: it, its state and its average stay
    as they are, and it counts in no norm. The iteration is one for all parameters, as in DL4J;
    PyTorch's own optimizers count the steps of each.

    ``param_groups`` are PyTorch's. A group's ``lr`` is the rate of its first parameter that has
    one; when it changes, as ``torch.optim.lr_scheduler`` changes it, that of all its parameters
    does in proportion, and a schedule of the configuration ends there. Until then the schedule
    applies, and ``lr`` is where it starts. A group may set ``lr`` from the start; whatever else
    differs between parameters stands in the configuration's ``layers``.

    Args:
        params: ``model.named_parameters()``, or what else a ``torch.optim.Optimizer`` takes:
            tensors, or groups of them.
        configuration: how to train.

    Raises:
        TypeError: no MultiLayerConfiguration; parameters of another dtype.
        ValueError: a group with another option than ``lr``; parameters on another device, or
            which are neither contiguous nor in column-major order.
        NonFiniteGradientError: from ``step``, with ``on_nonfinite="raise"``: nothing has changed.

    Example:
        >>> import torch, flatstep as fs
        >>> from flatstep.interop.torch import Optimizer
        >>> model = torch.nn.Linear(2, 1)
        >>> config = fs.MultiLayerConfiguration(
        ...     updater=fs.AdamW(1e-2, 1e-2), gradient_normalization="ClipL2PerLayer")
        >>> optimizer = Optimizer(model.named_parameters(), config)
        >>> scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        >>> optimizer.zero_grad()
        >>> model(torch.ones(4, 2)).square().mean().backward()
        >>> optimizer.step()
        >>> scheduler.step()
        >>> optimizer.param_groups[0]["lr"], optimizer.updater.iteration
        (0.005, 1)
    """

    _made = False

    def __init__(self, params: Iterable[Any], configuration: MultiLayerConfiguration) -> None:
        if not isinstance(configuration, MultiLayerConfiguration):
            raise TypeError(
                "Optimizer: configuration: expected a MultiLayerConfiguration, got "
                f"{type(configuration).__name__}"
            )
        super().__init__(params, {"lr": None})
        self._tensors: dict[tuple[str, str], Any] = {}
        self._groups: list[list[tuple[str, str]]] = []
        unnamed = 0
        for group in self.param_groups:
            names = group.get("param_names")
            slots = []
            for place, tensor in enumerate(group["params"]):
                if names is None:
                    layer, param = str(unnamed), "weight"
                    unnamed += 1
                else:
                    layer, _, param = names[place].rpartition(".")
                slots.append((layer or _ROOT, param))
                self._tensors[slots[-1]] = tensor
            self._groups.append(slots)
        self._pointers = self._where()
        self._updater = ComputationGraphUpdater(configuration, self._by_layer(_array))
        self._keys = {(slot.layer, slot.param): slot.key for slot in self._updater.layout}
        base = {slot: self._updater.learning_rate(key) for slot, key in self._keys.items()}
        scales = self._scales()
        self._applied: list[float] = []
        self._factors: dict[tuple[str, str], float] = {}
        for group, slots in zip(self.param_groups, self._groups, strict=True):
            first = next((r for slot in slots if (r := base[slot]) is not None), 0.0)
            self._applied.append(first)
            if group["lr"] is None:
                group["lr"] = first
            for slot in slots:
                if (rate := base[slot]) is not None:
                    same = rate == first or first == 0
                    self._factors[slot] = (1.0 if same else rate / first) / (scales[slot] or 1.0)
        self._made = True
        self._apply_rates()

    @property
    def updater(self) -> ComputationGraphUpdater:
        """The updater itself: ``last_step``, ``state(key)`` and so on.

        It works in the tensors' memory. Where a tensor gets other memory (``tensor.data = …``),
        the next step makes another updater, with the same state, that works there.
        """
        return self._updater

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Only while the optimizer is made: its layout is settled then.

        Raises:
            NotImplementedError: afterwards.
            ValueError: a group with another option than ``lr``.
        """
        if self._made:
            raise NotImplementedError(
                "add_param_group: expected all parameters when the optimizer is made, got a group "
                "afterwards; give Optimizer all of them, and those that are not to move yet "
                "requires_grad=False, which leaves their grad None"
            )
        other = sorted({*param_group} - {"params", "lr", "param_names"})
        if other:
            raise ValueError(
                f'Optimizer: params: expected groups with "params" and "lr", got "{other[0]}"; '
                "set it in the configuration, for some parameters in its layers="
            )
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step with the gradients that the parameters have.

        Args:
            closure: computes the loss and the gradients anew; called once, with gradients enabled.

        Returns:
            What the closure returned; None without one.

        Raises:
            ValueError: a gradient that is sparse or has not its parameter's memory order.
            NonFiniteGradientError: see ``on_nonfinite``.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._follow_memory()
        absent = [slot for slot, tensor in self._tensors.items() if tensor.grad is None]
        if len(absent) == len(self._tensors):
            return loss
        gradients = self._by_layer(_gradient)
        self._apply_rates()
        kept = [
            (array, array.copy(order="K")) for slot in absent for array in self._arrays_of(slot)
        ]
        try:
            self._updater.step(gradients)
        finally:
            for array, before in kept:
                array[...] = before
        # As PyTorch's own do, so that autograd notices who still needs the old values.
        torch.autograd.graph.increment_version(
            [tensor for tensor in self._tensors.values() if tensor.grad is not None]
        )
        return loss

    # ------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's form, to be saved by ``torch.save`` and loaded with ``weights_only=True``.

        ``state`` has the state arrays of each parameter by number, as tensors; ``param_groups`` is
        PyTorch's; ``flatstep`` has counters, rates that are state, and averages. All are copies.
        """
        made: dict[str, Any] = super().state_dict()
        own = self._updater.state_dict()
        arrays = own.pop("state")
        averages = own.pop("averages", {})
        numbers = self._numbers()
        made["state"] = {
            numbers[key]: {name: torch.from_numpy(array) for name, array in state.items()}
            for key, state in arrays.items()
        }
        own["averages"] = {key: torch.from_numpy(array) for key, array in averages.items()}
        own["applied"] = list(self._applied)
        made[_OWN] = own
        return made

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave, bit for bit, all of it or nothing.

        Args:
            state_dict: of an Optimizer with the same parameters, in the same order, and updaters.

        Raises:
            ValueError: of another optimizer, or of other groups.
            ParameterKeyError: a state array that is missing or unknown.
        """
        given: Any = state_dict
        if not isinstance(given, Mapping) or _OWN not in given:
            raise ValueError(
                "load_state_dict: expected what state_dict() of a flatstep Optimizer gave, got "
                f'{type(given).__name__} without "{_OWN}"'
            )
        own = dict(state_dict[_OWN])
        applied = list(own.pop("applied"))
        averages = {key: tensor.numpy() for key, tensor in own.pop("averages").items()}
        if averages:
            own["averages"] = averages
        keys = {number: key for key, number in self._numbers().items()}
        own["state"] = {
            keys.get(number, f"parameter {number}"): {
                name: tensor.numpy() for name, tensor in state.items()
            }
            for number, state in state_dict["state"].items()
        }
        before = self._updater.state_dict()
        self._updater.load_state_dict(own)
        try:
            # PyTorch checks the groups, and casts no state of which there is none.
            super().load_state_dict({**state_dict, "state": {}})
        except BaseException:
            self._updater.load_state_dict(before)
            raise
        self.state.clear()
        self._applied = applied

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and deep copies: tensors and updater part there, and `step` joins them."""
        return dict(self.__dict__)

    def __deepcopy__(self, memo: dict[int, Any]) -> Optimizer:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__(
            {name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()}
        )
        return twin

    # ------------------------------------------------------------------------------------- parts

    def _by_layer(self, array_of: Callable[[tuple[str, str], Any], Any]) -> Any:
        layers: dict[str, dict[str, Any]] = {}
        for slot, tensor in self._tensors.items():
            layers.setdefault(slot[0], {})[slot[1]] = array_of(slot, tensor)
        return layers

    def _numbers(self) -> dict[str, int]:
        """PyTorch's number of each parameter, by flatstep's key."""
        slots = [slot for group in self._groups for slot in group]
        return {self._keys[slot]: number for number, slot in enumerate(slots)}

    def _where(self) -> list[int]:
        return [tensor.data_ptr() for tensor in self._tensors.values()]

    def _follow_memory(self) -> None:
        where = self._where()
        if where != self._pointers:
            self._updater = self._updater.clone(self._by_layer(_array))
            self._pointers = where

    def _arrays_of(self, slot: tuple[str, str]) -> list[Any]:
        """All that a step changes of one parameter."""
        key = self._keys[slot]
        average = (
            []
            if self._updater.configuration.average_decay is None
            else [self._updater.averages(key)]
        )
        kept = self._updater._kept(self._updater._place(key)).values()  # and codes, and masters
        return [self._updater.parameters[key], *kept, *average]

    def _apply_rates(self) -> None:
        """Set the rates of the groups whose ``lr`` is not what it was."""
        for place, group in enumerate(self.param_groups):
            rate = float(group["lr"])
            if rate == self._applied[place]:
                continue
            with_rate = [slot for slot in self._groups[place] if slot in self._factors]
            if not with_rate:
                raise ValueError(
                    f"Optimizer: param_groups[{place}]: lr: expected 0.0, as none of its updaters "
                    f"has a learning rate, got {rate!r}"
                )
            for layer, param in with_rate:
                self._updater.set_learning_rate(rate * self._factors[layer, param], layer, param)
            self._applied[place] = rate

    def _scales(self) -> dict[tuple[str, str], float]:
        """What the updater multiplies each rate by: it shows where all rates are 1."""
        probe = self._updater.clone()
        if all(probe.learning_rate(key) is None for key in self._keys.values()):
            return {}
        probe.set_learning_rate(1.0)
        return {slot: probe.learning_rate(key) or 0.0 for slot, key in self._keys.items()}


def _array(slot: tuple[str, str], tensor: Any) -> Any:
    """The tensor's own memory."""
    if tensor.device.type != "cpu":
        raise ValueError(
            f"Optimizer: {'.'.join(slot)}: expected a tensor on the CPU, got one on "
            f"{tensor.device}; move the model there: model.cpu()"
        )
    return _checked(slot, tensor.detach())


def _gradient(slot: tuple[str, str], tensor: Any) -> Any:
    if tensor.grad is None:
        # Zero, which changes no norm; what the step makes of the parameter is taken back.
        return np.zeros_like(_array(slot, tensor))
    gradient = tensor.grad.detach()
    if gradient.layout != torch.strided:
        raise ValueError(
            f"Optimizer: {'.'.join(slot)}: expected a dense gradient, got {gradient.layout}; make "
            "the embedding with sparse=False"
        )
    return _checked(slot, gradient)


def _checked(slot: tuple[str, str], tensor: Any) -> Any:
    if tensor.dtype not in _DTYPES:
        raise TypeError(
            f"Optimizer: {'.'.join(slot)}: expected one of {', '.join(map(str, _DTYPES))}, got "
            f"{tensor.dtype}; convert the model: model.float()"
        )
    return as_views(tensor) if tensor.dtype == torch.bfloat16 else tensor.numpy()
