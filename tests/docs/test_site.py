"""The documentation builds as a site without a warning, loads nothing from elsewhere, and its reference is complete."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fgvc_cli.spec.methods import METHOD_SPECS
from fgvc_cli.spec.presets import PRESETS
from fgvc_cli.spec.run import RunSpec
from tests.browser import browser, complaints, open_page, requests, run  # noqa: F401
from tests.docs.pages import ROOT
from tests.docs.test_commands import COMMAND

_FOREIGN = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//|<link\b(?![^>]*rel=[\"']?canonical)[^>]*href=[\"']?(?:https?:)?//"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed")
    folder = tmp_path_factory.mktemp("site")
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def text(site: Path, page: str) -> str:
    return (site / page).read_text(encoding="utf-8")


def commands(command: Any) -> list[Any]:
    return [command, *(one for below in getattr(command, "commands", {}).values() for one in commands(below))]


def test_nothing_comes_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 35
    assert {page.name: found[0] for page in pages if (found := _FOREIGN.search(page.read_text(encoding="utf-8")))} == {}
    styles = [sheet.read_text(encoding="utf-8") for sheet in site.rglob("*.css")]
    assert not [sheet for sheet in styles if re.search(r"@import|url\([\"']?(?:https?:)?//", sheet)]


def test_every_flag_is_in_the_reference(site: Path) -> None:
    page = text(site, "reference/commands.html")
    flags = {name for one in commands(COMMAND) for option in one.params for name in option.opts if name[:2] == "--"}
    flags -= {"--help", "--install-completion", "--show-completion"}
    assert len(flags) > 100
    assert {name for name in flags if not re.search(rf"<code>{name}[ <]", page)} == set()


def test_every_field_is_in_the_reference(site: Path) -> None:
    page = text(site, "reference/settings.html")
    sections = {name: field.annotation for name, field in RunSpec.model_fields.items()}
    fields = {
        f"{name}.{key}"
        for name, model in sections.items()
        for key in getattr(model, "model_fields", {})
        if name != "method"
    }
    fields |= {f"method.{key}" for spec in METHOD_SPECS.values() for key in spec.model_fields if key != "name"}
    assert len(fields) > 100
    assert not re.search(r"annotation=|typing\.|&lt;class", page)  # Python's words
    assert {field for field in fields if f"<code>{field}</code>" not in page} == set()
    assert all(f"<code>{name}</code>" in text(site, "reference/presets.html") for name in PRESETS)


def test_what_papers_leave_open_is_collected(site: Path) -> None:
    page = text(site, "reference/decisions.html")
    assert all(f'href="../{name}.html' in page for name in ("reaps", "apcnn", "scapnet", "clan", "tdsa"))


@pytest.mark.slow
def test_search_works_from_the_files(site: Path, browser: Any) -> None:  # noqa: F811
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    open_page(browser, (site / "index.html").as_uri())
    run(browser, "document.querySelector('.md-search__input').focus()")
    browser.switch_to.active_element.send_keys("enroll")
    link = ".md-search-result__link"
    WebDriverWait(browser, 20).until(lambda page: page.find_elements(By.CSS_SELECTOR, link))
    assert any("probe.html" in found.get_attribute("href") for found in browser.find_elements(By.CSS_SELECTOR, link))
    assert {address for address in requests(browser) if not address.startswith(("file:", "blob:"))} == set()
    assert complaints(browser) == []
