"""A Chromium with one page in it, driven as a person would."""

from __future__ import annotations

import json
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

#: So that Chromium itself asks nothing of the network.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Browser:
    """Looks, clicks and types. Elements are named by CSS selectors; what is to be seen is waited for."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path, fragment: str = "", *, width: int = 1280, dark: bool = False) -> None:
        """A page at the state of the address, in a window of that width."""
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 2, "y": 2})
        self.driver.get("about:blank")
        self.driver.get(path.as_uri() + fragment)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function body returns in the page."""
        return self.driver.execute_script(script, *arguments)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        """The text of an element, in view or not."""
        found: str = self.run("return document.querySelector(arguments[0]).textContent", selector)
        return found

    def texts(self, selector: str) -> list[str]:
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)", selector
        )
        return found

    def count(self, selector: str) -> int:
        return len(self.driver.find_elements("css selector", selector))

    def click(self, selector: str) -> None:
        self._in_view(selector).click()

    def hover(self, selector: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).move_to_element(self._in_view(selector)).perform()

    def click_at(self, selector: str, across: float, down: float) -> None:
        """A click on a part of an element's width and height."""
        from selenium.webdriver import ActionChains

        element = self._in_view(selector)
        size = element.size
        right, below = round(size["width"] * (across - 0.5)), round(size["height"] * (down - 0.5))
        ActionChains(self.driver).move_to_element_with_offset(element, right, below).click().perform()

    def drag(self, selector: str, right: int, below: int) -> None:
        """A drag of an element by its right half."""
        from selenium.webdriver import ActionChains

        element = self._in_view(selector)
        begun = ActionChains(self.driver).move_to_element_with_offset(element, element.size["width"] // 4, 0)
        begun.click_and_hold().move_by_offset(right, below).release().perform()

    def fill(self, selector: str, text: str) -> None:
        """Text in place of what a field holds, and the change told."""
        script = """
        arguments[0].value = arguments[1];
        for (const name of ["input", "change"]) arguments[0].dispatchEvent(new Event(name, { bubbles: true }));
        """
        self.run(script, self.one(selector), text)

    def focus(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).focus()", selector)

    def press(self, *keys: str) -> None:
        """Keys on the element that has the focus; names are those of selenium's `Keys`."""
        from selenium.webdriver import ActionChains, Keys

        for key in keys:
            ActionChains(self.driver).send_keys(getattr(Keys, key, key)).perform()

    def until(self, seen: Callable[[], Any], what: str = "what was waited for") -> Any:
        """Waits for something to be true, for at most thirty seconds."""
        end = time.monotonic() + 30
        while not (found := seen()):
            assert time.monotonic() < end, f"not seen: {what}"
            time.sleep(0.02)
        return found

    def complaints(self) -> list[str]:
        """What the console has been told since the last call, but for advice on how tests read canvases."""
        told = [entry["message"] for entry in self.driver.get_log("browser")]
        return [message for message in told if "willReadFrequently" not in message]

    def requests(self) -> list[str]:
        """The addresses that the page has asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [address for address in sent if address != "about:blank"]

    def _in_view(self, selector: str) -> Any:
        element = self.one(selector)
        self.run("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element)
        return element


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A browser of its own. Skips the test where there is none, or nothing to drive it with."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1280,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def png(width: int, height: int, colour: tuple[int, int, int]) -> bytes:
    """A picture of one colour."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = (b"\0" + bytes(colour) * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
