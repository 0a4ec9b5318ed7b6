"""Small datasets for the tests of the exporter."""

from pathlib import Path

from PIL import Image

from convscope.exporter.datasets import (
    ImageFiles,
    Samples,
    Split,
)


def arrays_of(samples: Samples) -> Split:
    assert isinstance(samples, Split)
    return samples


def files_of(samples: Samples) -> ImageFiles:
    assert isinstance(samples, ImageFiles)
    return samples


def write_images(folder: Path, count: int, size: tuple[int, int] = (20, 12)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.new("RGB", size, (index, 2 * index, 3)).save(folder / f"{index}.png")
