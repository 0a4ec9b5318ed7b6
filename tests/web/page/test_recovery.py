"""A server that goes away and comes back, and one that is full."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.server import ServerProcess
from support.web_page import WebPage, photo
from support.web_process import WebProcess

pytestmark = [
    pytest.mark.slow(seconds=4),
    pytest.mark.one_transport("drives a browser; the page is the same for each transport"),
]

RED, BLUE = (200, 30, 20), (30, 20, 220)
Open = Callable[..., WebPage]


def test_server_goes_away_and_comes_back(open_page: Open, page_repository: Path) -> None:
    server = ServerProcess(page_repository)
    with WebProcess(server.target) as process:
        try:
            page = open_page(process)
            page.accepts_failed_loads = True
            page.choose(photo(RED))
            expect(page.headline).to_contain_text("red")
            without_image = open_page(process)
            without_image.accepts_failed_loads = True
            server.stop()
            page.paste(photo(BLUE))
            banner = page.tab.locator("#banner")
            expect(banner).to_contain_text("The server is away")
            expect(banner).to_contain_text("Your image is kept")
            without_image.picker("Model").select_option("filters")
            expect(without_image.tab.locator("#banner")).to_contain_text("The server is away: ")
            expect(without_image.tab.locator("#banner")).not_to_contain_text("Your image")
        finally:
            server.stop()
        with ServerProcess(page_repository, "--grpc-address", server.target):
            expect(page.headline).to_contain_text("blue")  # without choosing it again
            expect(banner).to_be_hidden()
            expect(page.tab.locator("#announcer")).to_contain_text("blue")


def test_web_process_goes_away_and_comes_back(
    open_page: Open, page_process: WebProcess, page_repository: Path
) -> None:
    with ServerProcess(page_repository) as server:
        with WebProcess(server.target) as process:
            page = open_page(process)
            page.accepts_failed_loads = True
            page.choose(photo(RED))
            expect(page.headline).to_contain_text("red")
        page.tab.get_by_label("Explain").select_option("2")
        expect(page.tab.locator("#banner")).to_contain_text("The server is away")
        expect(page.headline).to_contain_text("red")  # what is known stays visible
        address = process.url.removeprefix("http://")
        with WebProcess(server.target, "--http-address", address):
            expect(page.tab.locator(".meaning")).to_contain_text("speaks for blue")
            expect(page.tab.locator("#banner")).to_be_hidden()


def test_full_server_is_asked_again(open_page: Open, page_process: WebProcess) -> None:
    page = open_page(page_process)
    page.accepts_failed_loads = True
    full = {"error": {"code": "RESOURCE_EXHAUSTED", "message": "the queue is full"}}
    calls = "**/*:classify*"
    page.tab.route(
        calls, lambda route: route.fulfill(status=429, json=full, headers={"retry-after": "1"})
    )
    page.choose(photo(RED))
    expect(page.tab.get_by_role("alert")).to_contain_text("The server is busy")
    page.tab.unroute(calls)  # only now, so that a slow machine sees the alert too
    expect(page.headline).to_contain_text("red")
    expect(page.tab.get_by_role("alert")).to_have_count(0)
