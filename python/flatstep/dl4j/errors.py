"""The one error that reading or writing a DL4J model raises."""

from __future__ import annotations


class DL4JModelError(ValueError):
    """A file is not a DL4J model that flatstep can read, or a model cannot be written.

    The message names the file, the entry and the field, what was expected there and what came.
    Nothing is left half done when it is raised: no file is touched, no array is changed.
    A file that cannot be opened at all raises `OSError`, as `open` does.

    Example:
        >>> from pathlib import Path
        >>> import flatstep as fs
        >>> size = Path("no-model.zip").write_bytes(b"no model")
        >>> try:
        ...     model = fs.load_dl4j("no-model.zip")
        ... except fs.DL4JModelError:
        ...     print("not a model")
        not a model
    """
