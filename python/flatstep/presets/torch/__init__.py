"""The optimizers of ``torch.optim`` (2.13.0) as configurations: its names, arguments and defaults.

Every one but LBFGS and SparseAdam. Besides its arguments each function takes

- ``clip_norm``: the threshold of ``torch.nn.utils.clip_grad_norm_``, applied before everything
  else;
- ``layers``: ``{layer: LayerConfiguration}``, what layers do differently;
- ``on_nonfinite``: "raise", "skip" or "propagate".

``lr`` is a number or one of flatstep's schedules, which is what ``param_group["lr"]`` is at each
step. ``foreach``, ``fused``, ``capturable`` and ``differentiable`` say how PyTorch computes, not
what: their defaults are accepted, anything else is refused. All is exact to rounding but Muon,
which PyTorch iterates in bfloat16. Tensors and complex parameters are refused.
"""

from .adam import Adam as Adam
from .adam import Adamax as Adamax
from .adam import AdamW as AdamW
from .adam import NAdam as NAdam
from .adam import RAdam as RAdam
from .gradient import ASGD as ASGD
from .gradient import SGD as SGD
from .gradient import Muon as Muon
from .gradient import Rprop as Rprop
from .scaled import (
    Adadelta as Adadelta,
)
from .scaled import (
    Adafactor as Adafactor,
)
from .scaled import (
    Adagrad as Adagrad,
)
from .scaled import (
    RMSprop as RMSprop,
)

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
]
