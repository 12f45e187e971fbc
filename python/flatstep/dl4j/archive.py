"""The zip file that a ModelSerializer writes: read without trust, rewritten entry by entry.

The standard library's `zipfile` forgives what a model file has no reason to contain (entries that
overlap, two of one name, a local header that contradicts the directory) and cannot copy an entry
without inflating it. This reader takes only what `java.util.zip` writes, checks that the headers
and the directory tell one story and account for every byte of the file, and inflates an entry only
when it is asked to, never further than asked. An entry that is not rewritten is copied as it lies
in the file, never opened.

Format: PKWARE's APPNOTE 6.3, without zip64, encryption and spanning.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from .errors import DL4JModelError

MAX_ENTRIES = 1024
_MAX_DIRECTORY = 1 << 20
_MAX_NAME = 255
_CHUNK = 1 << 16
# The most that one byte of a deflate stream can unfold to, and an empty stream's slack.
_MAX_DEFLATE_RATIO = 1032

_END = struct.Struct("<4s4H2IH")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_DESCRIPTOR = struct.Struct("<4s3I")
_END_MAGIC, _CENTRAL_MAGIC, _LOCAL_MAGIC = b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04"
_DESCRIPTOR_MAGIC = b"PK\x07\x08"

_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _LEVEL, _HAS_DESCRIPTOR, _UTF8 = 0x0001, 0x0006, 0x0008, 0x0800
_IN_ZIP64 = 0xFFFFFFFF
_VERSION_OF_DEFLATE = 20


@dataclass(frozen=True)
class Entry:
    """One entry: its directory record and local header as they lie in the file, and what they say.

    ``start`` is where the local header begins, ``data`` where the compressed bytes do, ``end``
    where the next entry (or the directory) does.
    """

    name: str
    record: bytes
    header: bytes
    method: int
    crc: int
    compressed_size: int
    size: int
    start: int
    data: int
    end: int


class Archive:
    """The entries of an open zip file, in the order of its directory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._file_size = file.seek(0, os.SEEK_END)
        self.entries = {entry.name: entry for entry in self._read_directory()}

    def raw(self, entry: Entry) -> bytes:
        """The entry as it lies in the file: local header, compressed bytes, data descriptor."""
        return self._read_at(entry.start, entry.end - entry.start, f"{entry.name}")

    def open(self, entry: Entry) -> EntryReader:
        """A reader of the entry's inflated bytes."""
        return EntryReader(self._file, entry)

    def _read_at(self, offset: int, size: int, what: str) -> bytes:
        if offset + size > self._file_size:
            raise DL4JModelError(
                f"{what} should lie at bytes {offset} to {offset + size}, but the file has only "
                f"{self._file_size}: it is truncated, or its directory is wrong"
            )
        self._file.seek(offset)
        found = self._file.read(size)
        if len(found) != size:
            raise DL4JModelError(f"{what}: the file ended while it was being read")
        return found

    def _read_directory(self) -> list[Entry]:
        end_at, count, offset, size = self._find_end()
        directory = self._read_at(offset, size, "the zip directory")
        records: dict[str, bytes] = {}
        position = 0
        for index in range(count):
            if position + _CENTRAL.size > size:
                raise DL4JModelError(f"the zip directory ends inside entry {index + 1} of {count}")
            fields = _CENTRAL.unpack_from(directory, position)
            length = _CENTRAL.size + sum(fields[10:13])
            record = directory[position : position + length]
            if fields[0] != _CENTRAL_MAGIC or len(record) != length:
                raise DL4JModelError(f"entry {index + 1} of the zip directory is damaged")
            name = _decode_name(record[_CENTRAL.size : _CENTRAL.size + fields[10]], fields[3])
            if name in records:
                raise DL4JModelError(f"{name!r} is in the zip file twice")
            records[name] = record
            position += length
        if position != size or offset + size != end_at:
            raise DL4JModelError("the zip directory is followed by bytes that belong to no entry")
        return self._locate(records, offset)

    def _find_end(self) -> tuple[int, int, int, int]:
        """Where the end record lies, and from it the number of entries, offset and size of the
        directory."""
        tail_size = min(self._file_size, _END.size + 0xFFFF)
        tail = self._read_at(self._file_size - tail_size, tail_size, "the end of the zip file")
        position = tail.rfind(_END_MAGIC)
        while position >= 0:
            if position + _END.size <= tail_size:
                fields = _END.unpack_from(tail, position)
                if position + _END.size + fields[7] == tail_size:
                    break
            position = tail.rfind(_END_MAGIC, 0, position)
        else:
            raise DL4JModelError(
                "not a zip file, or a truncated one: the end of its directory is missing"
            )
        _, disk, directory_disk, here, count, size, offset, _ = fields
        if 0xFFFF in (here, count) or _IN_ZIP64 in (size, offset):
            raise DL4JModelError("a zip64 file: models of 4 GiB and more are not supported")
        if disk or directory_disk or here != count:
            raise DL4JModelError("a zip file that is spread over several files is not supported")
        if count > MAX_ENTRIES or size > _MAX_DIRECTORY:
            raise DL4JModelError(
                f"a directory of {count} entries in {size} bytes: a model has a handful (the limit "
                f"is {MAX_ENTRIES} entries)"
            )
        return self._file_size - tail_size + position, count, offset, size

    def _locate(self, records: dict[str, bytes], directory_at: int) -> list[Entry]:
        """Entries with their places, which must cover the file up to the directory gaplessly."""
        if not records:
            raise DL4JModelError("the zip file is empty")
        starts = sorted(_CENTRAL.unpack_from(record)[16] for record in records.values())
        ends = dict(zip(starts, [*starts[1:], directory_at], strict=True))
        if len(ends) != len(records) or starts[0] != 0:
            raise DL4JModelError("the zip file has entries that overlap, or bytes before the first")
        return [self._read_entry(name, record, ends) for name, record in records.items()]

    def _read_entry(self, name: str, record: bytes, ends: dict[int, int]) -> Entry:
        (_, _, _, flags, method, _, _, crc, compressed_size, size, name_size, _, _, disk, _, _,
         start) = _CENTRAL.unpack_from(record)  # fmt: skip
        if flags & _ENCRYPTED:
            raise DL4JModelError(f"{name} is encrypted: save the model without a password")
        if disk:
            raise DL4JModelError("a zip file that is spread over several files is not supported")
        if flags & ~(_LEVEL | _HAS_DESCRIPTOR | _UTF8):
            raise DL4JModelError(f"{name} uses a zip feature (flags {flags:#06x}) no model needs")
        if method not in (_STORED, _DEFLATED):
            raise DL4JModelError(
                f"{name} is compressed by method {method}; a model's entries are stored (0) or "
                f"deflated (8)"
            )
        if _IN_ZIP64 in (compressed_size, size, start):
            raise DL4JModelError(f"{name} is a zip64 entry: 4 GiB and more are not supported")
        if method == _STORED and size != compressed_size:
            raise DL4JModelError(
                f"{name} is stored uncompressed in {compressed_size} bytes, but declares {size}"
            )
        if size > _MAX_DEFLATE_RATIO * (compressed_size + 1):
            raise DL4JModelError(
                f"{name} declares {size} bytes, more than {compressed_size} compressed bytes can "
                f"hold"
            )
        header = self._read_at(start, _LOCAL.size, f"the local header of {name}")
        (magic, _, local_flags, local_method, _, _, local_crc, local_compressed, local_size,
         local_name_size, extra_size) = _LOCAL.unpack(header)  # fmt: skip
        if magic != _LOCAL_MAGIC:
            raise DL4JModelError(f"there is no entry at byte {start}, where {name} should start")
        header += self._read_at(start + _LOCAL.size, local_name_size + extra_size, name)
        told = (local_crc, local_compressed, local_size)
        true = (crc, compressed_size, size)
        if (
            header[_LOCAL.size : _LOCAL.size + local_name_size]
            != record[_CENTRAL.size : _CENTRAL.size + name_size]
            or (local_flags, local_method) != (flags, method)
            or (told != true and not (flags & _HAS_DESCRIPTOR and told == (0, 0, 0)))
        ):
            raise DL4JModelError(f"the local header of {name} contradicts the zip directory")
        data = start + len(header)
        entry = Entry(
            name, record, header, method, crc, compressed_size, size, start, data, ends[start]
        )
        self._check_tail(entry, descriptor=bool(flags & _HAS_DESCRIPTOR))
        return entry

    def _check_tail(self, entry: Entry, descriptor: bool) -> None:
        """Between an entry's data and the next entry lies its data descriptor and nothing else."""
        signed = _DESCRIPTOR.pack(_DESCRIPTOR_MAGIC, entry.crc, entry.compressed_size, entry.size)
        # The signature is optional.
        wanted = (signed, signed[4:]) if descriptor else (b"",)
        tail_at = entry.data + entry.compressed_size
        tail_size = entry.end - tail_at
        if tail_size not in [len(tail) for tail in wanted]:
            raise DL4JModelError(
                f"{entry.name} and the entry after it overlap, or bytes between them belong to "
                f"neither"
            )
        if self._read_at(tail_at, tail_size, f"the end of {entry.name}") not in wanted:
            raise DL4JModelError(f"the data descriptor of {entry.name} contradicts the directory")


