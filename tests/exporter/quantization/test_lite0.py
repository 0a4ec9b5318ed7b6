"""EfficientNet-Lite0 with real weights, by real photos: what INT8 keeps of it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from convscope.bundle.reader import read_bundle
from convscope.exporter.bundles.verify import CHECKS, verify
from convscope.exporter.cli import app

pytestmark = pytest.mark.slow(seconds=60)

ROOT = Path(__file__).parents[3]
PHOTOS = ROOT / "exporter" / "convscope" / "exporter" / "data" / "photos"
CALIBRATION = (PHOTOS / "retina_large.jpg", PHOTOS / "camera_gray.jpg")
HELD_OUT = (PHOTOS / "rocket_exif6.jpg", ROOT / "tests" / "data" / "coffee.png")


def write_crops(photos: tuple[Path, ...], folder: Path, count: int) -> None:
    """Write random crops of photos; few of them have one of ImageNet's classes."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for path in photos:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        for number in range(count):
            width, height = (round(side * random.uniform(0.6, 1)) for side in image.size)
            left = int(random.integers(0, image.width - width + 1))
            top = int(random.integers(0, image.height - height + 1))
            crop = image.crop((left, top, left + width, top + height))
            crop.thumbnail((320, 320))
            crop.save(folder / f"{path.stem}-{number}.jpg", quality=92)


def test_it_keeps_the_clear_results_of_other_photos(demo_repository: Path, tmp_path: Path) -> None:
    write_crops(CALIBRATION, tmp_path / "calibration", 12)
    write_crops(HELD_OUT, tmp_path / "held_out", 40)
    bundle = demo_repository / "efficientnet_lite0" / "1"
    own = tmp_path / "models" / "efficientnet_lite0" / "1"
    shutil.copytree(bundle, own)  # the new version is published beside it
    done = CliRunner().invoke(
        app,
        [
            *("quantize", str(own)),
            *("--calibration", f"folder:{tmp_path / 'calibration'}"),
            *("--held-out", f"folder:{tmp_path / 'held_out'}"),
        ],
    )
    assert done.exit_code == 0, done.output
    directory = own.parent / "2"
    manifest = read_bundle(directory).manifest
    figures = {one.name: one.value for one in manifest.quantization.figures}
    assert figures["top1_kept_where_clear"] >= 0.99
    assert figures["probability_change"] <= 0.025
    sizes = {file.name: file.size_bytes for file in manifest.files}
    assert sizes["model.onnx"] < 10_000_000  # 18.6 MB in FP32
    assert [check.name for check in verify(directory)] == list(CHECKS)
