"""The files that releases are made by say what the package itself says."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_citation() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^([\w-]+): (.+)$", text, re.MULTILINE))
    assert fields["cff-version"] == "1.2.0"
    assert f'license = "{fields["license"]}"' in PROJECT
    (author,) = re.findall(r"^  - name: (.+)$", text, re.MULTILINE)
    assert f'authors = [{{ name = "{author}" }}]' in PROJECT


def test_hosted_documentation_and_wheels_say_that_they_are_not_verified() -> None:
    for name in (".readthedocs.yaml", ".github/workflows/wheels.yml"):
        assert (ROOT / name).read_text(encoding="utf-8").startswith("# Configured, not verified")
    hosted = (ROOT / ".readthedocs.yaml").read_text(encoding="utf-8")
    (pages,) = re.findall(r"configuration: (\S+)", hosted)
    assert (ROOT / pages).is_file()
    (extra,) = re.findall(r"extra_requirements: \[(\w+)\]", hosted)
    assert re.search(rf"^{extra} = \[", PROJECT, re.MULTILINE)


def test_supported_versions_are_stated() -> None:
    """In the README as in the metadata."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (python,) = re.findall(r'^requires-python = ">=(.+)"$', PROJECT, re.MULTILINE)
    (numpy,) = re.findall(r'^dependencies = \["numpy>=(.+)"\]$', PROJECT, re.MULTILINE)
    newest = re.findall(r"Python :: (3\.\d+)\"", PROJECT)[-1]
    assert f"Python {python} to {newest}" in readme
    assert f"NumPy {numpy} or newer" in readme
