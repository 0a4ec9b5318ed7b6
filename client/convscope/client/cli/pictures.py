"""Feature maps and explanations as picture files."""

import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from convscope.client._inputs.upright import upright
from convscope.client.types import Classification, Explanation, ModelInfo

__all__ = ["PictureFolder"]

SOURCE_SIDE = 1024  # more than the pictures show; a JPEG is decoded to about this size
MAX_NAME = 60  # of a class in the name of a file


class PictureFolder:
    """The folder for the pictures of one model: IMAGE.MODEL.FEATURE_MAP.png or .CLASS.png.

    Args:
        directory: The folder; it is created on first use.
        info: The model.
    """

    def __init__(self, directory: Path, info: ModelInfo) -> None:
        self._directory = directory
        self._strides = {spec.name: spec.stride for spec in info.feature_maps}
        self._stems: set[str] = set()

    def save(self, image: Path, result: Classification) -> list[Path]:
        """Save every feature map and explanation of one image, and return the files.

        Raises:
            InvalidInputError: The image can't be drawn.
            OSError: The files can't be written.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        stem = _free(image.stem, self._stems)
        names: set[str] = set()
        saved = []
        for name, picture in self._draw(image, result):
            path = self._directory / f"{stem}.{result.model}.{_free(name, names)}.png"
            picture.save(path)
            saved.append(path)
        return saved

    def _draw(self, image: Path, result: Classification) -> Iterator[tuple[str, Image.Image]]:
        source = _open_small(image)
        for feature_map in result.feature_maps.values():
            stride = self._strides[feature_map.name]
            sheet = feature_map.to_image(source, image_name=image.name, stride=stride)
            yield feature_map.name.replace("/", "_"), sheet
        for explanation in result.explanations:
            yield _name(explanation), explanation.to_image(source, image_name=image.name)


def _open_small(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.draft(None, (SOURCE_SIDE, SOURCE_SIDE))
        source = upright(image)
    source.thumbnail((SOURCE_SIDE, SOURCE_SIDE))
    return source


def _name(explanation: Explanation) -> str:
    """Return a name for a file, such as "espresso" or "espresso-not-cup.occlusion"."""
    if explanation.method == "eigen-cam":
        return explanation.method
    name = _slug(explanation.label)
    if explanation.against is not None:
        name += f"-not-{_slug(explanation.against.label)}"
    return name if explanation.method == "grad-cam" else f"{name}.{explanation.method}"


def _slug(label: str) -> str:
    """Return a label without the characters that file systems treat specially."""
    return re.sub(r"[^\w-]+", "_", label).strip("_")[:MAX_NAME] or "class"


def _free(name: str, taken: set[str]) -> str:
    """Return a unique name: images from several folders, or classes, may have the same name."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    taken.add(free)
    return free
