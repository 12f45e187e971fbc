"""Saving into the file system as it is: special files, permissions, names, full disks, forks."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dl4j_zips import MLP

import flatstep as fs
from flatstep.atomic_file import atomic_file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="special files are POSIX's here")


def an_updater() -> Any:
    config = fs.MultiLayerConfiguration(updater=fs.Adam())
    return fs.MultiLayerUpdater(config, {"0_W": np.ones((2, 3))})


def save_checkpoint(path: Any) -> None:
    an_updater().save(path)


def save_zip(path: Any) -> None:
    fs.save_dl4j(path, fs.load_dl4j(MLP))


SAVES = pytest.mark.parametrize("save", [save_checkpoint, save_zip], ids=lambda f: f.__name__)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# ---------------------------------------------------------------------------------- what is no file


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # a socket's path is short


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:
        pytest.skip("may not make a device here")


def make_loop(path: Path) -> None:
    path.symlink_to("other")
    path.with_name("other").symlink_to(path.name)


def make_link_to_fifo(path: Path) -> None:
    make_fifo(path.with_name("other"))
    path.symlink_to("other")


def make_folder(path: Path) -> None:
    path.mkdir()


NO_FILES: list[tuple[Callable[[Path], None], str]] = [
    (make_fifo, "got a FIFO, which is not replaced; save under another name"),
    (make_socket, "got a socket, which is not replaced; save under another name"),
    (make_device, "got a device, which is not replaced; save under another name"),
    (make_link_to_fifo, "got a FIFO, which is not replaced; save under another name"),
    (make_loop, "Too many levels of symbolic links"),
    (make_folder, "expected the name of a file, got a folder"),
]


@SAVES
@pytest.mark.parametrize(("make", "text"), NO_FILES, ids=lambda v: getattr(v, "__name__", ""))
def test_what_is_no_file_is_not_replaced(
    make: Any, text: str, save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model"
    make(path)
    before = [(name, os.lstat(tmp_path / name)[:2]) for name in names(tmp_path)]
    with pytest.raises(OSError, match=re.escape(text)) as caught:
        save(path)
    assert caught.value.filename == str(path)
    assert [(name, os.lstat(tmp_path / name)[:2]) for name in names(tmp_path)] == before


@SAVES
def test_a_pipe_that_proc_names_is_refused(save: Any) -> None:
    if not os.path.exists("/proc/self/fd"):
        pytest.skip("needs /proc")
    reading, writing = os.pipe()
    try:
        with pytest.raises(FileExistsError, match="got a FIFO"):
            save(f"/proc/self/fd/{writing}")
    finally:
        os.close(reading)
        os.close(writing)


def test_a_deleted_file_that_proc_names_is_refused(tmp_path: Path) -> None:
    if not os.path.exists("/proc/self/fd"):
        pytest.skip("needs /proc")
    with (tmp_path / "gone").open("wb") as file:
        (tmp_path / "gone").unlink()
        with pytest.raises(FileExistsError, match="got a file without a name"):
            save_checkpoint(f"/proc/self/fd/{file.fileno()}")
    assert names(tmp_path) == []


def test_what_comes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "model"

    def save() -> None:
        with atomic_file(path) as file:
            file.write(b"x")
            os.mkfifo(path)

    with pytest.raises(FileExistsError, match="got a FIFO"):
        save()
    assert names(tmp_path) == ["model"]
    assert stat.S_ISFIFO(path.stat().st_mode)


@SAVES
def test_links_are_followed_to_a_file_or_to_nothing(save: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    first, second, target = tmp_path / "first", tmp_path / "second", tmp_path / "folder" / "model"
    first.symlink_to("second")
    second.symlink_to(target)
    save(first)
    inode = target.stat().st_ino
    save(first)
    assert first.is_symlink()
    assert second.is_symlink()
    assert target.is_file()
    assert target.stat().st_ino != inode
    assert names(tmp_path / "folder") == ["model"]


@pytest.mark.parametrize(
    "load", [fs.load_dl4j, lambda path: fs.load_updater(path, {"0_W": np.ones(3)})]
)
@pytest.mark.parametrize("make", [make_fifo, make_socket, make_device, make_folder])
def test_what_is_no_file_is_not_read(
    make: Any, load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To open a FIFO would wait for ever."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "model")
    with pytest.raises(ValueError, match="expected a file, got what is none"):
        load(tmp_path / "model")


# -------------------------------------------------------------------------------------- permissions


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o666, 0o200])
def test_the_temporary_file_is_no_more_readable_than_the_old(
    mode: int, tmp_path: Path, umask: Any
) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"old")
    path.chmod(mode)
    with atomic_file(path) as file:
        assert os.fstat(file.fileno()).st_mode & 0o777 & ~mode == 0
        file.write(b"new")
    assert path.stat().st_mode & 0o7777 == mode


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0, 0o666)])
def test_a_new_file_has_what_umask_leaves(mask: int, mode: int, tmp_path: Path, umask: Any) -> None:
    umask(mask)
    with atomic_file(tmp_path / "model") as file:
        assert os.fstat(file.fileno()).st_mode & 0o777 == mode
    assert (tmp_path / "model").stat().st_mode & 0o777 == mode


def test_a_temporary_file_is_made_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were its name known, a link in its place would not be followed."""
    monkeypatch.setattr("secrets.token_hex", lambda size: "00")
    (tmp_path / ".model.00.tmp").symlink_to("victim")
    with pytest.raises(FileExistsError), atomic_file(tmp_path / "model"):
        pass
    assert "victim" not in names(tmp_path)


