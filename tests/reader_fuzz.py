"""Makes files that are wrong in their structure and right in their checksums, for all four readers.

    FLATSTEP_FUZZ=100000 pytest tests/test_reader_fuzz.py

Each maker starts from a file that is read, changes what is in it, and seals it again: sizes and
CRC-32s are those of the changed content, so that the change reaches what comes after them. The same
seed makes the same file.
"""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from dl4j_zips import (
    BATCH_NORM,
    COEFFICIENTS,
    CONFIGURATION,
    DOUBLE,
    GRAPH,
    MLP,
    STATE,
    read_entries,
)

NUMBERS = [
    *(0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32),
    *(2**53, 2**62, 2**63 - 2, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**31), -(2**63), 10**30),
    *(10**400, 0.5, -0.0, 1e-320, 1e-45, 1e39, 1e308, -1e308, 1.0, 3.0),
]
TEXTS = [
    *(
        "",
        "0",
        "W",
        "0_W",
        "1",
        "NaN",
        "Infinity",
        "-Infinity",
        "None",
        "null",
        "a/b",
        "__metadata__",
    ),
    *("float32", "float64", "F32", "F64", "I64", "C", "F", "Adam", "Sgd", "StepSchedule", "0" * 20),
    *("x" * 300, "x" * 70_000, "🦆", "\0", "é" * 3, "\u2028", "%s{}", "..", "class", "m"),
]
Random = random.Random


def any_value(rng: Random) -> Any:
    """A value of any type, at an end of its range more often than not."""
    kind = rng.randrange(8)
    if kind < 3:
        return rng.choice(NUMBERS)
    if kind < 5:
        return rng.choice(TEXTS)
    if kind == 5:
        return rng.choice([None, True, False])
    if kind == 6:
        return [any_value(rng) for _ in range(rng.choice([0, 0, 1, 2, 3]))]
    return {rng.choice(TEXTS): any_value(rng) for _ in range(rng.choice([0, 0, 1, 2]))}


