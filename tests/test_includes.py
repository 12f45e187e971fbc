"""The rooms of the C++ core: arrows one way.

Each room may include those below it and its own files, nothing else. The order is the one of
docs/architecture.md, lowest first.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parent.parent / "cpp" / "include" / "flatstep"

# A folder is a room; a file of the top level is one by itself.
ROOMS = (
    {"hash.hpp", "semantics.hpp", "text.hpp", "version.hpp"},
    {"simd"},
    {"updaters"},
    {"kernels"},
    {"schedule"},
    {"schedule.hpp"},
    {"learning_rate_policy.hpp"},
    {"configuration"},
    {"configuration.hpp"},
    {"plan"},
    {"parameter_memory.hpp", "state.hpp", "threads.hpp"},
    {"step"},
    {"slots.hpp"},
    {"engine.hpp"},
    {"multi_layer_updater.hpp", "own_updater.hpp"},
    {"flatstep.hpp"},
)


def room_of(header: str) -> str:
    return header.partition("/")[0]


def rank_of(header: str) -> int:
    (rank,) = [rank for rank, rooms in enumerate(ROOMS) if room_of(header) in rooms]
    return rank


def includes_of(header: Path) -> list[str]:
    return re.findall(r'#include [<"]flatstep/([^>"]+)[>"]', header.read_text())


HEADERS = sorted(path.relative_to(CORE).as_posix() for path in CORE.rglob("*.hpp"))


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_includes_its_own_room_and_lower_ones(header: str) -> None:
    for included in includes_of(CORE / header):
        inside = room_of(included) == room_of(header)
        assert inside or rank_of(included) < rank_of(header), f"{header} includes {included}"


def test_every_room_is_there() -> None:
    assert {room_of(header) for header in HEADERS} == set().union(*ROOMS)


def test_no_header_of_a_room_includes_itself_by_way_of_others() -> None:
    graph = {header: includes_of(CORE / header) for header in HEADERS}

    def visit(header: str, path: tuple[str, ...]) -> None:
        assert header not in path, " includes ".join((*path, header))
        for included in graph[header]:
            visit(included, (*path, header))

    for header in HEADERS:
        visit(header, ())
