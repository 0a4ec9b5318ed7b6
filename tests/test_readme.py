"""The README is run: its Python blocks, its commands' names, its links."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.server import ServerProcess

from bench.readme import TABLE, with_table

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = re.findall(r"^\$ (.+?(?:\\\n.+?)*)$", "".join(t for _, t in BLOCKS), re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON)
def test_the_python_runs(block: str, demo_server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    code = block.replace("localhost:8001", demo_server.target)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.splitlines()
    for said, expected in zip(shown, re.findall(r"\)  # (.+)$", block, re.MULTILINE), strict=False):
        assert said.startswith(expected)
    assert (tmp_path / "blocks.2.png").stat().st_size > 10_000


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"make ([a-z]+)", README))
    rules = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "serve"} <= targets <= rules


@pytest.mark.parametrize("command", [c for c in COMMANDS if "convscope" in c])
def test_every_flag_exists(command: str) -> None:
    words = command.replace("\\\n", " ").replace(".venv/bin/", "").split("#")[0].split()
    depth = 2 if words[1] == "admin" else 1
    program, subcommand = words[0], words[1 : 1 + depth] if not words[1].startswith("-") else []
    help_text = subprocess.run(
        [Path(sys.executable).parent / program, *subcommand, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "200"},
    ).stdout
    for flag in (word for word in words if word.startswith("--")):
        assert flag in help_text


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_table_is_what_the_bench_wrote() -> None:
    assert with_table(README, TABLE.read_text()) == README, "run: python -m bench.readme"
