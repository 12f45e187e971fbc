"""Writing a file so that a reader, or a kill at any point, finds the old or the new one whole."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from ._shown import shown

__all__ = ["atomic_file", "path_text"]

# POSIX's usual limits, in bytes.
_NAME_MAX = 255
_PATH_MAX = 4095
_MAX_LINKS = 40
# Where a file system cannot sync a folder, or its owner may write there and not look.
_NO_SYNC = {errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EBADF}

#: The temporary files that are being written, by descriptor.
_being_written: set[int] = set()


def path_text(where: str, path: object) -> str:
    """A path as text; an integer, which `open` would take for a descriptor, is none.

    Raises:
        TypeError: no string, bytes or path-like object.
        ValueError: a NUL character, which no system has in its paths.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(
            f"{where}: path: expected a string, bytes or a path such as pathlib's, got "
            f"{shown(path)} of type {type(path).__name__}"
        )
    text = os.fsdecode(path)
    if "\0" in text:
        raise ValueError(f"{where}: path: expected no NUL character in it, got {shown(text)}")
    return text


@contextmanager
def atomic_file(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` when the block ends without an error.

    The bytes go to a temporary file beside ``path``, are synced to the disk, and the temporary
    file is then renamed over ``path``, which is atomic. An error removes the temporary file and
    leaves ``path`` as it was. A symbolic link is followed; an existing file keeps its permissions,
    which the temporary one has from the start. What is there and is no file (a folder, a FIFO, a
    socket, a device, a circle of links) is refused. A process forked meanwhile touches neither.

        with atomic_file("model.zip") as file:
            file.write(b"...")
    """
    given = path_text("save", path)
    target = _followed(given)
    mode = _mode_of_file(given, target)
    temporary = _temporary(target)
    process = os.getpid()
    descriptor = -1

    def opener(name: str, flags: int) -> int:
        # Nobody may read the temporary file who may not read what it replaces.
        allowed = 0o666 if mode is None else mode & 0o777
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), allowed)

    try:
        try:
            file = open(temporary, "xb", opener=opener)  # noqa: SIM115 (closed below)
        except OSError as error:
            # The temporary file's name says nothing to whoever gave another.
            raise OSError(error.errno, error.strerror, given) from error
        with file:
            descriptor = file.fileno()
            _being_written.add(descriptor)
            try:
                yield file
                if os.getpid() != process:
                    raise OSError(errno.EBUSY, "expected the process that began to save", given)
                file.flush()
                os.fsync(descriptor)
            finally:
                _being_written.discard(descriptor)
        _take_mode(temporary, _mode_of_file(target, target))
        os.replace(temporary, target)
    except BaseException:
        if os.getpid() == process:
            with suppress(OSError):
                os.remove(temporary)
        raise
    _sync_folder(os.path.dirname(target))


def _followed(path: str) -> str:
    """The file that the path means, a link followed, for as long as this process runs.

    Not `os.path.realpath`: a path may be short from here and too long from the root.
    """
    if not os.path.basename(path):
        raise IsADirectoryError(errno.EISDIR, "expected the name of a file", path)
    if not os.path.isabs(path):
        try:
            absolute = os.path.join(os.getcwd(), path)
        except FileNotFoundError:
            raise FileNotFoundError(
                errno.ENOENT, "expected a path from the root, as the current folder is gone", path
            ) from None
        path = absolute if len(os.fsencode(absolute)) <= _PATH_MAX else path
    for _ in range(_MAX_LINKS):
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:  # no link, or nothing there
            break
    return path


def _mode_of_file(given: str, target: str) -> int | None:
    """The permissions of the file that is there, None if there is none.

    Raises:
        OSError: something else is there, which a rename would replace.
    """
    try:
        found = os.stat(given)
    except FileNotFoundError:
        return None
    kind = next((name for test, name in _KINDS if test(found.st_mode)), "no file")
    if kind == "a folder":
        raise IsADirectoryError(errno.EISDIR, "expected the name of a file, got a folder", given)
    if not stat.S_ISREG(found.st_mode) or not _is_same(found, target):
        raise FileExistsError(
            errno.EEXIST,
            f"expected a file, or nothing there yet, got {kind}, which is not replaced; save under "
            "another name",
            given,
        )
    return stat.S_IMODE(found.st_mode)


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISREG, "a file without a name"),
)


def _is_same(found: os.stat_result, target: str) -> bool:
    """Whether it is what lies there: not so for a deleted file that /proc still links to."""
    try:
        return os.path.samestat(found, os.lstat(target))
    except FileNotFoundError:
        return False


def _temporary(target: str) -> str:
    """A name beside the target's that nobody has, and no longer than a name or path may be."""
    folder, name = os.path.split(target)
    ending = f".{secrets.token_hex(8)}.tmp"
    room = min(_NAME_MAX, _PATH_MAX - len(os.fsencode(os.path.join(folder, "")))) - len(ending) - 1
    name = name[:_NAME_MAX]
    while name and len(os.fsencode(name)) > room:
        name = name[:-1]  # by characters: half of one is no text
    return os.path.join(folder, f".{name}{ending}")


def _take_mode(temporary: str, mode: int | None) -> None:
    """Give the file these permissions, which it has but for what umask took."""
    if mode is not None and mode != stat.S_IMODE(os.stat(temporary).st_mode):
        os.chmod(temporary, mode)


def _sync_folder(folder: str) -> None:
    """Make the rename itself durable, where the platform can open a folder and sync it."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder or os.curdir, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _let_go() -> None:
    """In a forked process: what it has buffered, or writes yet, does not reach the parent's file.

    Parent and child share the place in the file at which they write.
    """
    for descriptor in _being_written:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor, inheritable=False)
        os.close(nowhere)
    _being_written.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
