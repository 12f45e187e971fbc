"""The exceptions that flatstep defines; everything else is a plain TypeError or ValueError."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["CheckpointError", "NonFiniteGradientError", "ParameterKeyError"]


class ParameterKeyError(KeyError, ValueError):
    """A parameter key that is missing, unknown, or not of the form ``"0_W"``.

    It is both a KeyError, as looking up a parameter fails, and a ValueError, as an argument is
    wrong. Unlike a KeyError's, its text is the plain message.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"0_W": np.ones(2)})
        >>> try:
        ...     updater.state("1_W")
        ... except fs.ParameterKeyError as error:
        ...     print(error)
        unknown key "1_W"; expected one of "0_W"
    """

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class CheckpointError(ValueError):
    """A file that is no checkpoint, is damaged, or does not fit what it is to be loaded into.

    Nothing was changed; the text names the file and what is wrong with it.

    Example:
        >>> from pathlib import Path
        >>> import numpy as np, flatstep as fs
        >>> size = Path("run.safetensors").write_bytes(b"no checkpoint")
        >>> try:
        ...     updater = fs.load_updater("run.safetensors", {"0_W": np.ones(2)})
        ... except fs.CheckpointError:
        ...     print("start anew")
        start anew
    """


class NonFiniteGradientError(ArithmeticError, ValueError):
    """A gradient with an infinity or NaN in it, under ``on_nonfinite="raise"``.

    Parameters, state and counters are as they were before the step.

    Attributes:
        keys: the parameters concerned, in the order of the layout, for example ``("0_W",)``.

    Example:
        >>> import numpy as np, flatstep as fs
        >>> updater = fs.MultiLayerUpdater(fs.MultiLayerConfiguration(), {"0_W": np.ones(2)})
        >>> try:
        ...     updater.step({"0_W": np.array([1.0, np.inf])})
        ... except fs.NonFiniteGradientError as error:
        ...     print(error.keys)
        ('0_W',)
    """

    def __init__(self, message: str, keys: Iterable[str] = ()) -> None:
        self.keys = tuple(keys)
        super().__init__(message, self.keys)

    def __str__(self) -> str:
        return str(self.args[0])
