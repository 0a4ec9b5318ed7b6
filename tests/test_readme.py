"""The README and the pages of docs/ are run: Python blocks, commands, settings, links."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

import pytest
from support.forked import run as run_forked
from support.server import ServerProcess
from support.web_process import WebProcess
from typer.testing import CliRunner

from bench.performance_page import PAGE, TABLE, with_table
from convscope.exporter.cli import app as exporter_app

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [
    *(README, ROOT / "SECURITY.md"),
    *sorted(
        page for page in (ROOT / "docs").rglob("*.md") if page.parent != ROOT / "docs" / "lesson"
    ),
    ROOT / "bench" / "README.md",
]
# test_tutorial.py runs their blocks, one after the other.
RUN_AS_A_WHOLE = {ROOT / "docs" / "quick-start.md", ROOT / "docs" / "tutorial.md"}
LESSON = sorted((ROOT / "docs" / "lesson").glob("*.md"))  # test_lesson.py runs their blocks
LABELS = [str(page.relative_to(ROOT)) for page in (*PAGES, *LESSON)]
# The page, the language and the lines of each block. A block with a title isn't run, and the
# flags of its commands are checked all the same.
BLOCKS = [
    (page, language, text)
    for page in PAGES
    for language, title, text in re.findall(
        r"^ *```(\w+)( title=\"[^\"]*\")?\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE
    )
    if not title or language == "console"
]
PYTHON = [
    text for page, language, text in BLOCKS if language == "python" and page not in RUN_AS_A_WHOLE
]
CONSOLE = "".join(text for _, language, text in BLOCKS if language == "console")
COMMANDS = re.findall(r"^\$ (.+?(?:\\\n.+?)*)$", CONSOLE, re.MULTILINE)
OURS = [command for command in COMMANDS if re.match(r"(\.venv/bin/)?convscope", command)]


@pytest.mark.slow(seconds=1)
@pytest.mark.one_transport("exports networks for a minute; other tests make the same calls")
@pytest.mark.parametrize("block", PYTHON)
def test_python_block_runs(
    block: str, demo_server: ServerProcess, demo_web: WebProcess, tmp_path: Path
) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    code = block.replace("localhost:8001", demo_server.target)
    code = code.replace("http://localhost:8080", demo_web.url)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    for line, expected in zip(shown, re.findall(r"\)  # (.+)$", block, re.MULTILINE), strict=False):
        assert line.startswith(expected)
    for picture in re.findall(r"\.save\(\"(.+)\"\)", block):
        assert (tmp_path / picture).stat().st_size > 10_000


def test_every_make_target_exists() -> None:
    text = "".join(page.read_text() for page in (*PAGES, *LESSON))
    targets = set(re.findall(r"(?:`|\$ )make ([a-z-]+)", text))
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "serve"} <= targets <= rules


CURL = [
    line for _, language, text in BLOCKS if language == "bash" for line in text.splitlines() if line
]
# What the reply to a command contains.
REPLIES = {
    "coffee.png http://localhost:8080/v1/models/efficientnet_lite0:classify": '"espresso"',
    "top_k=2": '"label":"7"',
    "digits/7.png http://": '"label":"7"',
    "application/json": '"label":"7"',
    "explain=": '"explanations":[{"class_index":',
    "feature_maps=": '"png":"',
    "labels": '["0","1"',
    "/infer": ':7:7"]',
}


@pytest.mark.slow(seconds=1)
@pytest.mark.one_transport("exports networks for a minute; other tests make the same calls")
@pytest.mark.parametrize("command", CURL)
def test_curl_is_answered(command: str, demo_web: WebProcess) -> None:
    assert command.startswith("curl ")
    code = command.replace("http://localhost:8080", demo_web.url)
    done = subprocess.run(
        ["bash", "-ec", code.replace("curl ", "curl --silent --show-error --fail-with-body ", 1)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    json.loads(done.stdout)
    for part, expected in REPLIES.items():
        if part in command:
            assert expected in done.stdout


@cache
def help_of(program: str, *subcommand: str) -> str:
    wide = {"COLUMNS": "200"}
    if program == "convscope-exporter":
        return CliRunner().invoke(exporter_app, [*subcommand, "--help"], env=wide).output
    room: Literal["client", "server"] = "client" if program == "convscope" else "server"
    return run_forked(room, [*subcommand, "--help"], os.environ | wide).stdout


@pytest.mark.parametrize("command", OURS)
def test_every_flag_exists(command: str) -> None:
    words = command.replace("\\\n", " ").replace(".venv/bin/", "").split("#")[0].split()
    depth = 2 if words[1] == "admin" else 1
    program, subcommand = words[0], words[1 : 1 + depth] if not words[1].startswith("-") else []
    help_text = help_of(program, *subcommand)
    for flag in (word for word in words if word.startswith("--")):
        assert flag in help_text


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("pip install")])
def test_every_extra_exists(command: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.findall(r"'\.\[([a-z-]+)\]'", command)
    assert set(extras) <= project["optional-dependencies"].keys()


@pytest.mark.parametrize("page", [*PAGES, *LESSON], ids=LABELS)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        target, _, anchor = link.partition("#")
        if target.startswith("https://"):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        if anchor:
            assert anchor in _anchors(path), link


# Blocks whose title is a file of the repository. The pages are read without a build as well, so
# they contain the file instead of including it.
COPIES = [
    (title, text)
    for page in (*PAGES, *LESSON)
    for title, text in re.findall(
        r"^```\w+ title=\"([\w./-]+)\"\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE
    )
    if (ROOT / title).is_file()
]


@pytest.mark.parametrize(("path", "text"), COPIES, ids=[path for path, _ in COPIES])
def test_a_file_in_a_page_is_that_of_the_repository(path: str, text: str) -> None:
    assert text == (ROOT / path).read_text()


def test_the_proxies_are_in_their_page() -> None:
    files = (ROOT / "deploy" / "proxies").iterdir()
    assert {f"deploy/proxies/{file.name}" for file in files} <= {path for path, _ in COPIES}


@pytest.mark.parametrize("page", [*PAGES, *LESSON], ids=LABELS)
def test_a_page_needs_no_build_to_be_read(page: Path) -> None:
    assert re.findall(r"^ *(?:\?\?\?|!!! |=== |--8<--).*", page.read_text(), re.MULTILINE) == []


def test_what_the_threat_model_names_exists() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    folders = [ROOT, ROOT / "server/convscope/server", *ROOT.glob("*/convscope")]
    for name in re.findall(r"`([a-z_]+/[a-z_./]*|[A-Za-z-]+\.(?:yml|py))`", text):
        assert any(list(folder.glob(f"{name.rstrip('/')}*")) for folder in folders), name
    known = help_of("convscope-server")
    assert [flag for flag in re.findall(r"`(--[a-z-]+)`", text) if flag not in known] == []


def test_every_page_of_docs_can_be_reached_from_the_readme() -> None:
    reached = {README}
    waiting = [README]
    while waiting:
        page = waiting.pop()
        for link in re.findall(r"\]\(([^)#:]+\.md)", page.read_text()):
            path = (page.parent / link).resolve()
            if path not in reached:
                reached.add(path)
                waiting.append(path)
    assert set((ROOT / "docs").rglob("*.md")) <= reached


MESSAGES = re.findall(
    r"^\| (`[^|]+`) \|",
    (ROOT / "docs" / "operations" / "troubleshooting.md").read_text(),
    re.MULTILINE,
)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_is_explained_still_exists(message: str) -> None:
    for quoted in re.findall(r"`([^`]{12,})`", message.replace("\\`", "'")):
        for part in re.split(r"…|'", quoted):
            assert part.strip() in _messages(), part


@cache
def _messages() -> str:
    """Return every text in the source, with an ellipsis for each value, one a line."""
    texts = []
    for room in ("bundle", "client", "server", "exporter", "web", "deploy"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
                elif isinstance(node, ast.JoinedStr):
                    parts = [
                        part.value if isinstance(part, ast.Constant) else "…"
                        for part in node.values
                    ]
                    texts.append("".join(map(str, parts)))
    return "\n".join(texts)


def test_table_is_what_the_bench_wrote() -> None:
    page = PAGE.read_text()
    assert with_table(page, TABLE.read_text()) == page, "run: python -m bench.performance_page"


def _anchors(page: Path) -> set[str]:
    """The anchors of a page, and those of its headings as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
    return made | {*re.findall(r'<a id="([^"]+)">', text)}
