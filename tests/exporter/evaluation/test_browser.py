"""The reports in a real browser: nothing is loaded, nothing fails, and people can read them."""

import json
import re
import shutil
from pathlib import Path

import pytest
from google.protobuf import json_format
from PIL import Image, ImageStat
from support.browser import browse
from support.colors import write_colors
from support.exporter import exporter

from convscope.exporter.evaluation.run_files import read_run
from convscope.v1 import manifest_pb2 as pb

pytestmark = pytest.mark.slow(seconds=1)

NETWORK = """
from torch import nn

def colors(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, num_classes))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was trained on a folder of colors for a few epochs, and its report."""
    folder = tmp_path_factory.mktemp("trained")
    write_colors(folder / "colors", {"red": 30, "green": 30, "blue": 30}, {"red": "blue"})
    (folder / "mine.py").write_text(NETWORK)
    output = exporter(
        "train",
        f"{folder / 'mine.py'}:colors",
        *("--dataset", f"folder:{folder / 'colors'}", "--input", "3x16x16", "--epochs", "3"),
        *("--repository", str(folder / "models"), "--runs", str(folder / "runs")),
    )
    assert re.findall(r"epoch (\d)/3   train loss [\d.]+   val loss [\d.]+", output) == [*"123"]
    assert "report    " in output
    return folder


@pytest.fixture(scope="module")
def comparison(trained: Path) -> Path:
    path = trained / "comparison.html"
    bundle = str(trained / "models/colors/1")
    dataset = f"folder:{trained / 'colors'}"
    exporter("evaluate", bundle, "--compare", bundle, "--dataset", dataset, "--output", str(path))
    return path


def report(trained: Path) -> Path:
    return trained / "runs/colors/1/report.html"


def visible_text(page: Path, profile: Path) -> str:
    """Return the text of a page as the browser's own document has it."""
    document = browse(page, profile, "--dump-dom").stdout
    body = re.sub(r"<(style|script)\b.*?</\1>", " ", document, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_a_training_report_is_readable(trained: Path, tmp_path: Path) -> None:
    text = visible_text(report(trained), tmp_path)
    for shown in ("colors v1", "Accuracy", "Training", "Confusion", "Calibration", "Loss", "epoch"):
        assert shown in text
    assert f"epoch {read_run(report(trained).parent).best_epoch}, whose weights" in text


def test_the_figures_of_a_training_report_are_those_of_the_manifest(trained: Path) -> None:
    found = re.search(r'id="figures">(.*?)</script>', report(trained).read_text(), re.S)
    assert found is not None
    figures = json.loads(found[1])
    text = (trained / "models/colors/1/manifest.json").read_text()
    metrics = json_format.Parse(text, pb.ModelManifest()).provenance.metrics
    assert {one.split for one in metrics} == {"folder:colors test"}
    recorded = {one.name.removeprefix("top1_"): one.value for one in metrics}
    assert set(recorded) == {"accuracy", "balanced_accuracy", "log_loss", "calibration_error"}
    assert {name: figures[name] for name in recorded} == pytest.approx(recorded, abs=1e-4)


def test_a_copy_of_the_training_folder_counts_only_unseen_inputs(
    trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "colors", tmp_path / "copy")
    (tmp_path / "copy/red/29.png").rename(tmp_path / "copy/red/another name.png")
    bundle = str(trained / "models/colors/1")
    found = json.loads(
        exporter("evaluate", bundle, "--dataset", f"folder:{tmp_path / 'copy'}", "--json")
    )
    assert (found["inputs"], found["split"]) == (18, "unseen inputs")
    assert found["notes"] == [
        "72 inputs were in the training of colors v1 and are left out (recognized by content)"
    ]


def test_the_report_shows_the_limits_of_a_small_training(trained: Path) -> None:
    page = report(trained).read_text()
    assert "There are only 12 validation inputs" in page
    accuracy = page.partition('aria-label="Accuracy"')[2].partition("</svg>")[0]
    assert re.findall(r">(training|validation|most frequent class)<", accuracy) == [
        "training",
        "validation",
        "most frequent class",
    ]
    assert "convscope-exporter evaluate " in page


def test_a_comparison_is_readable(comparison: Path, tmp_path: Path) -> None:
    text = visible_text(comparison, tmp_path)
    assert "colors v1 (A) compared with colors v1 (B)" in text
    assert "Balanced accuracy" in text


@pytest.mark.parametrize("kind", ["report", "comparison"])
def test_a_page_makes_no_request_and_has_no_error(
    kind: str, trained: Path, comparison: Path, tmp_path: Path
) -> None:
    page = report(trained) if kind == "report" else comparison
    log = tmp_path / "network.json"
    done = browse(page, tmp_path, "--enable-logging=stderr", f"--log-net-log={log}", "--dump-dom")
    assert "CONSOLE" not in done.stderr
    urls = set(re.findall(r'"url":"(https?://[^"]+)"', log.read_text()))
    # Chromium itself looks for updates of its own; the page must not ask for anything.
    own = ("google", "gstatic", "gvt1", "chromium")
    assert [url for url in urls if not any(name in url for name in own)] == []


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_page_is_drawn_in_light_and_dark_mode(mode: str, trained: Path, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    scheme = {"light": 1, "dark": 0}[mode]
    browse(
        report(trained),
        tmp_path / "profile",
        f"--blink-settings=preferredColorScheme={scheme}",
        f"--screenshot={shot}",
        "--window-size=1200,900",
    )
    with Image.open(shot) as image:
        light = ImageStat.Stat(image.convert("L"))
    assert (light.median[0] > 200) == (mode == "light")
    assert light.stddev[0] > 5  # there is something to see
