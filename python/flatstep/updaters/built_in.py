"""Deeplearning4j's updaters, and what of PyTorch, optax and Keras is a matter of their numbers."""

# No postponed annotations: the fields are taken by their types, which are read at run time, when
# the classes are known as those of flatstep.updaters.
from dataclasses import dataclass
from typing import Literal, TypeAlias

from flatstep._coerce import string, take_as
from flatstep.schedules import Schedule

from .base import BuiltIn

__all__ = [
    "AMSGrad",
    "AdaBelief",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adam",
    "AdamW",
    "Nadam",
    "Nesterovs",
    "NoOp",
    "RmsProp",
    "Sgd",
]


EpsilonPlacement: TypeAlias = Literal["none", "gradient", "divisor"]
take_as(EpsilonPlacement, string)


@dataclass(frozen=True)
class Sgd(BuiltIn):
    r"""Gradient descent: u = lr·g.

    Robbins and Monro 1951, https://doi.org/10.1214/aoms/1177729586.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 2.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Sgd(0.5))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([1.0, -1.0])})
        >>> w
        array([0.5, 2.5])
    """

    learning_rate: float | Schedule = 1e-3


@dataclass(frozen=True)
class NoOp(BuiltIn):
    r"""The gradient as it stands: u = g (Deeplearning4j 0.8's NONE).

    Normalisation, regularisation and weight decay still apply. It has no learning rate.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 2.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.NoOp())
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([0.25, -1.0])})
        >>> w
        array([0.75, 3.  ])
    """


@dataclass(frozen=True)
class Nesterovs(BuiltIn):
    r"""Nesterov's accelerated gradient: v' = μ·v − lr·g; u = μ·v − (1 + μ)·v'.

    State: v, the velocity. The form of Sutskever et al. 2013, section 2
    (https://proceedings.mlr.press/v28/sutskever13.html), written for parameters at the point that
    is looked ahead to. PyTorch's ``SGD(nesterov=True)`` keeps −v/lr and so behaves the same while
    the rate is constant.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        momentum: μ from 0 to 1, a number or a schedule.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Nesterovs(0.5, momentum=0.5))
        >>> updater = fs.MultiLayerUpdater(config, {"0_W": w})
        >>> updater.step({"0_W": np.array([1.0])})  # v = −0.5, u = 0.75
        >>> w, updater.state("0_W")["v"]
        (array([0.25]), array([-0.5]))
    """

    learning_rate: float | Schedule = 0.1
    momentum: float | Schedule = 0.9


@dataclass(frozen=True)
class AdaGrad(BuiltIn):
    r"""AdaGrad: h += g²; u = lr·g/(√h + ε).

    State: h, which starts at ``initial_accumulator``; unless that is given at 1e-6 whatever ε under
    dl4j-1.0, at ε under dl4j-0.8. The diagonal form
    of Duchi, Hazan and Singer 2011, https://jmlr.org/papers/v12/duchi11a.html.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        epsilon: ε ≥ 0.
        initial_accumulator: what h starts at, ≥ 0; None: as above. PyTorch's starts at 0.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.AdaGrad(0.1))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0])})
        >>> w.round(6)
        array([0.9])
    """

    learning_rate: float | Schedule = 0.1
    epsilon: float = 1e-6
    initial_accumulator: float | None = None


@dataclass(frozen=True)
class RmsProp(BuiltIn):
    r"""RMSProp: s = ρs + (1 − ρ)g²; u = lr·g/(√s + ε).

    State: s, which starts at ``initial_accumulator``, at ε unless that is given. Tieleman and
    Hinton 2012, lecture 6.5 of "Neural Networks for Machine Learning"
    (https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf);
    not centred, without momentum: `CenteredRmsProp`, `MomentumRmsProp` and their kin are.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        rms_decay: ρ in [0, 1].
        epsilon: ε ≥ 0.
        initial_accumulator: what s starts at, ≥ 0; None: ε. PyTorch's starts at 0.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.RmsProp(0.1, rms_decay=0.75))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0])})
        >>> w.round(6)  # s = 4, u = 0.1·4/2
        array([0.8])
    """

    learning_rate: float | Schedule = 0.1
    rms_decay: float = 0.95
    epsilon: float = 1e-8
    initial_accumulator: float | None = None


@dataclass(frozen=True)
class AdaDelta(BuiltIn):
    r"""AdaDelta: s = ρs + (1 − ρ)g²; u = g·√(d + ε)/√(s + ε); d = ρd + (1 − ρ)u².

    State: s, d. It has no learning rate. Zeiler 2012, https://arxiv.org/abs/1212.5701.

    Args:
        rho: ρ in [0, 1].
        epsilon: ε ≥ 0.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.AdaDelta(rho=0.75, epsilon=1e-6))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([2.0])})
        >>> w.round(6)  # s = 1, u = 2·√1e-6/√1
        array([0.998])
    """

    rho: float = 0.95
    epsilon: float = 1e-6


