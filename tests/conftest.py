"""Settings for all tests: Hypothesis profiles, and a clean slate of threads and instruction set."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

import flatstep as fs

# In CI the examples are the same every time: a failure there is the change's, not the seed's.
phases = [phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain]
hypothesis.settings.register_profile("local", deadline=None, phases=phases)
hypothesis.settings.register_profile(
    "ci", parent=hypothesis.settings.get_profile("local"), derandomize=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True)
def _same_isa_and_threads_after_each_test() -> Iterator[None]:
    isa, threads = fs.isa(), fs.get_num_threads()
    yield
    fs.set_isa(isa)
    fs.set_num_threads(threads)
