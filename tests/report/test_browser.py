"""The page in a real browser: it loads, asks nobody for anything, sorts, filters, and fits a phone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from fgvc_cli.inference.request import EvalRequest
from fgvc_cli.report.page import write_report
from fgvc_cli.runs.folder import RunFolder
from tests.browser import colours, complaints, open_page, requests, run, screenshot
from tests.report.conftest import IMAGE, QUIET, SCRIPT


@pytest.fixture(scope="module")
def page(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run beside a copy of it."""
    folder = tmp_path_factory.mktemp("report")
    copy = Path(
        shutil.copytree(trained, folder / "a run with a name so long that it fits no telephone whatever one does")
    )
    runs = [RunFolder(trained), RunFolder(copy)]
    return write_report(runs, folder / "report.html", EvalRequest(), QUIET, sample=9, force=False).file


def table(browser: webdriver.Chrome) -> WebElement:
    """The table of classes of the first run."""
    return browser.find_element(By.CSS_SELECTOR, "#run1-classes table")


def heading(table: WebElement, name: str) -> WebElement:
    return next(cell for cell in table.find_elements(By.TAG_NAME, "th") if cell.text.startswith(name))


def column(browser: webdriver.Chrome, number: int) -> list[str]:
    script = "return [...arguments[0].tBodies[0].rows].map((row) => row.cells[arguments[1]].textContent.trim())"
    return list(run(browser, script, table(browser), number))


def test_this_browser_tells_of_errors_and_requests(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """What the other tests rely on."""
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x.png'><script>nothing()</script><div style='width:900px'>x</div>")
    open_page(browser, bad.as_uri(), 390)
    assert any("nothing is not defined" in line for line in complaints(browser))
    assert "http://127.0.0.1:9/x.png" in requests(browser)
    assert run(browser, "return document.documentElement.scrollWidth") > 390


def test_it_loads_and_asks_nobody(browser: webdriver.Chrome, page: Path) -> None:
    open_page(browser, page.as_uri())
    assert run(browser, "return document.readyState") == "complete"
    assert requests(browser) == {page.as_uri()}
    assert run(browser, "return window.hacked") is None
    broken = "return [...document.images].filter((image) => !image.complete || !image.naturalWidth).length"
    assert run(browser, broken) == 0
    assert run(browser, "return document.images.length") >= 36
    text = browser.find_element(By.TAG_NAME, "main").text
    assert SCRIPT in text
    assert IMAGE in text
    assert complaints(browser) == []


def test_tables_sort(browser: webdriver.Chrome, page: Path) -> None:
    open_page(browser, page.as_uri())
    names = column(browser, 0)
    assert sorted(names) == sorted([SCRIPT, IMAGE, "blue"])
    first = heading(table(browser), "class")
    first.find_element(By.TAG_NAME, "button").click()
    assert first.get_attribute("aria-sort") == "ascending"
    rising = column(browser, 0)
    assert rising.index("blue") == 2  # what begins with < comes first
    first.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert first.get_attribute("aria-sort") == "descending"
    assert column(browser, 0) == rising[::-1]
    recall = heading(table(browser), "recall")
    recall.find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    assert first.get_attribute("aria-sort") is None
    assert recall.get_attribute("aria-sort") == "descending"
    values = [float(text.removesuffix("%")) for text in column(browser, 3)]
    assert values == sorted(values, reverse=True)
    assert complaints(browser) == []


def test_pictures_and_classes_are_found(browser: webdriver.Chrome, page: Path) -> None:
    open_page(browser, page.as_uri())
    gallery = browser.find_element(By.ID, "run1-gallery")

    def shown(kind: str = "") -> int:
        return sum(card.is_displayed() for card in gallery.find_elements(By.CSS_SELECTOR, f".card{kind}"))

    assert shown() == 9
    right = shown(".right")
    gallery.find_element(By.CSS_SELECTOR, "[data-show=right]").click()
    assert (shown(), shown(".wrong")) == (right, 0)
    gallery.find_element(By.CSS_SELECTOR, "[data-show='']").click()
    gallery.find_element(By.CSS_SELECTOR, ".find").send_keys("BLUE/2.png")
    assert shown() == 1
    assert gallery.find_element(By.TAG_NAME, "output").text == "1 of 9 shown"
    classes = browser.find_element(By.ID, "run1-classes")
    classes.find_element(By.CSS_SELECTOR, ".find").send_keys("script")
    assert [row.is_displayed() for row in classes.find_elements(By.CSS_SELECTOR, "tbody tr")].count(True) == 1
    assert complaints(browser) == []


def test_the_matrix_and_the_charts_answer(browser: webdriver.Chrome, page: Path) -> None:
    open_page(browser, page.as_uri())
    section = browser.find_element(By.ID, "run1-confusions")
    section.find_element(By.TAG_NAME, "svg").send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    said = section.find_element(By.CSS_SELECTOR, ".readout").text
    assert said.startswith(f"blue predicted as {SCRIPT}: ")
    assert " of 3 images" in said
    chart = browser.find_element(By.CSS_SELECTOR, "#run1-curves .chart")
    assert chart.find_element(By.CSS_SELECTOR, ".epoch").text == "epoch 2"
    point = "arguments[0].dispatchEvent(new PointerEvent('pointermove', {clientX: 0}))"
    run(browser, point, chart.find_element(By.TAG_NAME, "svg"))
    assert chart.find_element(By.CSS_SELECTOR, ".epoch").text == "epoch 1"
    assert float(chart.find_element(By.CSS_SELECTOR, ".key b").text) > 0
    assert complaints(browser) == []


def test_the_pictures_without_what_was_looked_at(browser: webdriver.Chrome, page: Path) -> None:
    open_page(browser, page.as_uri())
    card = browser.find_element(By.CSS_SELECTOR, "#run1-gallery .card")
    seen, plain = (card.find_element(By.CSS_SELECTOR, kind) for kind in (".seen", ".plain"))
    assert (seen.is_displayed(), plain.is_displayed()) == (True, False)
    browser.find_element(By.ID, "heat").click()
    assert (seen.is_displayed(), plain.is_displayed()) == (False, True)


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_it_fits(browser: webdriver.Chrome, page: Path, width: int) -> None:
    open_page(browser, page.as_uri(), width)
    assert run(browser, "return document.documentElement.scrollWidth") <= width
    pixels = screenshot(browser)
    assert pixels.shape[1] == width
    assert colours(pixels) > 50
    assert pixels.mean() > 200
    assert complaints(browser) == []


def test_it_is_dark_where_that_is_wished(browser: webdriver.Chrome, page: Path) -> None:
    open_page(browser, page.as_uri(), scheme="dark")
    pixels = screenshot(browser)
    assert pixels.mean() < 80
    assert colours(pixels) > 50