class EntryReader:
    """Reads an entry's inflated bytes in order, and no more of them than asked for.

    `finish` checks that nothing is left and that the checksum is right; until then what was read
    is not to be trusted.
    """

    def __init__(self, file: BinaryIO, entry: Entry) -> None:
        self._file = file
        self._entry = entry
        self._position = entry.data
        self._compressed_left = entry.compressed_size
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if entry.method == _DEFLATED else None
        self._pending = b""
        self._crc = 0
        self.size_left = entry.size

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        found = bytearray(size)
        self.read_into(memoryview(found))
        return bytes(found)

    def read_into(self, target: memoryview) -> None:
        """Fill ``target``, a flat view of bytes, with the next bytes of the entry."""
        done = 0
        while done < len(target):
            piece = self._next(min(_CHUNK, len(target) - done))
            if not piece:
                raise DL4JModelError(
                    f"{self._entry.name} ends after {self._entry.size - self.size_left} bytes, "
                    f"{len(target) - done} bytes early"
                )
            target[done : done + len(piece)] = piece
            done += len(piece)
            self._crc = zlib.crc32(piece, self._crc)
            self.size_left -= len(piece)

    def finish(self) -> None:
        """Check that the entry is at its end, and its checksum."""
        name = self._entry.name
        if self._next(1):
            raise DL4JModelError(f"{name} has bytes after its end")
        if self._inflate is not None and (not self._inflate.eof or self._inflate.unused_data):
            raise DL4JModelError(f"the compressed bytes of {name} do not end where it does")
        if self._compressed_left or self.size_left:
            raise DL4JModelError(f"{name} does not have the size that the directory declares")
        if self._crc != self._entry.crc:
            raise DL4JModelError(f"the checksum of {name} is wrong: the file is damaged")

    def _next(self, limit: int) -> bytes:
        """Up to ``limit`` bytes; none at the end."""
        if self._inflate is None:
            return self._fetch(limit)
        while True:
            compressed = self._pending or self._fetch(_CHUNK)
            try:
                piece = self._inflate.decompress(compressed, limit)
            except zlib.error as error:
                raise DL4JModelError(
                    f"the compressed bytes of {self._entry.name} are damaged: {error}"
                ) from error
            self._pending = self._inflate.unconsumed_tail
            if piece or self._inflate.eof or not compressed:
                return piece

    def _fetch(self, limit: int) -> bytes:
        size = min(limit, self._compressed_left)
        self._file.seek(self._position)
        found = self._file.read(size)
        if len(found) != size:
            raise DL4JModelError(f"the file ended inside {self._entry.name}")
        self._position += size
        self._compressed_left -= size
        return found


