"""Optimizers of PyTorch, optax and Keras as configurations, by the peer's own names and arguments.

``fs.presets.torch.AdamW(lr=1e-3, weight_decay=0.1)`` is the configuration whose steps are those of
``torch.optim.AdamW``; nothing of PyTorch is imported. docs/peers has a page for each peer: which
argument becomes which setting, what is exact, what is refused and why.
"""

from . import keras as keras
from . import optax as optax
from . import torch as torch

__all__ = ["keras", "optax", "torch"]
