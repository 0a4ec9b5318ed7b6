"""Links that show what their sender saw."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect
from support.web_page import WebPage
from support.web_process import WebProcess

pytestmark = [
    pytest.mark.slow(seconds=1),
    pytest.mark.one_transport("drives a browser; the page is the same for each transport"),
]

Open = Callable[..., WebPage]


def test_link_restores_the_choices_and_the_sample(
    open_page: Open, page_process: WebProcess
) -> None:
    page = open_page(page_process)
    page.button("Sample: a cup of coffee").click()
    expect(page.headline).to_contain_text("%")
    page.picker("Version").select_option("champion")
    expect(page.tab.locator("#subline")).to_contain_text("version 1")
    page.tab.get_by_label("Explain").select_option("2")
    page.tab.get_by_label("Rather than").select_option("1")
    expect(page.tab.locator(".meaning")).to_contain_text("blue for green")
    page.show("Compare")
    page.panel.get_by_role("combobox", name="Version").select_option("2")
    expect(page.panel.locator(".compare-column").nth(1)).to_contain_text("version 2")

    other = open_page(page_process, page.tab.url.removeprefix(f"{page_process.url}/"))
    expect(other.panel.locator(".compare-column").nth(0)).to_contain_text("version 1")
    expect(other.panel.locator(".compare-column").nth(1)).to_contain_text("version 2")
    other.show("Classes")
    expect(other.tab.locator(".meaning")).to_contain_text("blue for green")
    expect(other.picker("Version")).to_have_value("champion")


def test_back_returns_to_the_tab_and_to_the_start(
    open_page: Open, page_process: WebProcess
) -> None:
    page = open_page(page_process)
    page.button("Sample: a cup of coffee").click()
    expect(page.headline).to_contain_text("%")
    page.show("Layers")
    page.tab.go_back()
    expect(page.tab.get_by_role("tab", name="Classes")).to_have_attribute("aria-selected", "true")
    page.tab.go_back()
    expect(page.button("Sample: a cup of coffee")).to_be_visible()
    page.tab.go_forward()
    expect(page.headline).to_contain_text("%")


def test_copied_link_is_the_address(open_page: Open, page_process: WebProcess) -> None:
    page = open_page(
        page_process,
        "?sample=coffee&tab=layers",
        permissions=["clipboard-read", "clipboard-write"],
    )
    expect(page.panel.locator(".tile").first).to_be_visible()
    page.button("Copy link").click()
    expect(page.button("Copied")).to_be_visible()
    copied = page.tab.evaluate("() => navigator.clipboard.readText()")
    assert copied == page.tab.url
    assert "sample=coffee" in copied


def test_link_to_a_model_that_is_gone_is_explained(
    open_page: Open, page_process: WebProcess
) -> None:
    page = open_page(page_process)
    page.accepts_failed_loads = True
    page.open("?model=gone")
    error = page.tab.get_by_role("alert")
    expect(error).to_contain_text("no model 'gone'")
    page.picker("Model").select_option("colors")
    expect(error).to_have_count(0)
    page.button("Sample: a cup of coffee").click()
    expect(page.headline).to_contain_text("%")


def test_nonsense_in_a_link_is_ignored(open_page: Open, page_process: WebProcess) -> None:
    nonsense = "tab=nothing&class=999&against=-1&method=magic&opacity=7&layers=none"
    page = open_page(page_process, f"?{nonsense}&sample=coffee")
    expect(page.headline).to_contain_text("%")
    expect(page.tab.get_by_role("tab", name="Classes")).to_have_attribute("aria-selected", "true")
    expect(page.tab.get_by_role("alert")).to_have_count(0)
