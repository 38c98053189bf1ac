"""Photograph the page of `fgvc serve`, with drawings of the demo: `serve_page.webp`.

    python assets/serve_page.py

The model is trained first if it is missing under runs/ (a classifier on EfficientNet-Lite0, minutes). Needs Chromium
and its driver, and the extras `serve`, `weights` and `test`. The picture is written beside this file.
"""

from __future__ import annotations

import base64
import io
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import urllib3
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from fgvc_cli.data.demo.image import draw

RUN = Path("runs/probe-demo-page")
TRAIN = "--method probe --backbone timm:tf_efficientnet_lite0 --weights imagenet --dataset demo --val-fraction 0.2"
FILE = Path(__file__).with_name("serve_page.webp")
DRAWINGS = range(40)  # of the test split
WIDTH, HEIGHT = 1080, 1150  # pixels of the window


def browser() -> webdriver.Chrome:
    """A headless Chromium."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def send(address: str, number: int) -> None:
    """Let the server answer a drawing."""
    stream = io.BytesIO()
    Image.fromarray(np.asarray(draw(0, "test", number).pixels)).save(stream, "PNG")
    name = f"finch-{number:02d}.png"
    given = urllib3.request("POST", f"{address}api/images?name={name}", body=stream.getvalue(), retries=False)
    assert given.status == 200, given.data


def photograph(address: str) -> None:
    """The page with the least certain answer explained."""
    chrome = browser()
    try:
        chrome.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False},
        )
        chrome.get(address)
        wait = WebDriverWait(chrome, 60)
        wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".rather button"))[0].click()
        wait.until(lambda page: page.find_elements(By.CSS_SELECTOR, ".why img"))
        loaded = "return [...document.images].slice(0, 5).every((image) => image.complete)"
        wait.until(lambda page: page.execute_script(loaded))
        chrome.execute_script("document.querySelector('[aria-labelledby=answers-heading]').scrollIntoView()")
        png = chrome.execute_cdp_cmd("Page.captureScreenshot", {})["data"]
    finally:
        chrome.quit()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").save(FILE, quality=70, method=6)


def main() -> None:
    """Train if need be, serve, photograph."""
    fgvc = [sys.executable, "-m", "fgvc_cli"]
    if not (RUN / "model.safetensors").exists():
        subprocess.run([*fgvc, "train", *TRAIN.split(), "--out", str(RUN)], check=True)
    server = subprocess.Popen([*fgvc, "serve", str(RUN), "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        address = server.stdout.readline().strip()
        for number in DRAWINGS:
            send(address, number)
        photograph(address)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


if __name__ == "__main__":
    main()
