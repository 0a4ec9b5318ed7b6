"""A user's type checker accepts a project that uses the whole public surface."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.docstring_examples import documented

import convscope.client

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = Path(__file__).parent / "typed_sample"
SOURCES = [ROOT / room for room in ("proto", "client")]
# A base install has no server, and checking the sources of one would take half of the time.
MYPY = """[mypy]
strict = True
explicit_package_bases = True
[mypy-convscope.server.*,convscope.web.*]
follow_imports = skip
"""
SOURCE = "\n".join(path.read_text() for path in sorted(SAMPLE.glob("*.py")))


@pytest.mark.parametrize("name", convscope.client.__all__)
def test_the_sample_uses_every_public_name(name: str) -> None:
    assert re.search(rf"\b{name}\b", SOURCE)


def test_the_sample_calls_every_public_method() -> None:
    methods = {name.partition(".")[2] for name, _ in documented(convscope.client)} - {""}
    assert [name for name in sorted(methods) if f".{name}(" not in SOURCE] == []


@pytest.mark.slow(seconds=12)
def test_mypy_accepts_the_sample(tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text(MYPY)
    command = [sys.executable, "-m", "mypy", "--config-file", str(tmp_path / "mypy.ini")]
    options = ["--cache-dir", os.devnull, "--no-error-summary"]
    done = check([*command, *options, str(SAMPLE)], MYPYPATH=":".join(paths()))
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow(seconds=6)
def test_basedpyright_accepts_the_sample(tmp_path: Path) -> None:
    """With the types of this package checked from its sources, and those of gRPC incomplete."""
    config = {
        "include": [str(SAMPLE)],
        "extraPaths": paths(),
        "typeCheckingMode": "standard",
        "pythonVersion": "3.11",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable]
    done = check([*command, "--project", str(tmp_path)])
    assert done.returncode == 0, done.stdout


def paths() -> list[str]:
    return list(map(str, SOURCES))


def check(command: list[str], **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | environment
    )