@dataclass(frozen=True)
class Part:
    """An entry to write: copied whole where ``raw`` is given, else deflated from ``content``.

    ``record`` and ``header`` are an existing entry's, or those of `new_entry`.
    """

    record: bytes
    header: bytes
    raw: bytes | None = None
    content: Iterable[bytes | memoryview] = ()


def new_entry(name: str) -> tuple[bytes, bytes]:
    """The directory record and local header of an entry that the archive does not have yet."""
    encoded = name.encode("ascii")
    header = _LOCAL.pack(_LOCAL_MAGIC, 20, 0, _DEFLATED, 0, 0x21, 0, 0, 0, len(encoded), 0)
    record = _CENTRAL.pack(
        _CENTRAL_MAGIC, 20, 20, 0, _DEFLATED, 0, 0x21, 0, 0, 0, len(encoded), 0, 0, 0, 0, 0, 0
    )
    return record + encoded, header + encoded


def write_archive(file: BinaryIO, parts: Iterable[Part]) -> None:
    """Write a zip file of ``parts``, as ModelSerializer does: deflated, sizes after the data."""
    directory = bytearray()
    count = 0
    for part in parts:
        start = file.tell()
        record = bytearray(part.record)
        if part.raw is not None:
            file.write(part.raw)
        else:
            _write_deflated(file, part, record)
        if file.tell() >= _IN_ZIP64:
            raise DL4JModelError("the zip file would pass 4 GiB, which is not supported")
        struct.pack_into("<I", record, 42, start)
        directory += record
        count += 1
    at = file.tell()
    file.write(directory)
    file.write(_END.pack(_END_MAGIC, 0, 0, count, count, len(directory), at, 0))


