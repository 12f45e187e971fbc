"""The examples in docstrings and in docs/ run, and what they say is printed is what is printed."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cpp_project import ROOT, build, require_tools, run

import flatstep as fs
from flatstep import serialization

PAGES = sorted((ROOT / "docs").rglob("*.md"))
MODEL = Path(__file__).parent / "goldens" / "zips" / "iris_mlp_adam_clip.zip"
#: Pages of which everything is run.
GUIDES = [ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]
#: Runs a page in a process of its own.
RUN_PAGE = """
import runpy, sys
from pathlib import Path
sys.exit(runpy.run_path(sys.argv[1])["session"](Path(sys.argv[2])).failures or 0)
"""
#: What an extra brings along; where it is missing, so is what is written for it.
EXTRAS = ("matplotlib", "ml_dtypes", "safetensors", "sklearn", "tensorboardX", "tqdm")


#: Loads PyTorch, and so is run in a process of its own: tests/test_peers.py.
ELSEWHERE = {"flatstep.interop.torch"}


def modules() -> list[str]:
    """Every Python module of the installed package, but those that are looked at elsewhere."""
    found = pkgutil.walk_packages(fs.__path__, f"{fs.__name__}.")
    own = [each.name for each in found if not each.name.endswith(("._core", ".__main__"))]
    return [fs.__name__, *(name for name in own if name not in ELSEWHERE)]


@pytest.fixture
def _in_a_folder_with_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where examples write and find a model of DL4J; what they register is forgotten."""
    for module in EXTRAS:
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    shutil.copy(MODEL, "model.zip")
    monkeypatch.setattr(serialization, "_registered", {})


def check(test: doctest.DocTest) -> None:
    if sys.version_info < (3, 11):  # where exceptions have no notes
        for example in test.examples:
            if example.exc_msg:
                example.exc_msg = re.sub(r"^Note: .*\n", "", example.exc_msg, flags=re.MULTILINE)
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)
    report: list[str] = []
    runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)


@pytest.mark.usefixtures("_in_a_folder_with_a_model")
@pytest.mark.parametrize(
    "name",
    # Under an MPI, which is not to be started in this process, test_mpi.py runs the others'.
    [name for name in modules() if not name.startswith("flatstep.mpi")],
)
def test_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        # An example stands for itself: it imports what it uses.
        test.globs = {"__name__": test.name}
        check(test)


@pytest.mark.parametrize("name", modules())
def test_public_classes_and_functions_say_what_they_are(name: str) -> None:
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        value = getattr(module, public)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert (value.__doc__ or "").strip(), f"{name}.{public} has no docstring"


@pytest.mark.usefixtures("_in_a_folder_with_a_model")
@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_examples_of_pages(page: Path) -> None:
    """The blocks of a page are one session."""
    text = page.read_text(encoding="utf-8")
    peers = re.findall(r"^>>> import (jax|torch)$", text, re.MULTILINE)
    if peers:  # whose threads do not get on with the tests that fork and limit memory
        if not all(map(importlib.util.find_spec, peers)):
            pytest.skip(f"not installed: {' or '.join(peers)}")
        done = subprocess.run(
            [sys.executable, "-c", RUN_PAGE, ROOT / "docs" / "_extensions" / "drawing.py", page],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return
    # A fence right after an output would be taken for a part of it.
    without_fences = re.sub(r"^```.*$", "", text, flags=re.MULTILINE)
    names = {"__name__": "__main__"}
    check(doctest.DocTestParser().get_doctest(without_fences, names, page.name, str(page), 0))


def test_the_program_of_the_cpp_page(tmp_path: Path) -> None:
    """It is compiled as the page says, and prints what the page says."""
    require_tools()
    text = (ROOT / "docs" / "cpp.md").read_text(encoding="utf-8")
    cpp, cmake, printed = (
        re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for language in ("cpp", "cmake", "text")
    )
    (tmp_path / "train.cpp").write_text(cpp[0], encoding="utf-8")
    (tmp_path / "CMakeLists.txt").write_text(cmake[0], encoding="utf-8")
    package = f"-Dflatstep_DIR={fs.get_cmake_dir()}"
    tree = build(["-S", tmp_path, "-G", "Ninja", package], tmp_path / "build")
    assert run(tree / "train") == printed[0]
    assert [len(cpp), len(cmake), len(printed)] == [1, 1, 1]


@pytest.mark.parametrize("page", GUIDES, ids=[page.stem for page in GUIDES])
def test_blocks_of_guides_are_run(page: Path) -> None:
    """Or drawn; C++ is part of the program of the C++ page, which is compiled. Text is no code."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE)
    assert len(blocks) > 1
    assert {language.partition(" ")[0] for language, _ in blocks} <= {
        "pycon", "cpp", "text", "{picture}", "{example}",
    }  # fmt: skip
    program = (ROOT / "docs" / "cpp.md").read_text(encoding="utf-8")
    for language, code in blocks:
        if language == "cpp":
            assert code in program
        if language == "pycon":
            assert code.startswith(">>> ")


def test_public_classes_have_an_example() -> None:
    """But Updater, of which nobody makes one."""
    exported = {**vars(fs), **{name: getattr(fs.training, name) for name in fs.training.__all__}}
    for name, value in exported.items():
        own = inspect.isclass(value) and value.__module__.startswith("flatstep")
        if own and not name.startswith("_") and name != "Updater":
            assert ">>> " in (value.__doc__ or ""), f"{name} has no example"


def test_docstrings_of_properties_are_rendered_whole() -> None:
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    conf = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    text = "The arrays by key: the caller's own.\n\nRaises:\n    ValueError: there is none."
    rendered = str(conf["_WholeDocstring"](text, what="property", name="arrays"))
    assert rendered.startswith("The arrays by key: the caller's own.\n\n:raises ValueError: ")


def test_the_page_of_api_has_everything() -> None:
    """And nothing twice. A module that is there with its members gives all that it exports."""
    text = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    described = re.findall(
        r"^\.\. auto(?:class|function|exception):: ([\w.]+)$", text, re.MULTILINE
    )
    for module in re.findall(r"^\.\. automodule:: ([\w.]+)\n   :members:$", text, re.MULTILINE):
        described += importlib.import_module(module).__all__
    assert len(set(described)) == len(described)
    public = {
        name
        for name, value in vars(fs).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isroutine(value))
        and value.__module__.startswith("flatstep")
    }
    assert public - set(described) <= {"Updater"}  # the base of all, with nothing to say
    members = re.findall(r"^   \.\. auto(?:method|property):: (\w+)$", text, re.MULTILINE)
    own = {name for name in dir(fs.MultiLayerUpdater) if not name.startswith("_")}
    assert own - set(members) == {"key_style"}


def test_the_page_of_errors_has_every_exception() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    for name, value in vars(fs).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert f"`flatstep.{name}`" in text, name


def test_links_between_pages() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)[^)]*\)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_modules_are_all_found() -> None:
    assert "flatstep.updaters" in sys.modules
    assert len(list(modules())) > 20