@pytest.fixture
def strangers_folder() -> Iterator[Callable[[int], Path]]:
    """Makes a folder of a mode, in which this process has no privileges."""
    before = os.geteuid()
    with tempfile.TemporaryDirectory() as outer:
        os.chmod(outer, 0o711)

        def make(mode: int) -> Path:
            folder = Path(outer, "folder")
            folder.mkdir()
            if before == 0:
                os.chown(folder, 65534, 65534)
                os.seteuid(65534)
            folder.chmod(mode)
            return folder

        yield make
        folder = Path(outer, "folder")
        if folder.exists():
            folder.chmod(0o700)
        os.seteuid(before)


def test_a_folder_that_may_be_written_and_not_read(strangers_folder: Any) -> None:
    folder = strangers_folder(0o300)
    for _ in range(2):
        save_checkpoint(folder / "model")
    params = {"0_W": np.zeros((2, 3))}
    assert fs.load_updater(folder / "model", params) == an_updater()
    folder.chmod(0o700)
    assert names(folder) == ["model"]


@pytest.mark.parametrize("mode", [0o500, 0o600, 0o000])
def test_a_folder_that_may_not_be_written(mode: int, strangers_folder: Any) -> None:
    path = strangers_folder(mode) / "model"
    with pytest.raises(PermissionError, match="Permission denied") as caught:
        save_checkpoint(path)
    assert caught.value.filename == str(path)


def test_a_folder_that_cannot_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems cannot; an error of the disk is one."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(error, os.strerror(error))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    error = 22
    save_checkpoint(tmp_path / "model")
    error = 5
    with pytest.raises(OSError, match="Input/output error"):
        save_checkpoint(tmp_path / "model")


# ------------------------------------------------------------------------------------- names, paths


@SAVES
@pytest.mark.parametrize(
    "name",
    [
        *("m" * 255, "m" * 240, "é" * 127, "漢" * 85, "🦆" * 63, "a" + "🦆" * 63),
        *("\udcff" * 255, ".m", " "),
    ],
    ids=lambda name: f"{len(os.fsencode(name))} bytes",
)
def test_names_as_long_as_they_may_be(name: str, save: Any, tmp_path: Path) -> None:
    for _ in range(2):
        save(tmp_path / name)
        assert names(tmp_path) == [name]


def test_the_temporary_name_is_cut_between_characters(tmp_path: Path) -> None:
    with atomic_file(tmp_path / ("漢" * 85)):
        (name,) = names(tmp_path)
        assert re.fullmatch(r"\.漢{70,}\.[0-9a-f]{16}\.tmp", name)
        assert len(os.fsencode(name)) <= 255


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="name too long"):
        save_checkpoint(tmp_path / ("m" * 256))
    assert names(tmp_path) == []


def deep(folder: Path, length: int) -> str:
    """A folder whose path has this length, or a few bytes less."""
    path = str(folder)
    while len(path) + 2 < length:
        path += "/" + "d" * min(200, length - len(path) - 1)
    os.makedirs(path)
    return path