def nested(rng: Random) -> Any:
    value: Any = rng.choice([[], {}, 1])
    for _ in range(rng.choice([3, 30, 150, 400])):
        value = rng.choice([[value], {"class": "RampSchedule", "base": value, "num_iter": 1}])
    return value


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every object and array in a document, with each key or index in it."""
    found: list[tuple[Any, Any]] = []
    inside = [value]
    while inside:
        box = inside.pop()
        keys = list(box) if isinstance(box, dict) else range(len(box))
        for key in keys:
            found.append((box, key))
            if isinstance(box[key], (dict, list)):
                inside.append(box[key])
    return found


def mutate_document(rng: Random, document: Any) -> Any:
    """Changes a document in place in a few places; the whole of it now and then."""
    if rng.randrange(60) == 0:
        return any_value(rng)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        found = places(document)
        if not found:
            break
        box, key = rng.choice(found)
        other, other_key = rng.choice(found)
        kind = rng.randrange(10)
        if kind < 4:
            box[key] = any_value(rng)
        elif kind == 4:
            del box[key]
        elif kind == 5:
            box[key] = copy.deepcopy(other[other_key])
        elif kind == 6 and isinstance(box, dict):
            box[rng.choice([*TEXTS, str(rng.choice(NUMBERS))])] = box.pop(key)
        elif kind == 6:
            box.insert(key, copy.deepcopy(box[key]))
        elif kind == 7 and isinstance(box, dict):
            box[rng.choice(TEXTS)] = any_value(rng)
        elif kind == 7:
            box.extend(copy.deepcopy(box) * rng.choice([1, 2, 50]))
        elif kind == 8:
            items = list(box.items()) if isinstance(box, dict) else list(box)
            rng.shuffle(items)
            box.clear()
            box.update(items) if isinstance(box, dict) else box.extend(items)
        elif rng.randrange(8) == 0:
            box[key] = nested(rng)
        elif isinstance(box[key], (int, float)) and not isinstance(box[key], bool):
            box[key] = box[key] + rng.choice([-1, 1, 0.5])
        else:
            box[key] = any_value(rng)
    return document


def mutate_bytes(rng: Random, data: bytes, boundaries: list[int]) -> bytes:
    """Cuts, repeats or changes bytes, at the boundaries of fields more often than not."""

    def at() -> int:
        place = rng.choice(boundaries) if rng.randrange(3) else rng.randrange(len(data) + 1)
        return min(max(place + rng.choice([0, 0, 0, -1, 1]), 0), len(data))

    kind = rng.randrange(6)
    start, end = sorted((at(), at()))
    if kind == 0:
        return data[:start]
    if kind == 1:
        return data[:start] + data[end:]
    if kind == 2:
        return data[:end] + data[start:]
    if kind == 3:
        return data[:start] + rng.randbytes(rng.choice([1, 2, 4, 8, 100])) + data[start:]
    form = rng.choice(["B", "<H", "<I", "<Q", ">H", ">I", ">Q"])
    size = struct.calcsize(form)
    value = rng.choice([n for n in NUMBERS if isinstance(n, int)]) % 256**size
    return data[:start] + struct.pack(form, value) + data[start + size :]


def mutate_text(rng: Random, text: str) -> str:
    """JSON that no parser would write: a key twice, NaN, long numbers, half a pair, cut short."""
    kind = rng.randrange(40)
    at = rng.randrange(len(text) + 1)
    if kind == 0:
        return text[:at]
    if kind == 1 and text.startswith("{") and len(text) > 2:
        return "{" + text[1:-1] + ", " + text[1:]
    if kind == 2:
        odd = ["NaN", "-Infinity", "1e999", "1" * 5000, '"\\ud800"', "\0", "\ufeff", "[" * 20_000]
        return text[:at] + rng.choice(odd) + text[at:]
    return text


# --------------------------------------------------------------------------------------- the makers


def configuration(rng: Random, text: str) -> bytes:
    """A configuration in JSON."""
    changed = json.dumps(mutate_document(rng, json.loads(text)))
    return mutate_text(rng, changed).encode()


def parts_of_checkpoint(data: bytes) -> tuple[dict[str, Any], bytes]:
    (size,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def crc32(document: Any) -> int:
    return zlib.crc32(json.dumps(document).encode())


def checkpoint(rng: Random, data: bytes) -> bytes:
    """A checkpoint: a changed object, container or tensors; or the bytes of the file."""
    header, tensors = parts_of_checkpoint(data)
    document = json.loads(header["__metadata__"]["flatstep"])
    kind = rng.randrange(10)
    if kind < 6:
        document = mutate_document(rng, document)
    elif kind < 8:
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        metadata = header["__metadata__"]
        header = mutate_document(rng, entries)
        if isinstance(header, dict):
            header["__metadata__"] = metadata
            if isinstance(document.get("tensors"), dict):
                sums = document["tensors"]
                document["tensors"] = {name: sums.get(name, 0) for name in entries}
    elif kind == 8:
        tensors = mutate_bytes(rng, tensors, list(range(0, len(tensors) + 1, 8)))
    if isinstance(header, dict) and isinstance(document, dict):
        reseal_tensors(header, document, tensors)
        if "crc32" in document:
            del document["crc32"]
            document["crc32"] = crc32(document)
        text = mutate_text(rng, json.dumps(document))
        header["__metadata__"] = {"flatstep": text}
    text = mutate_text(rng, json.dumps(header))
    encoded = text.encode("utf-8", "surrogatepass")
    whole = struct.pack("<Q", len(encoded)) + encoded + tensors
    if kind == 9:
        whole = mutate_bytes(rng, whole, [0, 8, 8 + len(encoded), len(whole)])
    return whole


def reseal_tensors(header: Any, document: Any, tensors: bytes) -> None:
    """The checksum of each tensor that lies in the file, as its bytes now are."""
    sums = document.get("tensors")
    if not isinstance(sums, dict):
        return
    for name, entry in header.items():
        try:
            start, end = entry["data_offsets"]
            if name in sums:
                sums[name] = zlib.crc32(tensors[start:end])
        except (KeyError, TypeError, ValueError):
            continue


def array(rng: Random, data: bytes) -> bytes:
    """A .bin: fields of its two headers, or bytes at their boundaries."""
    (size,) = struct.unpack_from(">H", data)
    first = 2 + size
    (word,) = struct.unpack_from(">H", data, first + 8)
    shape = first + 8 + 2 + word
    (longs,) = struct.unpack_from(">q", data, first)
    second = shape + 8 * longs
    (size,) = struct.unpack_from(">H", data, second)
    length = second + 2 + size
    (word,) = struct.unpack_from(">H", data, length + 8)
    values = length + 8 + 2 + word
    fields = [first, length, *range(shape, second, 8)]
    if rng.randrange(2):
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 4])):
            number = rng.choice([n for n in NUMBERS if isinstance(n, int)])
            number = (number + 2**63) % 2**64 - 2**63
            struct.pack_into(">q", changed, rng.choice(fields), number)
        return bytes(changed)
    words = [0, 2, second, second + 2, first + 8, first + 10, length + 8, length + 10]
    return mutate_bytes(rng, data, [*fields, *words, values, len(data)])


def zip_of(rng: Random, entries: list[tuple[str, bytes]]) -> bytes:
    """The entries as a zip, whatever their names; some stored, some deflated."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as file:
        warnings.simplefilter("ignore")  # two of one name
        for name, content in entries:
            info = zipfile.ZipInfo(name, (2024, 2, 29, 12, 0, 0))
            method = rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
            info.compress_type = method
            with file.open(info, "w") as entry:
                entry.write(content)
    return buffer.getvalue()


ENTRY_NAMES = [
    "/etc/passwd",
    "../evil",
    "a" * 300,
    "",
    "a\\b",
    "C:x",
    "normalizer.bin",
    "é",
    "dir/",
]
MODELS = [MLP, DOUBLE, GRAPH, BATCH_NORM]


def model(rng: Random) -> bytes:
    """A model's zip: a changed configuration, arrays, entries or containers."""
    entries = dict(read_entries(rng.choice(MODELS)))
    kind = rng.randrange(10)
    if kind < 5:
        document = mutate_document(rng, json.loads(entries[CONFIGURATION]))
        text = mutate_text(rng, json.dumps(document))
        entries[CONFIGURATION] = text.encode("utf-8", "surrogatepass")
    elif kind < 8:
        name = rng.choice([name for name in (COEFFICIENTS, STATE) if name in entries])
        entries[name] = array(rng, entries[name])
    listed = list(entries.items())
    if kind == 8:
        changes: list[Callable[[], Any]] = [
            lambda: listed.append((rng.choice(ENTRY_NAMES), rng.randbytes(20))),
            lambda: listed.append(rng.choice(listed)),
            lambda: listed.pop(rng.randrange(len(listed))),
            lambda: rng.shuffle(listed),
            lambda: listed.insert(0, (rng.choice([*ENTRY_NAMES, STATE]), b"")),
        ]
        rng.choice(changes)()
    data = zip_of(rng, listed)
    if kind == 9:
        signatures = [b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\7\x08"]
        starts = [i for i in range(len(data)) if data[i : i + 4] in signatures]
        fields = [start + offset for start in starts for offset in range(0, 48, 2)]
        data = mutate_bytes(rng, data, [*starts, *fields, len(data)])
    return data
