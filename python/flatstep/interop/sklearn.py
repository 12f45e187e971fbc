"""scikit-learn's MLPClassifier and MLPRegressor, whose steps flatstep takes.

They are scikit-learn's own classes with one more argument, ``configuration``. Everything else is
theirs: arguments, attributes, ``fit``, ``partial_fit``, early stopping, ``clone``, pickles, grid
searches (``configuration`` is a parameter like any other). scikit-learn's own tests of both classes
pass with these in their place (``tests/test_interop_sklearn.py``).

What takes a network's steps is in a private attribute there, ``_optimizer``, of which three methods
are called; here it is a property that puts an updater of flatstep's in its place. It works on
scikit-learn's own arrays, without a copy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flatstep.configuration import MultiLayerConfiguration
from flatstep.multi_layer_updater import MultiLayerUpdater
from flatstep.updaters import Adam, Momentum, Nesterovs

try:
    from sklearn import neural_network
except ImportError as error:
    raise ImportError(
        "flatstep.interop.sklearn needs scikit-learn, which is not installed: "
        "pip install scikit-learn"
    ) from error

__all__ = ["MLPClassifier", "MLPRegressor", "UpdaterAsOptimizer"]


class UpdaterAsOptimizer:
    """An updater with the methods and attributes that scikit-learn's networks ask of an optimizer.

    Args:
        updater: of the layers ``{"W": coefs_[i], "b": intercepts_[i]}``.
        learning_rate: of a network without a configuration, which changes it by scikit-learn's
            rules; None where the updater's own rate or schedule applies.
        schedule: scikit-learn's ``learning_rate``: "constant", "invscaling" or "adaptive".
        power: its ``power_t``.
    """

    def __init__(
        self,
        updater: MultiLayerUpdater,
        learning_rate: float | None,
        schedule: str = "constant",
        power: float = 0.5,
    ) -> None:
        self.updater = updater
        self._initial_rate = learning_rate
        self._rate = learning_rate
        self._schedule = schedule
        self._power = power

    @property
    def learning_rate(self) -> float | None:
        """The rate of the next step (the first layer's weights')."""
        return self.updater.learning_rate("0_W") if self._rate is None else self._rate

    def update_params(self, params: list[Any], grads: list[Any]) -> None:
        """Take a step: after each batch, with all weights and then all biases.

        The gradients are means already. Where the arrays are others than before (after early
        stopping, or when the network comes from a pickle) the state goes on with them.
        """
        held = self.updater.parameters
        layers = by_layer(params)
        for place, layer in enumerate(layers):
            if any(held[f"{place}_{name}"] is not array for name, array in layer.items()):
                self.updater = self.updater.clone(layers)
                break
        dtype = self.updater.dtype
        self.updater.step(by_layer([np.asarray(g, dtype, order="C") for g in grads]))

    def iteration_ends(self, time_step: int) -> None:
        """End what scikit-learn calls an iteration, which is an epoch."""
        self.updater.epoch += 1
        if self._schedule == "invscaling" and self._initial_rate is not None:
            self._set(self._initial_rate / (time_step + 1) ** self._power)

    def trigger_stopping(self, msg: str, verbose: bool) -> bool:
        """Say whether to stop when the loss improves no longer; "adaptive" goes on at a fifth."""
        if self._schedule != "adaptive" or self._rate is None:
            reason = "Stopping."
        elif self._rate <= 1e-6:
            reason = "Learning rate too small. Stopping."
        else:
            self._set(self._rate / 5.0)
            if verbose:
                print(f"{msg} Setting learning rate to {self._rate:f}")
            return False
        if verbose:
            print(msg, reason)
        return True

    def _set(self, rate: float) -> None:
        self._rate = rate
        self.updater.set_learning_rate(rate)


def by_layer(arrays: list[Any]) -> list[dict[str, Any]]:
    """All weights and then all biases, as scikit-learn has them, layer by layer."""
    half = len(arrays) // 2
    return [{"W": w, "b": b} for w, b in zip(arrays[:half], arrays[half:], strict=True)]


class _FlatstepMLP:
    """What stands before either class: one more argument, and the optimizer."""

    #: scikit-learn's class, whose arguments these are.
    _theirs: type[Any]

    def __init__(
        self, *args: Any, configuration: MultiLayerConfiguration | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.configuration = configuration

    @classmethod
    def _get_param_names(cls) -> list[str]:
        return sorted([*cls._theirs._get_param_names(), "configuration"])

    @property
    def _optimizer(self) -> UpdaterAsOptimizer:
        try:
            made: UpdaterAsOptimizer = self.__dict__["_updater_as_optimizer"]
        except KeyError:  # scikit-learn asks with hasattr.
            raise AttributeError("_optimizer: there is none before the first fit") from None
        return made

    @_optimizer.setter
    def _optimizer(self, theirs: Any) -> None:
        """Where scikit-learn would put its own: it has just made `coefs_` and `intercepts_`."""
        self._updater_as_optimizer = _optimizer_of(self)


def _optimizer_of(network: Any) -> UpdaterAsOptimizer:
    layers = by_layer(network.coefs_ + network.intercepts_)
    configuration = network.configuration
    if configuration is None:
        made = MultiLayerUpdater(_their_configuration(network), layers)
        rate = float(network.learning_rate_init)
        if network.solver == "adam":
            return UpdaterAsOptimizer(made, rate)
        return UpdaterAsOptimizer(made, rate, network.learning_rate, network.power_t)
    if not isinstance(configuration, MultiLayerConfiguration):
        raise TypeError(
            f"{type(network).__name__}: configuration: expected a MultiLayerConfiguration, or None "
            f"for scikit-learn's own solver, got {type(configuration).__name__}"
        )
    if network.solver == "sgd" and network.learning_rate != "constant":
        raise ValueError(
            f'{type(network).__name__}: learning_rate: expected "constant" beside a configuration, '
            f'got "{network.learning_rate}"; give the updater in the configuration a schedule'
        )
    return UpdaterAsOptimizer(MultiLayerUpdater(configuration, layers), None)


def _their_configuration(network: Any) -> MultiLayerConfiguration:
    """scikit-learn's own solvers. It says itself what a step has made non-finite."""
    rate = network.learning_rate_init
    updater: Adam | Momentum | Nesterovs
    if network.solver == "adam":
        updater = Adam(rate, network.beta_1, network.beta_2, network.epsilon)
    elif network.nesterovs_momentum:
        updater = Nesterovs(rate, network.momentum)
    else:
        updater = Momentum(rate, network.momentum, rate_in_velocity=True)
    return MultiLayerConfiguration(updater=updater, on_nonfinite="propagate")


