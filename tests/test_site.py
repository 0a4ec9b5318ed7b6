"""The site of docs/ is built without a warning, its links lead somewhere, and it is complete."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import convscope.client
from convscope.server.config.flags import FLAGS
from convscope.server.observability.metrics.families import TABLE
from scripts.reference.pages import GENERATED
from scripts.reference.protocols import parse_proto

ROOT = Path(__file__).resolve().parents[1]
BUILD_SECONDS = 900


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class References(HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if identifier := values.get("id"):
            self.anchors.add(identifier)
        if tag == "a" and (link := values.get("href")):
            self.links.append(link)
        name = {"link": "href", "script": "src", "img": "src", "iframe": "src"}.get(tag, "")
        is_text = tag == "link" and values.get("rel") in ("canonical", "next", "prev")
        if name and not is_text and (source := values.get(name)):
            self.loaded.append(source)


@pytest.mark.slow(seconds=4)
@pytest.mark.timeout(BUILD_SECONDS)
def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    pages = {page: References(page) for page in site.rglob("*.html")}
    assert len(pages) > 50
    broken = [
        f"{page.relative_to(site)}: {link}"
        for page, references in pages.items()
        if page.name != "404.html"  # its links begin at the root of the web server
        for link in references.links
        if not leads_somewhere(page, link, pages)
    ]
    assert broken == []


@pytest.mark.slow(seconds=4)
@pytest.mark.timeout(BUILD_SECONDS)
def test_nothing_is_loaded_from_other_hosts(site: Path) -> None:
    for page in site.rglob("*.html"):
        other = [one for one in References(page).loaded if urlsplit(one).netloc]
        assert other == [], page
        assert "unpkg.com" not in page.read_text(), page  # where the theme has scripts of others
    for style in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?(?:https?:)?//[^)]*\)", style.read_text()) == []


@pytest.mark.slow(seconds=4)
@pytest.mark.timeout(BUILD_SECONDS)
def test_the_references_are_complete(site: Path) -> None:
    for name in GENERATED:
        assert (site / name).with_suffix(".html").exists(), name
    anchors = References(site / "reference" / "python.html").anchors
    assert {f"convscope.client.{name}" for name in convscope.client.__all__} <= anchors
    settings = References(site / "reference" / "settings.html").anchors
    assert {name.replace("_", "-") for name in FLAGS} <= settings
    metrics = (site / "reference" / "metrics.html").read_text()
    assert [family.name for family in TABLE if family.name not in metrics] == []


def test_every_message_and_field_of_a_protocol_is_found() -> None:
    for path in (ROOT / "proto").rglob("*.proto"):
        text = re.sub(r"//.*", "", path.read_text())
        declarations = list(parse_proto(path.read_text()))
        names = re.findall(r"(?:message|enum|service) (\w+) *\{", text)
        assert len(declarations) == len(names)
        members = [member.name for each in declarations for member in each.members]
        rpcs = re.findall(r"rpc (\w+)", text)
        fields = re.findall(r"(\w+) = \d+[; ]", text)
        assert sorted(members) == sorted([*rpcs, *fields])


def leads_somewhere(page: Path, link: str, pages: dict[Path, References]) -> bool:
    """Report whether a link leads to a file of the site, and its anchor exists."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if path.is_dir():
        path /= "index.html"
    if not path.exists():
        return False
    return not parts.fragment or path not in pages or unquote(parts.fragment) in pages[path].anchors
