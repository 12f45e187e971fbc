"""The aliases of optax (0.2.8) as configurations: its names, arguments and defaults.

Every alias but ``lbfgs``, ``noisy_sgd`` and ``polyak_sgd``, which need more than the gradient, and
of ``optax.contrib`` what `contrib` has. Besides its arguments each function takes

- ``clip_norm``: the threshold of ``optax.clip_by_global_norm`` before everything else;
- ``layers``: ``{layer: LayerConfiguration}``, what layers do differently;
- ``on_nonfinite``: "raise", "skip" or "propagate".

``learning_rate`` is a number or one of flatstep's schedules, whose iteration is optax's count. A
weight decay is a number. A mask is a mapping with a flag for each parameter: ``{"0_W": True, "0_b":
False}`` or ``{"fc1": {"kernel": True, "bias": False}}``; a function of the parameters is refused:
give what it returns. ``mu_dtype`` and ``accumulator_dtype`` are None.
"""

from . import contrib as contrib
from .adam import (
    adam as adam,
)
from .adam import (
    adamax as adamax,
)
from .adam import (
    adamaxw as adamaxw,
)
from .adam import (
    adamw as adamw,
)
from .adam import (
    amsgrad as amsgrad,
)
from .adam import (
    nadam as nadam,
)
from .adam import (
    nadamw as nadamw,
)
from .further import (
    adabelief as adabelief,
)
from .further import (
    adan as adan,
)
from .further import (
    lamb as lamb,
)
from .further import (
    lars as lars,
)
from .further import (
    lion as lion,
)
from .further import (
    radam as radam,
)
from .further import (
    yogi as yogi,
)
from .rare import (
    adafactor as adafactor,
)
from .rare import (
    fromage as fromage,
)
from .rare import (
    novograd as novograd,
)
from .rare import (
    optimistic_adam as optimistic_adam,
)
from .rare import (
    optimistic_adam_v2 as optimistic_adam_v2,
)
from .rare import (
    optimistic_gradient_descent as optimistic_gradient_descent,
)
from .scaled import (
    adadelta as adadelta,
)
from .scaled import (
    adagrad as adagrad,
)
from .scaled import (
    rmsprop as rmsprop,
)
from .scaled import (
    rprop as rprop,
)
from .scaled import (
    sgd as sgd,
)
from .scaled import (
    sign_sgd as sign_sgd,
)
from .scaled import (
    signum as signum,
)
from .scaled import (
    sm3 as sm3,
)

__all__ = [
    "adabelief",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamaxw",
    "adamw",
    "adan",
    "amsgrad",
    "contrib",
    "fromage",
    "lamb",
    "lars",
    "lion",
    "nadam",
    "nadamw",
    "novograd",
    "optimistic_adam",
    "optimistic_adam_v2",
    "optimistic_gradient_descent",
    "radam",
    "rmsprop",
    "rprop",
    "sgd",
    "sign_sgd",
    "signum",
    "sm3",
    "yogi",
]
