"""The system's Chromium, driven: a page's width and colours, what its console said, what axe finds."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

__all__ = ["Browser", "open_browser"]

_PATIENCE_S: Final = 30
_FLAGS: Final = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage")


class Browser:
    """One window."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str, *, width: int = 1280, dark: bool = False) -> None:
        """Open a page afresh, without what another left in the tab."""
        self.driver.get("about:blank")
        self.resize(width, 1200)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})
        self.driver.get(url)

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def text(self, selector: str) -> str:
        """All text there; empty where there is no such element."""
        return " ".join(element.text for element in self.all(selector))

    def until(self, happened: Callable[[], object]) -> None:
        """Wait until it has happened."""
        stale = [StaleElementReferenceException]
        wait = WebDriverWait(self.driver, _PATIENCE_S, poll_frequency=0.05, ignored_exceptions=stale)
        try:
            wait.until(lambda _: happened())
        except TimeoutException as error:
            shown, said = self.text("body")[:2000], self.said()
            raise AssertionError(f"it did not happen; the page shows {shown!r}, its console {said}") from error

    def run(self, script: str, *given: object) -> Any:
        return self.driver.execute_script(script, *given)

    def said(self) -> list[str]:
        """What the console said since the last time, of what is wrong."""
        log = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [str(entry["message"]) for entry in log if entry["level"] in ("SEVERE", "WARNING")]

    def faults(self) -> list[str]:
        """What axe finds that is serious or worse: the rule and where."""
        self.run(files("axe_core_python").joinpath("axe.min.js").read_text("utf-8"))
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run().then((found) => done(found.violations))"
        )
        serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
        return [f"{fault['id']}: {node['html'][:200]}" for fault in serious for node in fault["nodes"]]

    def picture(self, name: str, folder: Path, *, most: int = 1500) -> Path:
        """A picture of the page from its top, as PNG; also into the folder that SCREENSHOTS names, if it does."""
        width, height = self.run("return [innerWidth, document.documentElement.scrollHeight]")
        self.resize(width, min(height, most))
        self.run("window.scrollTo(0, 0)")
        file = folder / f"{name}.png"
        assert self.driver.save_screenshot(str(file))
        if docs := os.environ.get("SCREENSHOTS"):
            shutil.copy(file, docs)
        return file


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A window of the system's Chromium; a test is skipped where there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium and chromedriver are missing: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.set_script_timeout(_PATIENCE_S)
    try:
        yield Browser(opened)
    finally:
        opened.quit()
