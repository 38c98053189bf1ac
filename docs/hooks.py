"""What mkdocs is told beside mkdocs.yml: pages made of the code, files from outside docs/, and nothing from elsewhere.

The same Markdown is read on a code host and in the site. There, links leave docs/ (`../README.md`, `../assets/…`); here
those files are part of the site, and the links are rewritten.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import reference  # noqa: E402  (beside this file)

TEXTS = {
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
PLAIN = {"LICENSE": "LICENSE.txt", "CITATION.cff": "CITATION.cff"}
MOVED = {"README.md": "index.md", **TEXTS, **PLAIN}
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")


class TwoSpaces(Extension):
    """Lists are indented by two spaces, as code hosts read them."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 (Markdown's name)
        """Set the width of an indentation."""
        md.tab_length = 2


def on_config(config: Any) -> Any:
    """What the file mkdocs.yml cannot say."""
    config.markdown_extensions.append(TwoSpaces())
    return config


@event_priority(-100)
def on_pre_build(config: Any) -> None:
    """After every plugin: the script that comes before the theme's own is ours, none from elsewhere."""
    config.extra["polyfills"] = ["search-from-files.js"]


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, the texts beside README.md, and the pictures."""
    for path, text in reference.pages().items():
        files.append(File.generated(config, path, content=text))
    for source, path in TEXTS.items():
        files.append(File.generated(config, path, content=(ROOT / source).read_text(encoding="utf-8")))
    for source, path in PLAIN.items():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / source)))
    for picture in sorted((ROOT / "assets").iterdir()):
        if picture.suffix in (".png", ".webp"):
            files.append(File.generated(config, f"assets/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links between the repository's files become links between the site's."""
    if not page.file.src_uri.startswith("reference/"):
        markdown = LINK.sub(lambda found: f"]({moved(found[1])}{found[2] or ''})", markdown)
    return before_lists(markdown)


def moved(target: str) -> str:
    """Where a file that a page links is in the site."""
    path = re.sub(r"^(\./|\.\./|docs/)+", "", target)
    return MOVED.get(path, path)


def before_lists(markdown: str) -> str:
    """A blank line before a list that follows a line of text: Python-Markdown needs it, code hosts do not."""
    lines: list[str] = []
    fenced = False
    for line in markdown.split("\n"):
        fenced ^= line.lstrip().startswith("```")
        item = re.match(r"([-*]|\d+\.) ", line)
        before = lines[-1] if lines else ""
        if item and not fenced and before.strip() and not re.match(r"\s|([-*]|\d+\.) |#|\|", before):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)
