"""The command `list`."""

import re
import subprocess
import sys

from typer.testing import CliRunner

from convscope.exporter.architectures import ARCHITECTURES
from convscope.exporter.cli import app


def test_the_list_shows_every_network_and_how_to_name_others() -> None:
    output = CliRunner().invoke(app, ["list"]).stdout
    for name in ("perceptron", "leung_malik", "vgg19_bn", "efficientnet_lite4", "clip_conv"):
        assert f"\n{name} " in f"\n{output}"
    assert "timm/NAME" in output
    assert "path/to/file.py:factory" in output


def test_the_list_imports_neither_pytorch_nor_a_network_library() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from convscope.exporter.cli import app\n"
        "done = CliRunner().invoke(app, ['list'])\n"
        "assert done.exit_code == 0 and 'resnet50' in done.stdout\n"
        "print(sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_piped_list_has_one_line_per_network() -> None:
    header, *lines = CliRunner().invoke(app, ["list"]).stdout.splitlines()
    assert header.split() == ["name", "input", "weights", "description"]
    assert [line.split()[0] for line in lines] == [
        *ARCHITECTURES,
        "timm/NAME",
        "path/to/file.py:factory",
    ]
    for row, line in zip(ARCHITECTURES.values(), lines, strict=False):
        assert line.rstrip().endswith(f"  {row.summary}")


def test_a_terminal_of_80_columns_shows_the_complete_list() -> None:
    wide = {"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "dumb"}
    output = CliRunner(env=wide).invoke(app, ["list"]).stdout
    lines = re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in output
    words = " ".join(lines).split()
    for row in ARCHITECTURES.values():
        assert row.name in words
        assert set(row.summary.split()) <= set(words)


def test_the_list_searches_timm() -> None:
    found = CliRunner().invoke(app, ["list", "timm/convnext_a"]).stdout.split()
    assert "timm/convnext_atto" in found
    assert all(name.startswith("timm/convnext_a") for name in found)
