"""A real browser for tests of pages: what it shows, asks for and complains about."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """A headless Chromium; no driver is fetched from anywhere."""
    driver = shutil.which("chromedriver")
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if driver is None or binary is None:
        pytest.skip("no browser: on Debian `apt-get install chromium chromium-driver`")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    # root has no sandbox, and /dev/shm of a container is small
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def open_page(browser: webdriver.Chrome, address: str, width: int = 1280, scheme: str = "light") -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    for log in ("browser", "performance"):
        browser.get_log(log)  # forgotten
    browser.get(address)


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the page wrote to the console."""
    return [entry["message"] for entry in browser.get_log("browser")]


def requests(browser: webdriver.Chrome) -> set[str]:
    """The addresses that the page asked for, those inside it left out."""
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    return {address for address in asked if not address.startswith("data:")}


def run(browser: webdriver.Chrome, script: str, *arguments: object) -> Any:
    return browser.execute_script(script, *arguments)


def screenshot(browser: webdriver.Chrome) -> np.ndarray:
    """(H, W, 3) uint8 of what is in view."""
    png = browser.execute_cdp_cmd("Page.captureScreenshot", {})["data"]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))


def colours(pixels: np.ndarray) -> int:
    """How many different ones there are."""
    return len(np.unique(pixels.astype(np.int64) @ (65536, 256, 1)))
