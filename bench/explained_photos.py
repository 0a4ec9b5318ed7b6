"""The photos of the deletion and insertion scores: the repository's, and those of packages."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from bench.context import ROOT

__all__ = ["found", "missing"]

# Photos of objects that ImageNet has classes for. Textures, drawings and micrographs, which
# these packages also contain, have no class that a heat map could be right about.
_OWN = (
    "tests/data/coffee.png",
    "exporter/convscope/exporter/data/photos/camera_gray.jpg",
    "exporter/convscope/exporter/data/photos/rocket_exif6.jpg",
)
_OF_PACKAGES = {
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
    "skimage": ("data/astronaut.png", "data/chelsea.png", "data/motorcycle_left.png"),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "ultralytics": ("assets/bus.jpg", "assets/zidane.jpg"),
}


def found() -> list[Path]:
    """Return the photos that this machine has, by name."""
    paths = (path for _, path in _all() if path is not None and path.exists())
    return sorted(paths, key=lambda path: path.name)


def missing() -> list[str]:
    """Return the packages that would add photos."""
    return sorted({package for package, path in _all() if path is None or not path.exists()})


def _all() -> Iterator[tuple[str, Path | None]]:
    for name in _OWN:
        yield "the repository", ROOT / name
    for package, names in _OF_PACKAGES.items():
        spec = find_spec(package)  # without importing it
        folders = list(spec.submodule_search_locations or ()) if spec is not None else []
        for name in names:
            yield package, Path(folders[0]) / name if folders else None
