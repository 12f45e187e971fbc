"""DL4J's saved models: read one, continue its run, write it back for DL4J.

>>> import numpy as np, flatstep as fs
>>> model = fs.load_dl4j("model.zip")
>>> gradients = {key: np.zeros_like(array) for key, array in model.params.items()}
>>> model.updater().step(gradients, batch_size=32)
>>> fs.save_dl4j("model.zip", model)
"""

from .configuration import DL4JLayer
from .errors import DL4JModelError
from .model import DL4JModel, load_dl4j, save_dl4j

__all__ = ["DL4JLayer", "DL4JModel", "DL4JModelError", "load_dl4j", "save_dl4j"]
