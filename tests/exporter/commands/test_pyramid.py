"""`pyramid`: the table and the picture of several networks."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from typer.testing import CliRunner

from convscope.exporter.architectures.resolve import DeclaredInput, resolve
from convscope.exporter.cli import app
from convscope.exporter.pyramid.drawing import Drawing
from convscope.exporter.pyramid.measuring import measure_pyramid

NETWORKS = ("vgg16", "resnet50", "inception_v3", "mobilenet_v1", "mobilenet_v2")


def test_the_tables_have_a_line_for_each_level() -> None:
    done = CliRunner().invoke(app, ["pyramid", "vgg16", "digits"])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines if len(line) == 1] == ["vgg16", "digits"]
    assert ["1", "×", "1", "4,096", "123,633,664", "0.8%", "123,642,856", "89.4%"] in lines
    assert ["total", "467,200", "8,490"] in lines


def test_json_contains_all_networks_and_their_totals() -> None:
    done = CliRunner().invoke(app, ["pyramid", "digits", "lenet", "digits", "--json"])
    assert done.exit_code == 0, done.output
    digits, lenet = json.loads(done.stdout)
    assert (digits["name"], digits["input"], digits["classes"]) == ("digits", [1, 28, 28], 10)
    assert lenet["levels"][0] == {
        "sizes": [32, 32],
        "channels": 3,
        "multiply_adds": 0,
        "parameters": 0,
    }
    assert digits["parameters"] == sum(level["parameters"] for level in digits["levels"])


def test_the_picture_of_five_networks(tmp_path: Path) -> None:
    path = tmp_path / "pyramids.png"
    done = CliRunner().invoke(app, ["pyramid", *NETWORKS, "--plot", str(path)])
    assert done.exit_code == 0, done.output
    assert done.stderr == f"saved     {path}\n"
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[1] > 1.5 * pixels.shape[0]
    for color in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)):
        is_color = (abs(pixels - color) < 8).all(axis=2)
        assert is_color.sum() > 5000


def test_no_text_of_the_picture_overlaps_another() -> None:
    names = (*NETWORKS, "clip_conv", "timm/test_efficientnet_evos")
    drawing = Drawing([measure_pyramid(resolve(name, DeclaredInput())) for name in names])
    drawing.draw()
    canvas = FigureCanvasAgg(drawing.figure)
    (axes,) = drawing.figure.axes
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    boxes = [(one.get_text(), one.get_window_extent(renderer)) for one in axes.texts]
    assert len(boxes) > 100
    for index, (text, box) in enumerate(boxes):
        assert 0 < box.x0 < box.x1 < drawing.figure.bbox.width, text
        for other, second in boxes[index + 1 :]:
            assert not box.overlaps(second), f"{text!r} overlaps {other!r}"


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".jpg", ".webp"])
def test_other_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pyramid{suffix}"
    done = CliRunner().invoke(app, ["pyramid", "digits", "--plot", str(path)])
    assert done.exit_code == 0, done.output
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("vgg61",), "no architecture 'vgg61'; did you mean vgg"),
        ((".",), ". is a directory; for a bundle use: convscope-exporter describe ."),
        (("vgg16", "--plot", "x.bmp"), "x.bmp has the extension .bmp; use one of .png, .svg"),
        (("vgg16", "--plot", "x"), "x has no extension; use one of .png, .svg"),
        (("vgg16", "--plot", "absent/x.png"), "absent/x.png can't be written: No such file"),
        (("vgg16", "--plot", "folder.png"), "folder.png is a directory; use a name like"),
        (("mine.py:net",), "the input of mine.py:net isn't known; declare it"),
        (
            (*(f"timm/{number}" for number in range(13)), "--plot", "x.png"),
            "a picture of 13 networks isn't readable; name at most 12, or leave out --plot",
        ),
    ],
)
def test_what_cannot_be_drawn_is_explained(
    arguments: tuple[str, ...], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.png").mkdir()
    done = CliRunner().invoke(app, ["pyramid", *arguments])
    assert done.exit_code == 1
    assert reason in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "folder.png"]


def test_a_wrong_name_and_a_wrong_file_import_neither_pytorch_nor_matplotlib() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from convscope.exporter.cli import app\n"
        "for arguments in (['vgg61'], ['vgg16', '--plot', 'x.bmp']):\n"
        "    assert CliRunner().invoke(app, ['pyramid', *arguments]).exit_code == 1\n"
        "print(sorted({'torch', 'torchvision', 'timm', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
