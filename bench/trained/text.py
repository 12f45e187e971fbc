"""A text that is everywhere: what Python's own `help` knows of the language, some 460 kB."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: What is rarer is one character more.
CHARACTERS = 96
#: Every tenth stretch of so many characters is not trained on.
STRETCH = 4096

Codes = NDArray[np.int64]


class Split(NamedTuple):
    train: str
    test: str
    characters: str


@functools.cache
def reference() -> Split:
    """The topics in their alphabetical order, which differ a little between Pythons."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    counts = sorted((-text.count(c), c) for c in set(text))
    characters = "".join(sorted(c for _, c in counts[:CHARACTERS]))
    text = text.translate({ord(c): "\0" for _, c in counts[CHARACTERS:]})
    parts: tuple[list[str], list[str]] = ([], [])
    for number, start in enumerate(range(0, len(text), STRETCH)):
        parts[number % 10 == 9].append(text[start : start + STRETCH])
    return Split("".join(parts[0]), "".join(parts[1]), characters + "\0")


def codes_of(text: str, characters: str) -> Codes:
    """The place of each character of `text` in `characters`."""
    place = np.zeros(0x110000, np.int64)
    place[[ord(c) for c in characters]] = np.arange(len(characters))
    return place[np.frombuffer(text.encode("utf-32-le"), np.uint32)]