@pytest.mark.parametrize("length", range(4030, 4066, 5))
def test_paths_as_long_as_they_may_be(length: int, tmp_path: Path) -> None:
    path = deep(tmp_path, length) + "/" + "m" * 24
    save_checkpoint(path)
    save_checkpoint(path)
    assert os.listdir(os.path.dirname(path)) == ["m" * 24]


# CPython 3.13 cannot import safetensors where the current folder is gone.
IN_A_FOLDER = """
import os, sys
import numpy as np
import safetensors.numpy
import flatstep as fs
config = fs.MultiLayerConfiguration(updater=fs.Adam())
updater = fs.MultiLayerUpdater(config, {"0_W": np.ones(3)})
"""


def run(program: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FOLDER + program],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inner").mkdir()
    for path in ("a", "./b", "inner/../c", "inner/d", b"e", Path("f")):
        save_checkpoint(path)
    assert names(tmp_path) == ["a", "b", "c", "e", "f", "inner"]
    assert names(tmp_path / "inner") == ["d"]


def test_a_relative_path_means_where_the_process_was(tmp_path: Path) -> None:
    run(
        """
from flatstep.atomic_file import atomic_file
os.mkdir("other")
with atomic_file("model") as file:
    os.chdir("other")
assert os.listdir() == [] and sorted(os.listdir("..")) == ["model", "other"]
""",
        tmp_path,
    )


def test_a_path_that_is_short_only_from_here(tmp_path: Path) -> None:
    run(
        """
for _ in range(50):
    os.mkdir("d" * 100)
    os.chdir("d" * 100)
updater.save("model")
updater.save("model")
assert os.listdir() == ["model"]
for _ in range(50):
    os.chdir("..")
import shutil
shutil.rmtree("d" * 100)
""",
        tmp_path,
    )


def test_a_current_folder_that_is_gone(tmp_path: Path) -> None:
    out = run(
        f"""
os.mkdir("gone")
os.chdir("gone")
os.rmdir({str(tmp_path / "gone")!r})
updater.save({str(tmp_path / "model")!r})
try:
    updater.save("model")
except FileNotFoundError as error:
    print(error)
""",
        tmp_path,
    )
    assert "expected a path from the root, as the current folder is gone: 'model'" in out
    assert names(tmp_path) == ["model"]


class AsBytes:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> bytes:
        return os.fsencode(self.path)


@SAVES
@pytest.mark.parametrize("form", [str, os.fsencode, Path, AsBytes])
def test_forms_of_paths(form: Any, save: Any, tmp_path: Path) -> None:
    path = tmp_path / "mödel"
    save(form(path))
    assert names(tmp_path) == ["mödel"]
    if save is save_checkpoint:
        assert fs.load_updater(form(path), {"0_W": np.ones((2, 3))}) == an_updater()
    else:
        assert fs.load_dl4j(form(path)).iteration == 40
        path.write_bytes(b"")
        with pytest.raises(fs.DL4JModelError) as caught:
            fs.load_dl4j(form(path))
        assert str(caught.value).startswith(f"{path}: not a zip file")


CALLS = [
    save_checkpoint,
    save_zip,
    fs.load_dl4j,
    lambda path: fs.load_updater(path, {"0_W": np.ones(3)}),
]


@pytest.mark.parametrize("call", CALLS, ids=["save", "save_dl4j", "load_dl4j", "load_updater"])
@pytest.mark.parametrize("path", [3, True, False, 0, None, 1.5, ["model"], bytearray(b"model")])
def test_what_is_no_path(path: Any, call: Any) -> None:
    with pytest.raises(TypeError, match=r"path: expected a string, bytes or a path") as caught:
        call(path)
    assert type(path).__name__ in str(caught.value)


@pytest.mark.parametrize("call", CALLS[2:], ids=["load_dl4j", "load_updater"])
def test_a_descriptor_stays_open(call: Any, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"somebody's")
    with (tmp_path / "model").open("rb") as file:
        with pytest.raises(TypeError):
            call(file.fileno())
        assert file.read() == b"somebody's"


@pytest.mark.parametrize("call", CALLS, ids=["save", "save_dl4j", "load_dl4j", "load_updater"])
@pytest.mark.parametrize("path", ["a\0b", b"a\0b", "\0"])
def test_a_path_with_nul(path: Any, call: Any) -> None:
    with pytest.raises(ValueError, match="path: expected no NUL character in it, got"):
        call(path)


