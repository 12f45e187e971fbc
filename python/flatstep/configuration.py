"""The configuration of a network, its layers and their parameters.

A layer's configuration overrides the network's, a parameter's the layer's; what is not given is
inherited. These classes only hold what was given, in one form: the C++ core says what is legal, and
what each parameter ends up with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

import numpy as np

from flatstep import _core, schedules, updaters
from flatstep._coerce import (
    FrozenMapping,
    KnowsItsArguments,
    integer,
    mapping,
    string,
    take_as,
    take_fields,
    wrong_type,
)
from flatstep._shown import listed, shown
from flatstep.learning_rate_policy import LearningRatePolicy
from flatstep.normalization import GradientNormalization
from flatstep.schedules import Schedule
from flatstep.serialization import from_data, json_text, parse_json, save_fields_of, to_data
from flatstep.updaters import Sgd, Updater

__all__ = [
    "LayerConfiguration",
    "Master",
    "MultiLayerConfiguration",
    "OnNonfinite",
    "ParamConfiguration",
    "Semantics",
    "StateStorage",
]

Semantics: TypeAlias = Literal["dl4j-1.0", "dl4j-0.8"]
OnNonfinite: TypeAlias = Literal["raise", "skip", "propagate"]
StateStorage: TypeAlias = Literal["full", "16bit", "8bit"]
Master: TypeAlias = Literal["split", "full"]
#: A pattern of keys, a function of key and shape, or the least number of dimensions.
DecayFilter: TypeAlias = str | int | Callable[[str, tuple[int, ...]], bool]

_VERSION = 1


def _updater(where: str, argument: str, value: Any) -> Updater:
    if not isinstance(value, Updater):
        raise wrong_type(where, argument, "an updater such as Adam() or Sgd(0.1)", value)
    return value


def _policy(where: str, argument: str, value: Any) -> LearningRatePolicy:
    if not isinstance(value, LearningRatePolicy):
        raise wrong_type(where, argument, "a LearningRatePolicy", value)
    return value


def _strategy(where: str, argument: str, value: Any) -> GradientNormalization:
    return GradientNormalization.NoNormalization if value is None else GradientNormalization(value)


def _layer_name(where: str, argument: str, value: Any) -> str:
    return value if isinstance(value, str) else str(integer(where, argument, value))


def _layers(where: str, argument: str, value: Any) -> Mapping[str, LayerConfiguration]:
    def layer(where: str, argument: str, value: Any) -> LayerConfiguration:
        if not isinstance(value, LayerConfiguration):
            raise wrong_type(where, argument, "a LayerConfiguration", value)
        return value

    expected = "a mapping {layer: LayerConfiguration}"
    return mapping(where, argument, value, expected, _layer_name, layer)


def _params(where: str, argument: str, value: Any) -> Mapping[str, ParamConfiguration]:
    def param(where: str, argument: str, value: Any) -> ParamConfiguration:
        if not isinstance(value, ParamConfiguration):
            raise wrong_type(where, argument, "a ParamConfiguration", value)
        return value

    expected = "a mapping {parameter: ParamConfiguration}"
    return mapping(where, argument, value, expected, string, param)


def _decay_filter(where: str, argument: str, value: Any) -> DecayFilter:
    if isinstance(value, str) or (callable(value) and not isinstance(value, type)):
        return value
    expected = "a pattern of keys, a function or the least number of dimensions"
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise wrong_type(where, argument, expected, value)
    if value < 0:
        raise ValueError(f"{where}: {argument}: expected {expected}, got {value}")
    return int(value)


take_as(DecayFilter, _decay_filter)
take_as(Updater, _updater)
take_as(LearningRatePolicy, _policy)
take_as(GradientNormalization | str, _strategy)
take_as(Semantics, string)
take_as(OnNonfinite, string)
take_as(StateStorage, string)
take_as(Master, string)


class _Configuration(KnowsItsArguments):
    """Takes every field in its one form; prints the fields that are not at their defaults."""

    def __post_init__(self) -> None:
        take_fields(type(self).__name__, self)

    def __repr__(self) -> str:
        given = []
        for entry in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, entry.name)
            default = entry.default if entry.default_factory is MISSING else entry.default_factory()
            if value != default:
                given.append(f"{entry.name}={value!r}")
        return f"{type(self).__name__}({', '.join(given)})"


def _no_params() -> Mapping[str, ParamConfiguration]:
    return FrozenMapping({})


def _no_layers() -> Mapping[str, LayerConfiguration]:
    return FrozenMapping({})


@dataclass(frozen=True, repr=False)
class ParamConfiguration(_Configuration):
    """What one parameter does differently from its layer. None: as the layer.

    Args:
        updater: wins over every other updater, also over a bias updater.
        learning_rate: replaces that of the updater, whichever it is; a number or a schedule. An
            updater without a rate ignores it.
        learning_rate_policy: dl4j-0.8 only; ``LearningRatePolicy("None")`` switches off.
        momentum_schedule: dl4j-0.8 with Nesterovs only: ``{iteration: momentum}``, ``{}`` switches
            off.
        l1, l2: regularisation coefficients, ≥ 0, of a weight or a bias alike.
        weight_decay: coefficient ≥ 0, dl4j-1.0 only.
        weight_decay_apply_lr: whether weight decay is multiplied by the learning rate.
        statistic: whether the parameter is a running statistic, whose "gradient" is the change
            itself: it is not divided by the batch size (dl4j-1.0), not regularised, and has no
            updater.
        learning_rate_scale: what the learning rate is multiplied by, ≥ 0, wherever it comes from: a
            number, a schedule, a policy, `set_learning_rate`. It takes the place of the layer's.
            An updater without a rate ignores it.
        pretrain_only: whether the parameter learns while its layer is in pretraining and not
            otherwise, as the decoder of an autoencoder does: no updater sees it then, and its
            state is an updater block of its own (dl4j-1.0). None: the visible bias ``vb`` alone.
        state_storage: "full", "16bit" or "8bit", also for a small parameter.
        master: "split" or "full", for a parameter of dtype bfloat16 or float16.

    Example:
        >>> import flatstep as fs
        >>> fs.LayerConfiguration(params={"b": fs.ParamConfiguration(updater=fs.NoOp(), l2=0.0)})
        LayerConfiguration(params={'b': ParamConfiguration(updater=NoOp(), l2=0.0)})
    """

    updater: Updater | None = None
    learning_rate: float | Schedule | None = None
    learning_rate_policy: LearningRatePolicy | None = None
    momentum_schedule: Mapping[int, float] | None = None
    l1: float | None = None
    l2: float | None = None
    weight_decay: float | None = None
    weight_decay_apply_lr: bool | None = None
    statistic: bool | None = None
    learning_rate_scale: float | None = None
    pretrain_only: bool | None = None
    state_storage: StateStorage | None = None
    master: Master | None = None


@dataclass(frozen=True, repr=False)
class LayerConfiguration(_Configuration):
    """What one layer does differently from the network. None: as the network.

    The arguments that are not listed here are those of `MultiLayerConfiguration`.
    ``gradient_normalization="None"`` switches off what the network has, as do
    ``LearningRatePolicy("None")`` and ``momentum_schedule={}``. ClipL2Global is for the network
    only.

    Args:
        kind: Deeplearning4j's layer type. With "BatchNormalization" the parameters mean, var and
            log10stdev are statistics, and L1, L2 and weight decay of network and layer do not
            apply. No other type makes a difference.
        frozen: whether the layer does not learn: no norm, no regularisation, no state change, a
            zero update. Its gradients may be missing.
        pretrain: whether the layer is in pretraining: its visible bias ``vb``, and what else is
            ``pretrain_only``, is updated like any other parameter and, under dl4j-0.8, its gradient
            is not normalised.
        params: ``{parameter name: ParamConfiguration}``.
        learning_rate_scale: what the learning rates of the layer's parameters are multiplied by,
            ≥ 0, wherever they come from: a tenth of the network's rate for a layer that was trained
            before, say. None: 1.
        state_storage: "full", "16bit" or "8bit", also for small parameters.

    Example:
        >>> import flatstep as fs
        >>> fs.LayerConfiguration(updater=fs.Sgd(0.1), frozen=False, l2=0)
        LayerConfiguration(updater=Sgd(learning_rate=0.1), l2=0.0)
    """

    updater: Updater | None = None
    bias_updater: Updater | None = None
    gradient_normalization: GradientNormalization | str | None = None
    gradient_normalization_threshold: float | None = None
    l1: float | None = None
    l2: float | None = None
    l1_bias: float | None = None
    l2_bias: float | None = None
    weight_decay: float | None = None
    weight_decay_bias: float | None = None
    weight_decay_apply_lr: bool | None = None
    learning_rate_policy: LearningRatePolicy | None = None
    momentum_schedule: Mapping[int, float] | None = None
    bias_learning_rate: float | Schedule | None = None
    kind: str | None = None
    frozen: bool = False
    pretrain: bool = False
    params: Mapping[str, ParamConfiguration] = field(default_factory=_no_params)
    gradient_normalization_epsilon: float | None = None
    learning_rate_scale: float | None = None
    state_storage: StateStorage | None = None
    master: Master | None = None


@dataclass(frozen=True, repr=False)
class MultiLayerConfiguration(_Configuration):
    r"""How a network's gradients become updates: defaults for all, and what layers do differently.

    The order of one step under ``semantics="dl4j-1.0"``, Deeplearning4j's current release: divide
    by the batch size; normalise the gradient; add l1·sign(p) + l2·p; updater; weight decay. Under
    ``semantics="dl4j-0.8"``, for continuing or reproducing an old run: normalise; learning-rate
    policy; updater; add l2·p + l1·sign(p), not multiplied by the rate; divide by the batch size.
    Dividing last means that every update shrinks with the batch, Adam's too, whose size does not
    otherwise depend on the gradient's.

    Args:
        updater: the updater of all parameters without another.
        bias_updater: an updater for biases; None: as the weights. It wins over a layer's
            ``updater``.
        gradient_normalization: a strategy of `GradientNormalization`, or its name.
        gradient_normalization_threshold: > 0, for the strategies that clip.
        gradient_normalization_epsilon: ε ≥ 0, added to the norm that a clip compares and divides
            by: g·threshold/(‖g‖ + ε). PyTorch's ``clip_grad_norm_`` has 1e-6.
        l1, l2: regularisation coefficients of weights, ≥ 0.
        l1_bias, l2_bias: those of biases.
        weight_decay: weight decay of weights, ≥ 0; dl4j-1.0 only.
        weight_decay_bias: that of biases.
        weight_decay_apply_lr: whether weight decay is multiplied by the learning rate.
        mini_batch: whether to divide by the batch size that a step is given (1 unless it is).
        maximize: whether gradients are negated, after normalisation and before all else, so that
            what they are the gradients of grows (PyTorch's ``maximize``). Not running statistics.
        average_decay: d in [0, 1], a number or a schedule, of a moving average beside each
            parameter: a = d·a + (1 − d)p after each step, which starts at the parameter
            (`MultiLayerUpdater.averages`). ``MapSchedule({0: 0.0, 1: 0.999})`` starts at what the
            first step leaves, as PyTorch's AveragedModel and Keras' use_ema do. Polyak and Juditsky
            1992, https://doi.org/10.1137/0330046.
        semantics: "dl4j-1.0" or "dl4j-0.8".
        on_nonfinite: what to do with infinities and NaN in a gradient: "raise" (nothing changes),
            "skip" the step, or "propagate" (do not look).
        bias_params: the parameter names that are biases, besides the visible bias ``vb``. None:
            ``b``; names with the word bias in them (``bias``, ``bias_ih_l0``, ``in_proj_bias``);
            and ``b`` with digits, with one or two letters, or with ``_`` and anything (``b1``,
            ``bh``, ``b_out``), where no more than one extent of the array is not 1.
            `MultiLayerUpdater.settings` shows which those are.
        layers: ``{layer: LayerConfiguration}``; a layer's number or name.
        learning_rate_policy: dl4j-0.8's stateful decay of the learning rate.
        momentum_schedule: dl4j-0.8's ``{iteration: momentum}`` for Nesterovs: from an iteration
            that it has, that momentum. Parameters with other updaters ignore the network's.
        bias_learning_rate: replaces the learning rate of biases' updaters; a number or a schedule.
        decay_filter: which parameters decay, where not all do: a pattern of keys with ``*`` and
            ``?``, such as ``"*.weight"``, a function ``f(key, shape) -> bool``, or the least number
            of dimensions (2: matrices, no biases and no gains). L1, L2 and weight decay of network,
            layer and native updater do not apply to others; a parameter's own do, and what a
            `CustomUpdater` has in its formula.
        state_storage: how many bits an element of state has: "full" (those of float32), "16bit" or
            "8bit", for float32 updaters. State of parameters with fewer than 4096 elements is full
            unless their layer or they themselves say otherwise, and so is a `CustomUpdater`'s, and
            what starts at the parameter. See the guide *Train in fewer bytes*.
        storage_seed: of the rounding of such state, an integer in [0, 2⁶³). The same seed, data
            and iterations give the same bits.
        master: what is kept beside parameters of dtype bfloat16 or float16, whose last place is
            larger than most steps: "split", the lower half of a float32 whose upper half is the
            bfloat16, so that a run is bit for bit that of float32 parameters; or "full", a float32.
            Parameters of the updater's own dtype have no need of one.

    Raises:
        ValueError: a setting that is not legal, or not together with another; the text says which
            layer and parameter, what was expected, what came and what to do.
        TypeError: an argument of another type.

    Example:
        >>> import flatstep as fs
        >>> config = fs.MultiLayerConfiguration(
        ...     updater=fs.Adam(fs.StepSchedule(1e-3, decay_rate=0.5, step=1000)),
        ...     gradient_normalization="ClipL2PerLayer",
        ...     l2=1e-4,
        ...     layers={"0": fs.LayerConfiguration(frozen=True)},
        ... )
        >>> config.updater.learning_rate.value_at(1000)
        0.0005
    """

    updater: Updater = Sgd()  # noqa: RUF009  # frozen
    bias_updater: Updater | None = None
    gradient_normalization: GradientNormalization | str = GradientNormalization.NoNormalization
    gradient_normalization_threshold: float = 1.0
    l1: float = 0.0
    l2: float = 0.0
    l1_bias: float = 0.0
    l2_bias: float = 0.0
    weight_decay: float = 0.0
    weight_decay_bias: float = 0.0
    weight_decay_apply_lr: bool = True
    mini_batch: bool = True
    semantics: Semantics = "dl4j-1.0"
    on_nonfinite: OnNonfinite = "raise"
    bias_params: tuple[str, ...] | None = None
    layers: Mapping[str, LayerConfiguration] = field(default_factory=_no_layers)
    maximize: bool = False
    average_decay: float | Schedule | None = None
    gradient_normalization_epsilon: float = 0.0
    learning_rate_policy: LearningRatePolicy | None = None
    momentum_schedule: Mapping[int, float] | None = None
    bias_learning_rate: float | Schedule | None = None
    decay_filter: DecayFilter | None = None
    state_storage: StateStorage = "full"
    storage_seed: int = 0
    master: Master | None = None

    def _decays(self, key: str, shape: tuple[int, ...]) -> bool:
        """What `decay_filter` says of a parameter; the core asks, for each once."""
        if isinstance(self.decay_filter, str):
            return fnmatchcase(key, self.decay_filter.replace("[", "[[]"))
        if isinstance(self.decay_filter, int):
            return len(shape) >= self.decay_filter
        decays = None if self.decay_filter is None else self.decay_filter(key, shape)
        if not isinstance(decays, (bool, np.bool_)):
            raise TypeError(
                f'decay_filter: expected True or False for "{key}" of shape {shape}, got '
                f"{shown(decays)}"
            )
        return bool(decays)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.storage_seed < 1 << 63:
            raise ValueError(
                "storage_seed: expected an integer from 0 to 2**63 - 1, got "
                f"{shown(self.storage_seed)}"
            )
        _core.validate_configuration(self)

    def _require_decaying(self, keys: Collection[str]) -> None:
        """Look whether a pattern as `decay_filter` is one of some parameter.

        Raises:
            ValueError: none of these keys is like it, so that nothing would decay.
        """
        pattern = self.decay_filter
        if isinstance(pattern, str) and not any(self._decays(key, ()) for key in keys):
            raise ValueError(
                f'decay_filter: expected a pattern of some key, got "{pattern}"; the keys are '
                f"{listed(keys)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain data: dicts, lists, strings, numbers and flags.

        Returns:
            ``{"version": 1, …}`` with every field by name but those that are None, and every
            argument of updaters, schedules and policies. It is what `to_json` writes: keys are
            strings, those of ``{iteration: number}``, too. Equal configurations give equal data.

        Raises:
            ValueError: a CustomUpdater whose class is not registered (`register_updater`), or a
                number that is not finite, which only a setting without effect can be.
            TypeError: an instance of a subclass of this or of flatstep's updaters and schedules; a
                function as ``decay_filter``.

        Example:
            >>> import flatstep as fs
            >>> config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.1))
            >>> config.to_dict()["updater"]
            {'class': 'Sgd', 'learning_rate': 0.1}
            >>> fs.MultiLayerConfiguration.from_dict(config.to_dict()) == config
            True
        """
        if callable(self.decay_filter):
            raise TypeError(
                "configuration.decay_filter: expected a pattern or a number of dimensions, as "
                f"files have no functions, got {shown(self.decay_filter)}"
            )
        return to_data("configuration", self, _VERSION)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> MultiLayerConfiguration:
        """The configuration that `to_dict` made this of.

        Args:
            data: as of `to_dict`; what has a default may be missing.

        Raises:
            ValueError: another version, an unknown class or field, a setting that is not legal;
                the text says where, as in ``configuration.layers.2.updater``.
            TypeError: a value of another type.

        Example:
            >>> import flatstep as fs
            >>> fs.MultiLayerConfiguration.from_dict({"version": 1, "updater": {"class": "NoOp"}})
            MultiLayerConfiguration(updater=NoOp())
        """
        return from_data("configuration", MultiLayerConfiguration, data, _VERSION)

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON: ASCII, one line unless ``indent`` is given; every number keeps its
        bits.

        Example:
            >>> import flatstep as fs
            >>> text = fs.MultiLayerConfiguration(l2=1e-4).to_json(indent=2)
            >>> fs.MultiLayerConfiguration.from_json(text)
            MultiLayerConfiguration(l2=0.0001)
        """
        return json_text(self.to_dict(), indent)

    @staticmethod
    def from_json(text: str) -> MultiLayerConfiguration:
        """The configuration that `to_json` made this of; errors as for `from_dict`.

        JSON is read strictly: NaN, Infinity and a key that is there twice are a ValueError.
        """
        return MultiLayerConfiguration.from_dict(parse_json("configuration", text))


take_as(Mapping[str, ParamConfiguration], _params)
take_as(Mapping[str, LayerConfiguration], _layers)
save_fields_of(
    (MultiLayerConfiguration, LayerConfiguration, ParamConfiguration, LearningRatePolicy)
)
for _module in (updaters, schedules):
    _found = [getattr(_module, name) for name in _module.__all__]
    save_fields_of(cls for cls in _found if isinstance(cls, type) and is_dataclass(cls))
