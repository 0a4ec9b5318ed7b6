"""The page with the networks of the demo: a photo, and digits that are answered while drawing."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from playwright.sync_api import expect
from support.server import ServerProcess
from support.web_page import WebPage, violations
from support.web_process import WebProcess

pytestmark = [
    pytest.mark.slow(seconds=2),
    pytest.mark.one_transport("drives a browser; the page is the same for each transport"),
]

Open = Callable[..., WebPage]
Points = Sequence[tuple[float, float]]
SEVEN: Points = [(0.3, 0.25), (0.5, 0.25), (0.7, 0.25), (0.6, 0.45), (0.5, 0.65), (0.45, 0.8)]


@pytest.fixture(scope="module")
def networks(demo_server: ServerProcess) -> Iterator[WebProcess]:
    """A web process for the server of the demo's models."""
    with WebProcess(demo_server.target) as process:
        yield process


def test_cup_of_coffee_is_opened_from_edges_to_objects(
    open_page: Open, networks: WebProcess
) -> None:
    page = open_page(networks, "?model=efficientnet_lite0&sample=coffee")
    expect(page.headline).to_contain_text("espresso 95.")
    expect(page.tab.locator(".facts, .heat-controls .note").first).to_contain_text("7 × 7 cells")
    expect(page.panel).not_to_contain_text("even if the image shows none of them")
    page.show("Layers")
    titles = page.panel.locator(".level h2")
    expect(titles).to_have_text(["Edges", "Corners and curves", "Textures", "Parts", "Objects"])
    last = page.panel.locator(".level").last
    expect(last.locator(".level-count")).to_have_text("The 24 strongest of 320 channels")
    page.button("Show all 320 channels of blocks.6").click()
    expect(last.locator(".tile")).to_have_count(320)
    page.panel.get_by_label("Show all 7 layers").check()
    expect(titles).to_have_count(7)
    page.panel.get_by_role("link", name="Level 7").click()
    expect(titles.last).to_be_focused()
    expect(titles.last).to_be_in_viewport()


def test_two_models_look_at_the_same_photo(open_page: Open, networks: WebProcess) -> None:
    page = open_page(networks, "?model=efficientnet_lite0&sample=coffee&tab=compare")
    expect(page.panel.get_by_role("status")).to_contain_text("They know different classes")
    columns = page.panel.locator(".compare-column")
    expect(columns.nth(0)).to_contain_text("blocks.6")
    expect(columns.nth(1)).to_contain_text("pool2")


def test_uncertain_answer_says_that_a_network_always_answers(
    open_page: Open, networks: WebProcess
) -> None:
    page = open_page(networks, "?model=efficientnet_lite0&sample=coffee")
    expect(page.headline).to_contain_text("espresso")
    notes = page.tab.locator(".heat-controls .note").first
    expect(notes).not_to_contain_text("says little")
    page.picker("Model").select_option("digits")
    expect(notes).to_contain_text("The method “Occlusion” says more")
    expect(page.panel).to_contain_text("even if the image shows none of them")


def test_digit_is_answered_while_it_is_drawn(open_page: Open, networks: WebProcess) -> None:
    page = open_page(networks, "?model=digits")
    page.button("Draw a digit").click()
    expect(page.panel).to_contain_text("The network answers while you draw")
    x, y, side = drawing(page)
    mouse = page.tab.mouse
    mouse.move(x + SEVEN[0][0] * side, y + SEVEN[0][1] * side)
    mouse.down()
    for across, down in SEVEN[1:]:
        mouse.move(x + across * side, y + down * side, steps=4)
    expect(page.headline).to_contain_text("7 ")  # the button of the mouse is still down
    expect(page.tab.locator("#announcer")).to_be_empty()
    mouse.up()
    expect(page.tab.locator("#announcer")).to_contain_text("digits sees 7")
    expect(page.panel.locator(".class-row .label")).to_have_text([str(n) for n in range(10)])
    page.show("Layers")
    expect(page.panel.locator(".level h2")).to_have_text(
        ["Edges", "Strokes", "Strokes, combined", "Shapes"]
    )
    page.show("Compare")
    expect(page.panel.locator(".compare-column").nth(0)).to_contain_text("digits, version 1")
    expect(page.panel.locator(".compare-column").nth(1)).to_contain_text("efficientnet_lite0")
    page.button("Clear").click()
    expect(page.headline).to_contain_text("Draw a digit")
    expect(page.panel.locator(".compare-column .photo").first).to_be_hidden()


def test_digit_is_drawn_with_the_keyboard(open_page: Open, networks: WebProcess) -> None:
    page = open_page(networks, "?model=digits")
    page.button("Draw a digit").click()
    expect(page.tab.locator("#drawing")).to_be_focused()
    for key in [*["ArrowUp"] * 7, "Space", *["ArrowDown"] * 14]:
        page.tab.keyboard.press(key)
    expect(page.headline).to_contain_text("1 ")
    page.tab.keyboard.press("Backspace")
    expect(page.headline).to_contain_text("Draw a digit")


def test_digit_is_drawn_on_a_phone(open_page: Open, networks: WebProcess) -> None:
    page = open_page(networks, "?model=digits", phone=True)
    page.button("Draw a digit").tap()
    page.tab.locator("#drawing").scroll_into_view_if_needed()
    x, y, side = drawing(page)
    touch = page.tab.context.new_cdp_session(page.tab)
    for kind, (across, down) in zip(
        ["touchStart", *["touchMove"] * (len(SEVEN) - 1)], SEVEN, strict=True
    ):
        point = {"x": x + across * side, "y": y + down * side}
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.headline).to_contain_text("7 ")
    assert page.tab.evaluate("() => scrollX") == 0
    assert page.tab.evaluate("() => document.documentElement.scrollWidth") <= 360
    assert violations(page) == []


def test_axe_finds_no_violation_in_drawings_and_their_layers(
    open_page: Open, networks: WebProcess
) -> None:
    page = open_page(networks, "?model=digits&sample=digit-3")
    expect(page.headline).to_contain_text("3 ")
    assert violations(page) == []
    page.show("Layers")
    expect(page.panel.locator(".level")).to_have_count(4)
    assert violations(page) == []
    page.tab.emulate_media(color_scheme="dark")
    assert violations(page, "color-contrast") == []


def drawing(page: WebPage) -> tuple[float, float, float]:
    """Return the left and upper edge and the side of the drawing area, in pixels."""
    box = page.tab.locator("#drawing").bounding_box()
    assert box
    return box["x"], box["y"], box["width"]