@SAVES
@pytest.mark.parametrize("name", ["", "new/", "folder/"])
def test_a_path_without_a_name(
    name: str, save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="expected the name of a file"):
        save(name)
    assert names(tmp_path) == ["folder"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none" / "model"
    with pytest.raises(FileNotFoundError) as caught:
        save_checkpoint(path)
    assert caught.value.filename == str(path)


@pytest.mark.parametrize("writer", [fs.CSVWriter, fs.JSONLWriter])
def test_files_of_listeners(writer: Any, tmp_path: Path) -> None:
    for form in (str, os.fsencode, Path):
        with writer(form(tmp_path / "log")):
            assert names(tmp_path) == ["log"]
    for file in (3, True, None):
        with pytest.raises(TypeError, match="file: expected a path or an open text file, got"):
            writer(file)


# ----------------------------------------------------------------------------- full disks and forks


@SAVES
def test_a_disk_that_is_full_at_any_byte(save: Any, tmp_path: Path) -> None:
    pytest.importorskip("resource")
    path = tmp_path / "model"
    save(path)
    size, old = path.stat().st_size, path.read_bytes()
    program = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_files import {save.__name__} as save
for limit in [*range(0, {size}, 97), {size} - 1, {size}]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save("model")
    except OSError as error:
        assert error.errno == 27, error  # EFBIG
        assert limit < {size}
    else:
        assert limit == {size}
    assert os.listdir() == ["model"]
    with open("model", "rb") as file:
        assert file.read() == {old!r}
"""
    run(program, tmp_path)


@SAVES
def test_a_full_file_system(save: Any, tmp_path: Path) -> None:
    """A small one in memory, where the process may mount it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("may not mount a file system here")
    try:
        save(disk / "model")
        old = (disk / "model").read_bytes()
        with (disk / "rest").open("wb", buffering=0) as rest, contextlib.suppress(OSError):
            while True:
                rest.write(bytes(4096))
        with pytest.raises(OSError, match="No space"):
            save(disk / "model")
        assert (disk / "model").read_bytes() == old
        assert names(disk) == ["model", "rest"]
        (disk / "rest").unlink()
        save(disk / "model")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


FORKS = """
from flatstep.atomic_file import atomic_file
with atomic_file("model") as file:
    file.write(b"first ")
    child = os.fork()
    if child == 0:
        {end}
    os.waitpid(child, 0)
    file.write(b"second")
with open("model", "rb") as file:
    print(file.read())
print(os.listdir())
"""


@pytest.mark.parametrize(
    "end", ["sys.exit()", "raise ValueError", "file.write(b'child'); file.flush(); sys.exit()"]
)
def test_a_process_forked_while_saving_leaves_the_file_alone(end: str, tmp_path: Path) -> None:
    """What is buffered would be written twice, and the temporary file removed."""
    assert run(FORKS.format(end=end), tmp_path) == "b'first second'\n['model']\n"


def test_a_forked_process_cannot_end_the_save(tmp_path: Path) -> None:
    """As where the handler of a signal forks."""
    program = """
from flatstep.atomic_file import atomic_file
try:
    with atomic_file("model") as file:
        child = os.fork()
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        file.write(b"whole" if child else b"half")
except OSError as error:
    assert not child and "expected the process that began to save" in str(error)
    os._exit(7)
assert child
with open("model", "rb") as file:
    assert file.read() == b"whole"
assert os.listdir() == ["model"]
"""
    run(program, tmp_path)


def test_a_fork_in_another_thread_while_saving(tmp_path: Path) -> None:
    program = """
import threading
from flatstep.atomic_file import atomic_file
halfway, go_on = threading.Event(), threading.Event()
def write():
    with atomic_file("model") as file:
        file.write(b"first ")
        halfway.set()
        go_on.wait()
        file.write(b"second")
thread = threading.Thread(target=write)
thread.start()
halfway.wait()
child = os.fork()
if child == 0:
    sys.exit()
os.waitpid(child, 0)
go_on.set()
thread.join()
with open("model", "rb") as file:
    assert file.read() == b"first second"
assert os.listdir() == ["model"]
"""
    run(program, tmp_path)
