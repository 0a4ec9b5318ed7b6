"""axe-core finds no violation on any screen, light or dark, and each fits a phone."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from support.web_page import PHONE, WebPage, photo, violations
from support.web_process import WebProcess

pytestmark = [
    pytest.mark.slow(seconds=1),
    pytest.mark.one_transport("drives a browser; the page is the same for each transport"),
]

RED = (200, 30, 20)
Open = Callable[..., WebPage]


def show_start(page: WebPage) -> None:
    expect(page.button("Sample: a cup of coffee")).to_be_visible()


def show_classes(page: WebPage) -> None:
    page.choose(photo(RED))
    expect(page.tab.locator(".class-row").first).to_be_visible()


def show_layers(page: WebPage) -> None:
    show_classes(page)
    page.show("Layers")
    expect(page.panel.locator(".tile")).to_have_count(4)


def show_channel(page: WebPage) -> None:
    show_layers(page)
    page.panel.locator(".tile").first.click()
    expect(page.tab.get_by_role("dialog")).to_be_visible()


def show_comparison(page: WebPage) -> None:
    show_classes(page)
    page.show("Compare")
    expect(page.panel.get_by_role("status")).to_contain_text("Both see red")


def show_model(page: WebPage) -> None:
    page.button("About this model").click()
    expect(page.panel.locator(".labels li")).to_have_count(3)


def show_error(page: WebPage) -> None:
    page.choose(b"some text", "notes.txt", "text/plain")
    expect(page.tab.get_by_role("alert")).to_be_visible()


def show_camera(page: WebPage) -> None:
    page.button("Take a photo").click()
    expect(page.button("Take the photo")).to_be_enabled()


def show_banner(page: WebPage) -> None:
    page.accepts_failed_loads = True
    for path in ("**/v1/**", "**/readyz"):
        page.tab.route(path, lambda route: route.abort())
    page.choose(photo(RED))
    expect(page.tab.locator("#banner")).to_be_visible()


SCREENS = [
    show_start,
    show_classes,
    show_layers,
    show_channel,
    show_comparison,
    show_model,
    show_error,
    show_camera,
    show_banner,
]


@pytest.mark.parametrize("show", SCREENS)
def test_screen_has_no_violation_and_fits_a_phone(
    page: WebPage, show: Callable[[WebPage], None]
) -> None:
    show(page)
    assert violations(page) == []
    page.tab.emulate_media(color_scheme="dark")
    assert violations(page, "color-contrast") == []
    page.tab.set_viewport_size(PHONE)
    assert width_of(page) <= 360


def test_photo_is_looked_at_on_a_phone(open_page: Open, page_process: WebProcess) -> None:
    page = open_page(page_process, phone=True)
    with page.tab.expect_file_chooser() as chooser:
        page.button("Take a photo").tap()
    # It opens the camera of the phone.
    assert chooser.value.element.get_attribute("capture") == "environment"
    chooser.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": photo(RED)})
    expect(page.headline).to_contain_text("red")
    assert width_of(page) <= 360
    assert violations(page) == []
    page.tab.get_by_role("tab", name="Layers").tap()
    page.panel.locator(".tile").first.tap()
    dialog = page.tab.get_by_role("dialog")
    dialog.get_by_role("button", name="Next channel").tap()
    expect(dialog).to_contain_text("Picture 2 of 4; the layer has 4 channels")
    assert width_of(page) <= 360
    assert violations(page) == []


def width_of(page: WebPage) -> int:
    """Return the width that the content needs, in pixels."""
    width: int = page.tab.evaluate("() => document.documentElement.scrollWidth")
    return width
