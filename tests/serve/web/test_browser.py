"""The page in a real browser: drop, answer, why, correct, reload; by keyboard, on a phone, in the dark."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser import complaints, open_page, requests, run, screenshot
from tests.serve.conftest import Client

_UNNAMED = """
const named = (field) => field.labels?.length || field.textContent.trim() || field.getAttribute("aria-label");
const wrong = (part) => part.matches("section") ? !part.getAttribute("aria-labelledby") : !named(part);
const parts = [...document.querySelectorAll("button, input, section")].filter(wrong);
return [...parts, ...document.querySelectorAll("img:not([alt])")].map((part) => part.outerHTML);
"""


def drop(browser: webdriver.Chrome, *files: Path) -> None:
    """Drag files or folders of this machine onto the page, and drop them."""
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 300, "data": data})


def until(browser: webdriver.Chrome, true: Callable[[webdriver.Chrome], Any]) -> Any:
    return WebDriverWait(browser, 20, 0.05).until(true)


def cards(browser: webdriver.Chrome) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, "#answers > li")


def loaded(browser: webdriver.Chrome) -> bool:
    script = "return [...document.images].every((image) => image.complete && image.naturalWidth)"
    return bool(run(browser, script))


def test_drop_answer_why_correct_reload(
    browser: webdriver.Chrome, client: Client, photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "trip" / "day one"
    folder.mkdir(parents=True)
    for place, name in enumerate(("red/0.png", "green/1.png", "blue/2.png")):
        shutil.copyfile(photos / "test" / name, folder / f"<b>{place}.png")
    (folder / ".hidden.png").write_bytes(b"nothing")
    (folder / "notes.txt").write_bytes(b"nothing")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    open_page(browser, client.address)
    assert "No image yet" in browser.find_element(By.TAG_NAME, "main").text
    drop(browser, tmp_path / "trip", tmp_path / "broken.png")
    until(browser, lambda page: "4 of 4 images answered" in page.find_element(By.ID, "status").text)
    assert len(cards(browser)) == 3
    problems = browser.find_element(By.ID, "problems").text
    assert problems == "broken.png: the file is not a readable image (unknown format or damaged)"
    doubts = [one["uncertainty"] for one in client.json("GET", "/api/images")[1]]
    assert doubts == sorted(doubts, reverse=True)
    first = cards(browser)[0]
    told = client.json("GET", "/api/images")[1][0]
    assert first.find_element(By.TAG_NAME, "h3").text == told["name"]
    assert first.find_element(By.CSS_SELECTOR, ".said").text == told["answer"]
    assert f"{100 * told['top'][0]['probability']:.1f}" in first.text
    assert len(first.find_elements(By.CSS_SELECTOR, ".near img")) == 2

    # Why, by keyboard alone.
    first.find_element(By.CSS_SELECTOR, ".rather input").send_keys(told["top"][2]["class"], Keys.ENTER)
    why = until(browser, lambda _: first.find_elements(By.CSS_SELECTOR, ".why img"))[0]
    rather = f"What speaks for {told['top'][0]['class']} rather than {told['top'][2]['class']}"
    assert why.get_attribute("alt") == rather
    first.find_element(By.CSS_SELECTOR, ".kinds button").send_keys(Keys.SPACE)
    alt = "return arguments[0].querySelector('.why img')?.alt ?? ''"
    until(browser, lambda _: "heat map" in run(browser, alt, first))
    run(browser, "arguments[0].scrollIntoView()", first.find_element(By.CSS_SELECTOR, ".near"))
    until(browser, lambda _: run(browser, "return arguments[0].querySelector('.near img').naturalWidth", first))

    # Correct it.
    field = first.find_element(By.CSS_SELECTOR, ".correct input")
    field.send_keys("mauve", Keys.ENTER)
    output = first.find_element(By.CSS_SELECTOR, "output")
    until(browser, lambda _: "no such class" in output.text)
    field.clear()
    field.send_keys("green", Keys.ENTER)
    until(browser, lambda _: output.text == "recorded: green")
    cards(browser)[1].find_element(By.CSS_SELECTOR, ".none").click()
    until(browser, lambda page: page.find_element(By.ID, "corrected").text == "2")
    assert client.json("GET", "/api/corrections")[1][0]["class"] == "green"
    browser.find_element(By.ID, "retrain").click()
    command = until(browser, lambda page: page.find_elements(By.CSS_SELECTOR, "#retraining pre"))[0]
    assert command.text.startswith("fgvc train --config ")

    # All of it is there again.
    browser.refresh()
    until(browser, lambda page: len(cards(page)) == 3 and page.find_element(By.ID, "corrected").text == "2")
    assert cards(browser)[0].find_element(By.CSS_SELECTOR, "output").text == "recorded: green"
    cards(browser)[0].find_element(By.CSS_SELECTOR, ".undo").click()
    until(browser, lambda page: page.find_element(By.ID, "corrected").text == "1")
    browser.find_element(By.CSS_SELECTOR, "[data-order=newest]").click()
    assert cards(browser)[0].find_element(By.TAG_NAME, "h3").text == told["name"]
    assert run(browser, _UNNAMED) == []

    # Chosen instead of dropped; nothing was asked of anybody else.
    browser.find_element(By.ID, "files").send_keys(str(photos / "test/red/2.png"))
    until(browser, lambda page: len(cards(page)) == 4)
    until(browser, loaded)
    assert all(address.startswith(client.address) for address in requests(browser))
    expected = ("422", "Unprocessable")  # the browser tells of every refused request
    assert [line for line in complaints(browser) if not any(word in line for word in expected)] == []


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (1280, "dark")])
def test_it_fits_and_is_dark_where_that_is_wished(
    browser: webdriver.Chrome, client: Client, photo: bytes, width: int, scheme: str
) -> None:
    client.send(photo, "a-name-so-long-that-it-fits-no-telephone-whatever-one-does-with-it.png")
    open_page(browser, client.address, width, scheme)
    until(browser, cards)
    assert run(browser, "return document.documentElement.scrollWidth") <= width
    assert (screenshot(browser).mean() < 90) == (scheme == "dark")
    assert complaints(browser) == []