@dataclass(frozen=True)
class Adam(BuiltIn):
    r"""Adam: m = β1·m + (1 − β1)g; v = β2·v + (1 − β2)g²; u = α·m/(√v + ε).

    State: m, v. α = lr·√(1 − β2ᵗ)/(1 − β1ᵗ). Kingma and Ba 2015, https://arxiv.org/abs/1412.6980,
    in the form of the end of its section 2: ε is added to the uncorrected √v, so that it weighs
    1/√(1 − β2ᵗ) times what PyTorch's does in the first steps; with ``corrected_epsilon`` it is
    PyTorch's. Under dl4j-0.8 α becomes ε where it is 0 or NaN.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1], a number or a schedule.
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        corrected_epsilon: whether ε is added to the corrected √v̂, v̂ = v/(1 − β2ᵗ), as in PyTorch
            and optax.
        bias_correction: whether m and v are corrected for starting at 0; without it α = lr.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Adam(0.1))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, -5.0])})
        >>> w.round(6)  # the first step is lr·sign(g)
        array([0.9, 1.1])
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float | Schedule = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    corrected_epsilon: bool = False
    bias_correction: bool = True


@dataclass(frozen=True)
class AdamW(BuiltIn):
    r"""AdamW: Adam, and λ·lr·p is added to its update, p being the parameter.

    State: m, v. Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101, in the form of
    PyTorch's AdamW: the decay is multiplied by the learning rate, which may be a schedule. Short
    for Adam in a configuration with ``weight_decay=λ, weight_decay_bias=λ``, for every parameter
    that uses it; another weight decay for the same parameter is an error. Not under dl4j-0.8.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        weight_decay: λ ≥ 0.
        beta1: β1 in [0, 1], a number or a schedule.
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        corrected_epsilon: whether ε is added to the corrected √v̂, v̂ = v/(1 − β2ᵗ), as in PyTorch
            and optax.
        bias_correction: whether m and v are corrected for starting at 0; without it α = lr.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0, 1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.AdamW(0.1, weight_decay=0.5))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0, 0.0])})
        >>> w.round(6)
        array([0.85, 0.95])
    """

    learning_rate: float | Schedule = 1e-3
    weight_decay: float = 1e-2
    beta1: float | Schedule = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    corrected_epsilon: bool = False
    bias_correction: bool = True


@dataclass(frozen=True)
class AMSGrad(BuiltIn):
    r"""AMSGrad: m, v, α as in Adam; v̂ = max(v̂, v); u = α·m/(√v̂ + ε).

    State: m, v, v_hat. Reddi, Kale and Kumar 2018, https://arxiv.org/abs/1904.09237, with Adam's
    bias correction, which the paper leaves out.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1], a number or a schedule.
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        corrected_epsilon: whether ε is added to the corrected √v̂, v̂ = v/(1 − β2ᵗ), as in PyTorch
            and optax.
        bias_correction: whether m and v are corrected for starting at 0; without it α = lr.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.AMSGrad(0.1))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0])})
        >>> w.round(6)
        array([0.9])
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float | Schedule = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    corrected_epsilon: bool = False
    bias_correction: bool = True


@dataclass(frozen=True)
class AdaMax(BuiltIn):
    r"""AdaMax: m as in Adam; n = max(β2·n, ``|g|``); u = lr/(1 − β1ᵗ)·m/(n + 1e-32).

    State: m, n. Kingma and Ba 2015, section 7.1, https://arxiv.org/abs/1412.6980.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1], a number or a schedule.
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0.
        epsilon_placement: where ε goes. "none", as in Deeplearning4j: nowhere, 1e-32 stands in its
            place; "gradient", as in PyTorch and optax: n = max(β2·n, ``|g|`` + ε); "divisor", as in
            Keras: n + ε.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.AdaMax(0.1))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([3.0])})
        >>> w.round(6)
        array([0.9])
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float | Schedule = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    epsilon_placement: EpsilonPlacement = "none"


@dataclass(frozen=True)
class Nadam(BuiltIn):
    r"""Nadam: m, v as in Adam; u = lr·(β1·m + (1 − β1)g)/(1 − β1ᵗ)/(√v + ε).

    State: m, v. Dozat 2016, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ, in
    Deeplearning4j's form: a constant β1, and a v that is not corrected for its bias, so that early
    steps are larger than Adam's by about 1/√(1 − β2ᵗ).

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1], a number or a schedule.
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.Nadam(0.1, beta1=0.5, beta2=0.75))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0])})
        >>> w.round(6)  # m = 2, v = 4, u = 0.1·(0.5·2 + 0.5·4)/0.5/2
        array([0.7])
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float | Schedule = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8


@dataclass(frozen=True)
class AdaBelief(BuiltIn):
    r"""AdaBelief: m as in Adam; s = β2·s + (1 − β2)(g − m)² + ε; u = lr·m̂/(√ŝ + ε).

    State: m, s. m̂ = m/(1 − β1ᵗ), ŝ = s/(1 − β2ᵗ). Zhuang et al. 2020,
    https://arxiv.org/abs/2010.07468. Deeplearning4j 1.0.0-M2.1 has the formula but cannot create
    the updater.

    Args:
        learning_rate: lr ≥ 0, a number or a schedule.
        beta1: β1 in [0, 1], a number or a schedule.
        beta2: β2 in [0, 1].
        epsilon: ε ≥ 0; added twice, as in the paper.
        epsilon_root: what is added to s in ε's place, ≥ 0; None: ε.
        nesterov: whether m̂ looks ahead, as optax's: β1·m/(1 − β1ᵗ⁺¹) + (1 − β1)g/(1 − β1ᵗ).

    Example:
        >>> import numpy as np, flatstep as fs
        >>> w = np.array([1.0])
        >>> config = fs.MultiLayerConfiguration(updater=fs.AdaBelief(0.1, beta1=0.5, beta2=0.75))
        >>> fs.MultiLayerUpdater(config, {"0_W": w}).step({"0_W": np.array([4.0])})
        >>> w.round(6)  # m = 2, s = 1, u = 0.1·4/√4
        array([0.8])
    """

    learning_rate: float | Schedule = 1e-3
    beta1: float | Schedule = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-14
    epsilon_root: float | None = None
    nesterov: bool = False