class MLPClassifier(_FlatstepMLP, neural_network.MLPClassifier):
    """scikit-learn's MLPClassifier, trained as a configuration says.

    Args:
        configuration: how to train: updater, schedules, gradient normalisation and so on. The
            layers are "0", "1", …, their parameters "W" and "b". It takes the place of ``solver``,
            ``learning_rate_init``, ``learning_rate``, ``power_t``, ``momentum``,
            ``nesterovs_momentum``, ``beta_1``, ``beta_2`` and ``epsilon``; ``alpha`` still adds its
            L2 to the loss. ``solver="lbfgs"`` takes no steps and is left to scikit-learn. None:
            those arguments as scikit-learn means them, with flatstep's steps. To be given by name.
        args, kwargs: scikit-learn's own.

    Its ``_optimizer.updater`` is the :class:`flatstep.MultiLayerUpdater`, of ``coefs_`` and
    ``intercepts_`` themselves, float32 or float64; its ``epoch`` counts what scikit-learn calls
    iterations.

    Raises:
        TypeError: ``fit`` with a configuration that is none.
        ValueError: ``fit`` with a configuration and ``solver="sgd"`` whose ``learning_rate`` is not
            "constant".

    Example:
        >>> import flatstep as fs
        >>> from flatstep.interop.sklearn import MLPClassifier
        >>> config = fs.MultiLayerConfiguration(
        ...     updater=fs.Nesterovs(0.5), gradient_normalization="ClipL2PerLayer")
        >>> network = MLPClassifier(
        ...     (8,), configuration=config, max_iter=500, random_state=0)
        >>> X, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
        >>> network.fit(X, y).predict(X)
        array([0, 1, 1, 0])
    """

    _theirs = neural_network.MLPClassifier


class MLPRegressor(_FlatstepMLP, neural_network.MLPRegressor):
    """scikit-learn's MLPRegressor, trained as a configuration says: see :class:`MLPClassifier`.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> from flatstep.interop.sklearn import MLPRegressor
        >>> config = fs.MultiLayerConfiguration(updater=fs.AMSGrad(0.1))
        >>> network = MLPRegressor(
        ...     hidden_layer_sizes=(16,), configuration=config, max_iter=1000, random_state=0)
        >>> x = np.linspace(-1, 1, 50).reshape(-1, 1)
        >>> network.fit(x, x[:, 0] ** 2).score(x, x[:, 0] ** 2) > 0.98
        True
    """

    _theirs = neural_network.MLPRegressor
