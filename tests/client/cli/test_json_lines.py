"""The lines of JSON have the fields that the guide documents."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.commands import Command
from support.server import ServerProcess

pytestmark = pytest.mark.one_transport("shows results in a terminal")

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "command-line.md"


def documented(heading: str) -> dict[str, list[str]]:
    """Return the fields of a table of the guide, and the names in their descriptions."""
    text = GUIDE.read_text().partition(f"| {heading} | content |\n|---|---|\n")[2]
    rows = [line.split("|")[1:3] for line in text.partition("\n\n")[0].splitlines()]
    names = re.compile(r"`(\w+)`")
    return {
        field: names.findall(content) for cell, content in rows for field in names.findall(cell)
    }


@pytest.fixture
def convscope(tiny_server: ServerProcess) -> Command:
    return Command(tiny_server.target)


def test_a_result_has_the_documented_fields(
    convscope: Command, photos: dict[str, Path], tmp_path: Path
) -> None:
    fields = documented("field of a result")
    options = ("--model", "tiny", "--feature-maps", "all", "--save", tmp_path)
    (result,) = convscope.json("classify", photos["red"], *options)
    assert list(result) == list(fields)
    (explained,) = convscope.json("explain", photos["red"], "--model", "tiny", "--top", "1")
    assert list(explained) == list(fields)
    inner: dict[str, Any] = {
        "classes": result["classes"][0],
        "feature_maps": result["feature_maps"]["conv"],
        "explanations": explained["explanations"][0],
        "stage_seconds": result["stage_seconds"],
    }
    for name, members in inner.items():
        assert list(members) == fields[name]


def test_an_error_has_the_documented_fields(convscope: Command, tmp_path: Path) -> None:
    fields = documented("field of an error")
    done = convscope("classify", tmp_path / "missing.png", "--model", "tiny", "--json")
    error = json.loads(done.stdout)
    assert list(error) == list(fields)
    assert list(error["error"]) == fields["error"]
    assert error["error"]["code"] == "INVALID_ARGUMENT"
