"""What the pages show is made when they are built: pictures, and what the examples print.

    ```{picture} clipping
    What is to be seen, for who cannot see it.
    ```

is drawn by ``docs/_pictures/clipping.py``, whose ``draw()`` returns a matplotlib figure. Where
there is no such script, the page's own session draws it: its ``>>>`` blocks are run and one of them
has written ``clipping.svg``. Each picture is there for light and for dark pages.

    ```{example} lstm_text --iterations 150
    ```

runs ``examples/lstm_text.py`` and shows what it printed, and its source.
"""

from __future__ import annotations

import html
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from drawing import EXAMPLES, PICTURES, dark, draw, run_example, session, width
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

#: From this width on, in points, a picture is not shrunk to a narrow window but scrolls.
WIDE = 500

log = logging.getLogger(__name__)


class Picture(SphinxDirective):
    """``{picture} NAME``, and as content what is to be seen."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        (name,) = self.arguments
        script = PICTURES / f"{name}.py"
        if script.exists():
            self.env.note_dependency(str(script))
            picture = draw(name)
        else:
            picture = self._of_this_page(name)
        if not picture:
            return []
        folder = drawn(self.env.app)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.svg").write_text(picture, encoding="utf-8")
        (folder / f"{name}-dark.svg").write_text(dark(picture), encoding="utf-8")
        return [figure(self.env.docname, name, " ".join(self.content), width(picture))]

    def _of_this_page(self, name: str) -> str:
        pages = self.env.temp_data.setdefault("flatstep_session", {})
        if not pages:
            page = Path(self.env.doc2path(self.env.docname))
            pages["ran"] = session(page)
            if pages["ran"].failures:
                log.warning("%s does not print what it says: %s", page, pages["ran"].failures)
        if name not in pages["ran"].pictures:
            raise ExtensionError(f"{self.env.docname}: neither a script nor the page draws {name}")
        picture: str = pages["ran"].pictures[name]
        return picture


def figure(page: str, name: str, text: str, points: float) -> nodes.Node:
    place = "../" * page.count("/") + "_static/pictures/"
    images = "".join(
        f'<img class="only-{kind}" src="{place}{name}{suffix}.svg" alt="{html.escape(text)}" '
        f'style="width: {points * 4 / 3:.0f}px">'
        for kind, suffix in (("light", ""), ("dark", "-dark"))
    )
    wide = " wide" if points >= WIDE else ""
    return nodes.raw("", f'<figure class="picture{wide}">{images}</figure>', format="html")


class Example(SphinxDirective):
    """``{example} NAME arguments``."""

    required_arguments = 1
    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        name, arguments = (*self.arguments, "")[:2]
        source = EXAMPLES / f"{name}.py"
        self.env.note_dependency(str(source))
        try:
            printed = run_example(name, arguments).printed
        except SystemExit as error:  # so the examples say what they lack
            printed = f"{error}\n"
        command = f"$ python examples/{name}.py {arguments}".rstrip()
        return [
            nodes.literal_block("", f"{command}\n{printed}", language="text"),
            nodes.raw("", f"<details><summary>{name}.py</summary>", format="html"),
            nodes.literal_block("", source.read_text(encoding="utf-8"), language="python"),
            nodes.raw("", "</details>", format="html"),
        ]


def drawn(app: Any) -> Path:
    """Where pictures are kept. It lasts as long as the doctrees do, as pages that have not changed
    are not read again."""
    return Path(app.doctreedir) / "pictures"


def copy_pictures(app: Any, error: Exception | None) -> None:
    if error is None and app.builder.format == "html" and drawn(app).exists():
        shutil.copytree(drawn(app), Path(app.outdir) / "_static" / "pictures", dirs_exist_ok=True)


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("picture", Picture)
    app.add_directive("example", Example)
    app.connect("build-finished", copy_pictures)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
