"""How images get into the page, and what happens to those that can't be used."""

import pytest
from playwright.sync_api import expect
from support.web_page import WebPage, photo

pytestmark = [
    pytest.mark.slow(seconds=1),
    pytest.mark.one_transport("drives a browser; the page is the same for each transport"),
]

RED, BLUE = (200, 30, 20), (30, 20, 220)


def test_chosen_photo_is_classified(page: WebPage) -> None:
    page.choose(photo(RED), "apple.png")
    expect(page.headline).to_contain_text("red")
    expect(page.tab.locator("#subline")).to_contain_text("colors, version 2")
    expect(page.tab.locator("#image-caption")).to_contain_text("apple.png, 90 × 60 pixels")
    # The button that had the focus is gone.
    expect(page.headline).to_be_focused()
    expect(page.tab.locator("#announcer")).to_contain_text("colors sees red")


def test_dropped_photo_is_classified(page: WebPage) -> None:
    page.drop(photo(BLUE))
    expect(page.headline).to_contain_text("blue")
    expect(page.tab.locator("#drop-veil")).to_be_hidden()


def test_pasted_photo_replaces_the_one_before(page: WebPage) -> None:
    page.choose(photo(RED))
    expect(page.headline).to_contain_text("red")
    page.paste(photo(BLUE))
    expect(page.headline).to_contain_text("blue")


def test_photo_from_the_camera_is_classified(page: WebPage) -> None:
    page.button("Take a photo").click()
    page.button("Take the photo").click()
    expect(page.tab.locator("#image-caption")).to_contain_text("photo from the camera")
    expect(page.headline).to_contain_text("%")
    expect(page.tab.locator("dialog")).to_have_count(0)


def test_missing_camera_is_explained(page: WebPage) -> None:
    page.tab.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error()); }"
    )
    page.button("Take a photo").click()
    expect(page.tab.get_by_role("alert")).to_contain_text("choose a photo instead")
    page.button("Close").click()
    expect(page.button("Take a photo")).to_be_focused()


def test_file_that_is_no_image_is_explained_and_the_next_one_works(page: WebPage) -> None:
    page.choose(b"some text", "notes.txt", "text/plain")
    error = page.tab.get_by_role("alert")
    expect(error).to_contain_text("can't be read as an image")
    expect(error).to_contain_text("Choose a JPEG, PNG, WebP, BMP or GIF file")
    page.choose(photo(RED))
    expect(page.headline).to_contain_text("red")
    expect(error).to_have_count(0)


def test_photo_above_the_limit_is_sent_smaller(page: WebPage) -> None:
    page.choose(photo(RED, (4800, 3600)), "large.png")  # 17 megapixels; the limit of PNG is 16
    expect(page.headline).to_contain_text("red")
    caption = page.tab.locator("#image-caption")
    expect(caption).to_contain_text("1365 × 1024 pixels")
    expect(caption).to_contain_text("The original, 4800 × 3600 pixels, is above the server's limit")


def test_format_that_only_the_browser_reads_is_converted(page: WebPage) -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="60">'
        '<rect width="90" height="60" fill="rgb(30,20,220)"/></svg>'
    )
    page.choose(svg.encode(), "blue.svg", "image/svg+xml")
    expect(page.headline).to_contain_text("blue")


def test_error_of_the_server_is_shown_with_its_reason(page: WebPage) -> None:
    page.accepts_failed_loads = True
    page.choose(photo(RED, (9000, 1)), "line.png")
    error = page.tab.get_by_role("alert")
    expect(error).to_contain_text("The server can't use this")
    expect(error).to_contain_text("Choose another image")
    expect(page.panel).to_contain_text("There are no classes to show")
    page.show("Layers")
    expect(page.panel).to_contain_text("There are no layers to show")
    page.show("Classes")
    page.choose(photo(RED))
    expect(page.headline).to_contain_text("red")
    expect(error).to_have_count(0)