def _write_deflated(file: BinaryIO, part: Part, record: bytearray) -> None:
    header = bytearray(part.header)
    version, flags = struct.unpack_from("<2H", header, 4)
    version = max(version, _VERSION_OF_DEFLATE)
    flags = (flags & _UTF8) | _HAS_DESCRIPTOR
    struct.pack_into("<3H", header, 4, version, flags, _DEFLATED)
    struct.pack_into("<3I", header, 14, 0, 0, 0)
    struct.pack_into("<3H", record, 6, version, flags, _DEFLATED)
    file.write(header)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    crc = size = 0
    data = file.tell()
    for piece in part.content:
        crc = zlib.crc32(piece, crc)
        size += len(piece)
        file.write(deflate.compress(piece))
    file.write(deflate.flush())
    compressed_size = file.tell() - data
    if max(size, compressed_size) >= _IN_ZIP64:
        raise DL4JModelError("an entry of the zip file would pass 4 GiB, which is not supported")
    struct.pack_into("<3I", record, 16, crc, compressed_size, size)
    file.write(_DESCRIPTOR.pack(_DESCRIPTOR_MAGIC, crc, compressed_size, size))


def _decode_name(encoded: bytes, flags: int) -> str:
    """An entry's name; it is only ever compared, but a path that leaves its folder is refused."""
    if len(encoded) > _MAX_NAME:
        raise DL4JModelError(f"an entry name of {len(encoded)} bytes; the limit is {_MAX_NAME}")
    try:
        name = encoded.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError:
        raise DL4JModelError(f"the entry name {encoded!r} is not UTF-8") from None
    folders = name.removesuffix("/").split("/")
    plain = name.isprintable() and not set(name) & set("\\:")
    if not plain or any(folder in ("", ".", "..") for folder in folders):
        raise DL4JModelError(
            f"the entry name {name!r} is not a plain path inside the zip file: the file was not "
            f"written by ModelSerializer"
        )
    return name
