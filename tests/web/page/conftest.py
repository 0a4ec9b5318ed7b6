"""One server, one web process, and one browser for each module, for the tests of the page."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from support.explained import write_explained
from support.server import ServerProcess
from support.tiny import write_extractor, write_signal, write_tiny
from support.web_page import WebPage, running_browser
from support.web_process import WebProcess


@pytest.fixture(scope="session")
def page_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models: two versions of "colors" with gradients, "plain" without, and two others.

    These are "filters", a filter bank, and "signal", which takes no images.
    """
    root = tmp_path_factory.mktemp("page")
    write_explained(root, "colors", 1)
    write_explained(root, "colors", 2)
    (root / "colors" / "aliases.json").write_text('{"champion": 1}')
    write_extractor(root, "filters")
    write_signal(root)
    write_tiny(root, "plain")
    return root


@pytest.fixture(scope="session")
def page_process(page_repository: Path) -> Iterator[WebProcess]:
    """A web process whose server no test changes."""
    with (
        ServerProcess(page_repository, "--versions", "2") as server,
        WebProcess(server.target) as process,
    ):
        yield process


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    with running_browser() as browser:
        yield browser


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., WebPage]]:
    """A function that opens a tab; at the end, no tab has had an error or asked another host."""
    pages: list[WebPage] = []

    def open_(process: WebProcess, query: str = "", **options: Any) -> WebPage:
        page = WebPage(browser, process.url, **options)
        pages.append(page)
        page.open(query)
        return page

    yield open_
    for page in pages:
        page.__exit__()
    assert [problem for page in pages for problem in page.problems] == []


@pytest.fixture
def page(open_page: Callable[..., WebPage], page_process: WebProcess) -> WebPage:
    """The page with the model "colors"."""
    return open_page(page_process)
