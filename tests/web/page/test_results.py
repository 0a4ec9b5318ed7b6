"""What the page shows of a result: classes, heat, layers, the comparison, the model."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image
from playwright.sync_api import expect
from support.web_page import WebPage, photo
from support.web_process import WebProcess

from convscope.client._drawing.heat_colors import NEUTRAL, heat_colors

pytestmark = [
    pytest.mark.slow(seconds=1),
    pytest.mark.one_transport("drives a browser; the page is the same for each transport"),
]

RED = (200, 30, 20)


@pytest.fixture
def red(page: WebPage) -> WebPage:
    """The page with a red photo, twice as wide as high."""
    page.choose(photo(RED, (120, 60)))
    expect(page.headline).to_contain_text("red")
    return page


def test_classes_have_bars_as_long_as_their_probabilities(red: WebPage) -> None:
    rows = red.tab.locator(".class-row")
    expect(rows).to_have_count(3)
    for row in rows.all():
        stated = float(row.locator(".percent").inner_text().strip("<> %")) / 100
        bar, track = row.locator(".bar").bounding_box(), row.locator(".bar-track").bounding_box()
        assert bar
        assert track
        assert bar["width"] / track["width"] == pytest.approx(stated, abs=0.01)


def test_heat_is_where_the_network_saw_the_photo(red: WebPage) -> None:
    heat = red.tab.locator("#stage .heat").first
    expect(heat).to_be_visible()
    box, frame = heat.bounding_box(), red.tab.locator("#stage .photo").bounding_box()
    assert box
    assert frame
    # The shorter edge becomes 20 pixels, of which the middle 16 are seen: 48 of 60.
    assert box["height"] / frame["height"] == pytest.approx(48 / 60, abs=0.01)
    assert box["width"] == pytest.approx(box["height"], abs=1)
    center = box["x"] + box["width"] / 2
    assert center == pytest.approx(frame["x"] + frame["width"] / 2, abs=1)


def test_heat_is_upright_on_a_photo_of_a_turned_camera(page: WebPage) -> None:
    out = io.BytesIO()
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (60, 120), RED).save(out, "JPEG", exif=turned)
    page.choose(out.getvalue(), "turned.jpg", "image/jpeg")
    expect(page.tab.locator("#image-caption")).to_contain_text("120 × 60 pixels")
    heat = page.tab.locator("#stage .heat").first
    expect(heat).to_be_visible()
    box, frame = heat.bounding_box(), page.tab.locator("#stage .photo").bounding_box()
    assert box
    assert frame
    assert frame["width"] == pytest.approx(2 * frame["height"], abs=1)
    assert box["height"] / frame["height"] == pytest.approx(48 / 60, abs=0.01)


def test_heat_for_the_class_is_orange_and_against_it_blue(red: WebPage) -> None:
    heat = red.tab.locator("#stage .heat").first
    assert warmth(red.pixels(heat)) > 50  # all of the photo speaks for red
    red.tab.get_by_label("Explain").select_option("2")
    expect(red.tab.locator(".meaning")).to_contain_text("Orange speaks for blue")
    red.tab.get_by_label("Rather than").select_option("0")
    expect(red.tab.locator(".meaning")).to_contain_text("blue for red")
    assert warmth(red.pixels(heat)) < -50  # rather than red: all of the photo speaks against it


def test_heat_has_the_colors_of_the_pictures_of_the_client(page: WebPage) -> None:
    levels = [0, 60, 120, NEUTRAL, 130, 200, 254]
    heat = [(level - NEUTRAL) / NEUTRAL for level in levels]
    colors = page.tab.evaluate(
        """async heat => {
            const {heatColor} = await import("./static/js/heat.js");
            return heat.map(heatColor);
        }""",
        heat,
    )
    assert np.asarray(colors) == pytest.approx(heat_colors(1.0)[levels, :3], abs=1)


def test_occlusion_is_computed_for_a_chosen_class_only(
    open_page: Callable[..., WebPage], page_process: WebProcess
) -> None:
    page = open_page(page_process, "?model=plain")
    page.choose(photo(RED))
    expect(page.panel).to_contain_text("It takes a moment")
    expect(page.tab.locator("#heat-controls")).to_be_hidden()
    page.panel.get_by_role("button", name="red").click()
    expect(page.tab.locator(".meaning")).to_contain_text("Orange speaks for red")
    expect(page.tab.locator("#stage .heat").first).to_be_visible()


def test_slider_fades_the_heat_until_the_photo_is_plain(red: WebPage) -> None:
    slider = red.tab.get_by_label("Heat", exact=True)
    slider.focus()
    red.tab.keyboard.press("Home")
    expect(red.tab.locator("#stage .heat").first).to_be_hidden()
    red.tab.keyboard.press("End")
    expect(red.tab.locator("#stage .heat").first).to_be_visible()
    expect(slider).to_have_attribute("aria-valuetext", "100% opaque")


def test_class_is_chosen_with_the_keyboard(red: WebPage) -> None:
    rows = red.tab.locator(".class-row")
    expect(rows.nth(0)).to_have_attribute("aria-pressed", "true")
    rows.nth(1).focus()
    red.tab.keyboard.press("Enter")
    expect(rows.nth(1)).to_have_attribute("aria-pressed", "true")
    expect(rows.nth(0)).to_have_attribute("aria-pressed", "false")
    expect(rows.nth(1)).to_be_focused()


def test_layers_are_enlarged_and_browsed_with_the_keyboard(red: WebPage) -> None:
    red.show("Layers")
    tiles = red.panel.locator(".tile")
    expect(tiles).to_have_count(4)
    expect(red.panel.locator("h2")).to_have_text("Responses")
    tiles.first.focus()
    opener = red.focused
    red.tab.keyboard.press("Enter")
    dialog = red.tab.get_by_role("dialog")
    expect(dialog).to_be_visible()
    first = dialog.locator("h2").inner_text()
    red.tab.keyboard.press("ArrowRight")
    expect(dialog.locator("h2")).not_to_have_text(first)
    red.tab.keyboard.press("ArrowLeft")
    expect(dialog.locator("h2")).to_have_text(first)
    red.tab.keyboard.press("o")
    expect(dialog.get_by_label("Show it over the image")).to_be_checked()
    red.tab.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert red.focused == opener


def test_strongest_channel_of_a_red_photo_is_bright(red: WebPage) -> None:
    red.show("Layers")
    red.panel.locator(".tile").first.click()
    dialog = red.tab.get_by_role("dialog")
    expect(dialog.locator("h2")).to_have_text("conv, channel 0")  # it detects red
    expect(dialog).to_contain_text("16 × 16 positions")


def test_two_versions_are_compared(red: WebPage) -> None:
    red.show("Compare")
    expect(red.panel.get_by_role("status")).to_contain_text("Both see red")
    columns = red.panel.locator(".compare-column")
    expect(columns.nth(0)).to_contain_text("colors, version 2")
    expect(columns.nth(1)).to_contain_text("colors, version 1")
    expect(columns.nth(1).locator(".heat")).to_be_visible()
    red.panel.get_by_role("combobox", name="Model").select_option("filters")
    expect(red.panel.get_by_role("status")).to_contain_text("no classes to compare")
    expect(columns.nth(1)).to_contain_text("filters, version 1")


def test_comparison_with_a_model_that_takes_no_images_is_explained(red: WebPage) -> None:
    red.show("Compare")
    red.panel.get_by_role("combobox", name="Model").select_option("signal")
    expect(red.panel.get_by_role("alert")).to_contain_text("takes no images")


def test_model_is_described_and_its_labels_are_searched(page: WebPage) -> None:
    page.button("About this model").click()
    expect(page.tab.get_by_role("tab", name="Model")).to_be_focused()
    expect(page.panel).to_contain_text("3 classes, softmax")
    expect(page.panel).to_contain_text("16 × 16 pixels, color")
    labels = page.panel.locator(".labels li")
    expect(labels).to_have_count(3)
    page.panel.get_by_label("Search the labels").fill("gr")
    expect(labels).to_have_text(["1green"])
    expect(page.panel.get_by_role("status")).to_have_text("1 of 3 labels")


def test_filter_bank_has_layers_and_no_classes(red: WebPage) -> None:
    red.picker("Model").select_option("filters")
    expect(red.panel).to_contain_text("This model is a filter bank")
    red.show("Layers")
    expect(red.panel.locator(".tile")).to_have_count(4)


def test_model_that_takes_no_images_is_explained(page: WebPage) -> None:
    page.picker("Model").select_option("signal")
    expect(page.tab.get_by_role("alert")).to_contain_text("takes no images")
    page.picker("Model").select_option("colors")
    expect(page.tab.get_by_role("alert")).to_have_count(0)


def test_tabs_move_with_the_arrow_keys(page: WebPage) -> None:
    page.button("About this model").click()
    page.tab.keyboard.press("ArrowLeft")
    expect(page.tab.get_by_role("tab", name="Compare")).to_be_focused()
    page.tab.keyboard.press("End")
    expect(page.tab.get_by_role("tab", name="Model")).to_have_attribute("aria-selected", "true")


def test_first_tab_key_offers_to_skip_to_the_content(page: WebPage) -> None:
    page.tab.keyboard.press("Tab")
    assert page.focused == "Skip to the content"
    page.tab.keyboard.press("Enter")
    expect(page.tab.locator("main")).to_be_focused()


def test_chosen_colors_last(open_page: Callable[..., WebPage], page_process: WebProcess) -> None:
    page = open_page(page_process, color_scheme="light")
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = page.tab.evaluate(background)
    page.button("Use dark colors").click()
    dark = page.tab.evaluate(background)
    assert dark != light
    page.open()
    assert page.tab.evaluate(background) == dark
    expect(page.button("Use light colors")).to_be_visible()


def test_labels_are_shown_as_text(
    open_page: Callable[..., WebPage], page_process: WebProcess
) -> None:
    page = open_page(page_process)
    hostile = "<img src=x onerror=alert(1)>"
    page.tab.route(
        "**/v1/models/*/labels*",
        lambda route: route.fulfill(json={"labels": [hostile, "green", "blue"]}),
    )
    page.open("?tab=details")
    expect(page.panel.locator(".labels li").first).to_have_text(f"0{hostile}")


def warmth(pixels: NDArray[np.uint8]) -> float:
    """Return how much more red than blue a picture has."""
    return float(pixels[..., 0].mean() - pixels[..., 2].mean())
