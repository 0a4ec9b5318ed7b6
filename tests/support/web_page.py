"""The page of `convscope web` in a real browser."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)

from support.browser import find_browser

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    # A moving pattern instead of a camera, without asking the user.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
WAIT_MILLISECONDS = 60_000  # far more than a quiet machine needs
DESKTOP: ViewportSize = {"width": 1280, "height": 860}
PHONE: ViewportSize = {"width": 360, "height": 740}
_AXE = files("axe_playwright_python") / "axe.min.js"
# What Chromium logs for each reply above 399 and each failed connection.
_FAILED_LOAD = "Failed to load resource"


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Start a browser without a window."""
    executable = find_browser()
    expect.set_options(timeout=WAIT_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class WebPage:
    """A tab of the browser that shows the page.

    Args:
        browser: The browser.
        url: The URL of the web process.
        phone: Whether the screen is that of a phone, with touch.
        options: Options of the browser's context.
    """

    def __init__(self, browser: Browser, url: str, *, phone: bool = False, **options: Any) -> None:
        self.url = url
        self.problems: list[str] = []
        self.accepts_failed_loads = False
        self._context = browser.new_context(
            viewport=PHONE if phone else DESKTOP,
            has_touch=phone,
            is_mobile=phone,
            reduced_motion="reduce",
            **options,
        )
        self._context.set_default_timeout(WAIT_MILLISECONDS)
        self.tab: Page = self._context.new_page()
        self.tab.on("console", self._check_message)
        self.tab.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        self.tab.on("request", self._check_request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()

    def open(self, query: str = "") -> None:
        """Open the page, and wait until it knows the model."""
        self.tab.goto(f"{self.url}/{query}")
        self.tab.locator("#model option").first.wait_for(state="attached")

    def choose(self, data: bytes, name: str = "photo.png", kind: str = "image/png") -> None:
        """Choose a file in the dialog of the button "Choose a photo"."""
        with self.tab.expect_file_chooser() as chooser:
            self.button("Choose a photo").click()
        chooser.value.set_files({"name": name, "mimeType": kind, "buffer": data})

    def drop(self, data: bytes, name: str = "photo.png") -> None:
        """Drop a file on the page."""
        transfer = self.tab.evaluate_handle(_TRANSFER, [base64.b64encode(data).decode(), name])
        self.tab.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
        self.tab.dispatch_event("body", "drop", {"dataTransfer": transfer})

    def paste(self, data: bytes) -> None:
        """Paste an image."""
        encoded = base64.b64encode(data).decode()
        transfer = self.tab.evaluate_handle(_TRANSFER, [encoded, "image.png"])
        self.tab.evaluate(
            """transfer => document.body.dispatchEvent(
                new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true}))""",
            transfer,
        )

    def button(self, name: str) -> Locator:
        """Return the visible button with a name."""
        return self.tab.get_by_role("button", name=name, exact=True)

    def picker(self, name: str) -> Locator:
        """Return the choice of the "Model" or of the "Version" at the top."""
        return self.tab.locator("#picker").get_by_role("combobox", name=name)

    def show(self, tab: str) -> None:
        """Choose a tab of the page."""
        self.tab.get_by_role("tab", name=tab, exact=True).click()

    @property
    def headline(self) -> Locator:
        return self.tab.locator("#headline")

    @property
    def panel(self) -> Locator:
        """The panel of the chosen tab."""
        return self.tab.get_by_role("tabpanel")

    @property
    def focused(self) -> str:
        """The name of the element that has the focus."""
        name: str = self.tab.evaluate(
            "() => document.activeElement.ariaLabel ?? document.activeElement.textContent"
        )
        return name.strip()

    def pixels(self, canvas: Locator) -> NDArray[np.uint8]:
        """Return the content of a canvas, [height, width, 4]."""
        url: str = canvas.evaluate("canvas => canvas.toDataURL()")
        image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        return np.asarray(image.convert("RGBA"))

    def _check_message(self, message: ConsoleMessage) -> None:
        is_failed_load = message.text.startswith(_FAILED_LOAD)
        if message.type in ("error", "warning") and not (
            is_failed_load and self.accepts_failed_loads
        ):
            self.problems.append(f"{message.type}: {message.text}")

    def _check_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.url}/", "data:", f"blob:{self.url}/")):
            self.problems.append(f"request to {request.url}")


def photo(
    color: tuple[int, int, int], size: tuple[int, int] = (90, 60), kind: str = "PNG"
) -> bytes:
    """Return an encoded image of one color."""
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, kind)
    return out.getvalue()


def violations(page: WebPage, *rules: str) -> list[tuple[str, list[str]]]:
    """Return what axe-core finds on a page: each rule and the elements that violate it.

    Args:
        page: The page.
        rules: The rules to check; by default all.
    """
    page.tab.evaluate(_AXE.read_text())
    options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    results = page.tab.evaluate("options => axe.run(options)", options)
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"]])
        for each in results["violations"]
    ]


_TRANSFER = """([data, name]) => {
    const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, {type: "image/png"}));
    return transfer;
}"""
