"""The field for a token, next to a server that asks for one."""

from pathlib import Path

from playwright.sync_api import Browser, expect
from support.guarded import TOKEN, guarded
from support.server import ServerProcess
from support.web_page import WebPage, violations
from support.web_process import WebProcess


def test_the_page_asks_for_a_token_and_keeps_it_in_memory_only(
    page_repository: Path, browser: Browser
) -> None:
    with (
        ServerProcess(page_repository, "--versions", "2") as server,
        guarded(server.target) as guard,
        WebProcess(guard.target) as process,
        WebPage(browser, process.url) as page,
    ):
        page.accepts_failed_loads = True
        page.tab.goto(page.url)
        form = page.tab.locator("#sign-in")
        field = page.tab.get_by_label("Token")
        expect(form).to_contain_text("This server asks for a token")
        expect(field).to_be_focused()
        expect(field).to_have_attribute("type", "password")
        assert page.tab.locator(".error").count() == 0
        for wrong, reason in (("two words", "letters, digits"), ("wrong", "token is not valid")):
            field.fill(wrong)
            field.press("Enter")
            expect(form).to_contain_text(reason)
        assert violations(page) == []
        field.fill(TOKEN)
        page.tab.get_by_role("button", name="Sign in").click()
        expect(form).to_be_hidden()
        expect(page.tab.locator("#model")).to_have_value("colors")
        stored = page.tab.evaluate(
            "() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
        )
        assert TOKEN not in stored + page.tab.url
        assert TOKEN not in page.tab.content()
        page.tab.reload()
        expect(form).to_contain_text("This server asks for a token")
        assert page.problems == []
