"""The optimizers of Keras (3.15.1) as configurations: its names, arguments and defaults.

Every class of ``keras.optimizers`` but LossScaleOptimizer and MultiOptimizer, which wrap others.
Besides an optimizer's own arguments each function takes those of every optimizer of Keras,

- ``weight_decay``, which decays the parameter before the step, by lr·weight_decay;
- ``clipnorm``, ``clipvalue``, ``global_clipnorm``, of which one only may be given;
- ``use_ema``, ``ema_momentum``: the averages are ``updater.averages``; None of them overwrites the
  parameters: ``ema_overwrite_frequency`` is refused;
- ``loss_scale_factor``, ``gradient_accumulation_steps``: None only; ``name`` means nothing here;

and flatstep's

- ``exclude_from_weight_decay``: the names of parameters, such as "b", that do not decay; for single
  layers give ``layers``;
- ``clip_norm``, the same as ``global_clipnorm``;
- ``layers``: ``{layer: LayerConfiguration}``, what layers do differently;
- ``on_nonfinite``: "raise", "skip" or "propagate".

``learning_rate`` is a number or one of flatstep's schedules.
"""

from .adam import (
    Adam as Adam,
)
from .adam import (
    Adamax as Adamax,
)
from .adam import (
    AdamW as AdamW,
)
from .adam import (
    Lamb as Lamb,
)
from .adam import (
    Lion as Lion,
)
from .adam import (
    Nadam as Nadam,
)
from .rare import (
    Adafactor as Adafactor,
)
from .rare import (
    Ftrl as Ftrl,
)
from .rare import (
    Muon as Muon,
)
from .rare import (
    ScheduleFreeAdamW as ScheduleFreeAdamW,
)
from .scaled import (
    SGD as SGD,
)
from .scaled import (
    Adadelta as Adadelta,
)
from .scaled import (
    Adagrad as Adagrad,
)
from .scaled import (
    RMSprop as RMSprop,
)

__all__ = [
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "Muon",
    "Nadam",
    "RMSprop",
    "ScheduleFreeAdamW",
]
