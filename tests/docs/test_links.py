"""Every link between the files of the repository leads somewhere, and pages say what was measured."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import fgvc_cli
from tests.docs.pages import OTHERS, PAGES, ROOT, prose

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]*))?\)")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head).strip().lower() for head in heads)
    return {re.sub(r"[^\w\- ]", "", head).replace(" ", "-") for head in plain}


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for target, anchor in LINK.findall(re.sub(r"`[^`]*`", "", prose(page))):
        file = (page.parent / target) if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(f"{target}#{anchor}" if anchor else target)
    assert wrong == []


@pytest.mark.parametrize("page", ["README.md", "docs/choose.md", "docs/start.md"])
def test_shares_are_measured_elsewhere(page: str) -> None:
    """Every percentage of the pages that advise stands, as it is, on a page that says how it was measured."""
    measured = " ".join((ROOT / f"docs/{name}.md").read_text("utf-8") for name in ("results", "probe", "performance"))
    numbers = set(re.findall(r"\d+\.\d+(?= %)", prose(ROOT / page)))
    assert {number for number in numbers if number not in measured} == set()


def test_the_first_screen() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert 'pip install -e ".[test]" && pytest' in text
    assert "pip install . && fgvc train --method reaps --dataset demo" in text
    assert text.index("assets/viz_versus.png") < text.index("## Which method for whom")
    assert len(text) < 6_500


def test_the_papers_are_named() -> None:
    from fgvc_cli.spec.methods import METHOD_SPECS

    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    papers = {spec.paper for name, spec in METHOD_SPECS.items() if name not in ("baseline", "probe", "mc")}
    assert len(papers) == 5
    assert all(paper.lower() in text.lower() for paper in papers)


def test_one_version() -> None:
    """What is installed, cited and described last is the same version."""
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    described = re.search(
        r"^## \[(\d\S+)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert cited is not None
    assert described is not None
    assert cited[1] == described[1] == fgvc_cli.__version__


def test_extras_are_named() -> None:
    """An extra that no page names is one that nobody finds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = " ".join(page.read_text(encoding="utf-8") for page in [*PAGES, *OTHERS])
    assert {extra for extra in project["optional-dependencies"] if extra not in text} == set()
