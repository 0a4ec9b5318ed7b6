"""Feature maps and explanations as files: pictures or arrays."""

import io
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from convscope.client._drawing.png import save_png
from convscope.client._inputs.upright import upright
from convscope.client.cli.picture_origins import ExistingPictures, mark_arrays, origin
from convscope.client.cli.readable import readable
from convscope.client.cli.sources.places import normal_name, numbered
from convscope.client.cli.sources.source import Source
from convscope.client.types import Classification, Explanation, ModelInfo

__all__ = ["PictureFolder"]

# More than the pictures show; a JPEG is decoded to about this size.
PHOTO_SIDE = 1024  # behind heat
PANEL_SIDE = 640  # beside the channels of a feature map
MAX_THREADS = 8
MAX_NAME = 60  # of a class in the name of a file

Draw: TypeAlias = Callable[[], Image.Image]


class PictureFolder:
    """The folder for the pictures of one model: IMAGE.MODEL.FEATURE_MAP.png or .CLASS.png.

    IMAGE is the file's name with its suffix. The images of a folder keep their places in its
    subfolders. Numbers are added to the names of classes that would be equal otherwise, and to
    the name of an image, as in p-2.jpg, if the folder has pictures of another p.jpg.

    Args:
        directory: The folder; it is created on first use.
        info: The model.
        as_arrays: Whether arrays are saved instead, all of an image as IMAGE.MODEL.npz.
    """

    def __init__(self, directory: Path, info: ModelInfo, *, as_arrays: bool = False) -> None:
        self.directory = directory
        self._strides = {spec.name: spec.stride for spec in info.feature_maps}
        self._as_arrays = as_arrays
        self._existing = ExistingPictures(directory)
        self._model = info.model
        self._places: dict[str, int] = {}  # and the hash of each image, for a million of them
        self._threads = ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1), "pictures")

    def reserve(self, source: Source) -> Source:
        """Return a source whose place no other image has, of this run or of one before.

        The same image has the same place again.

        An image that is done takes its place too, so that a run that is continued uses the
        same names.
        """
        image, place, number = hash(normal_name(source.name)), source.place, 2
        while self._is_taken(place, image, source):
            place, number = numbered(source.place, number), number + 1
        return replace(source, place=place)

    def _is_taken(self, place: str, image: int, source: Source) -> bool:
        if place in self._places:
            return self._places[place] != image
        if self._existing.has_other(f"{place}.{self._model}", source):
            return True
        self._places[place] = image
        return False

    def save(self, source: Source, result: Classification) -> list[Path]:
        """Save every feature map and explanation of one image, and return the files.

        Raises:
            InvalidInputError: The image can't be drawn.
            OSError: The files can't be written.
        """
        base = self.directory / f"{source.place}.{result.model}"
        base.parent.mkdir(parents=True, exist_ok=True)
        if self._as_arrays:
            return [_save_arrays(base.with_name(f"{base.name}.npz"), result, origin(source))]
        names: set[str] = set()
        pictures = [
            (base.with_name(f"{base.name}.{_free(name, names)}.png"), draw)
            for name, draw in self._pictures(source, result)
        ]

        made_from = origin(source)

        def save(path_and_draw: tuple[Path, Draw]) -> Path:
            path, draw = path_and_draw
            save_png(draw(), path, made_from)
            return path

        return list(self._threads.map(save, pictures))

    def _pictures(self, source: Source, result: Classification) -> Iterator[tuple[str, Draw]]:
        """Yield the name of each picture, and what draws it."""
        small = _open_small(source, PHOTO_SIDE if result.explanations else PANEL_SIDE)
        image_name = readable(source.name.rpartition("/")[2])
        for feature_map in result.feature_maps.values():
            stride = self._strides[feature_map.name]
            draw = partial(feature_map.to_image, small, image_name=image_name, stride=stride)
            yield feature_map.name.replace("/", "_"), draw
        for explanation in result.explanations:
            yield _name(explanation), partial(explanation.to_image, small, image_name=image_name)


def _save_arrays(path: Path, result: Classification, image: bytes) -> Path:
    """Save the feature maps by their names, and the heat of each explanation."""
    arrays = {name: each.array for name, each in result.feature_maps.items()}
    names = set(arrays)
    for explanation in result.explanations:
        arrays[_free(_name(explanation), names)] = explanation.array
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    mark_arrays(path, image)
    return path


def _open_small(source: Source, side: int) -> Image.Image:
    content = source.image
    file = io.BytesIO(content) if isinstance(content, bytes) else Path(content or "")
    with Image.open(file) as image:
        image.draft(None, (side, side))
        small = upright(image)
    small.thumbnail((side, side))
    return small


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
    """Return a unique name: several classes may have the same name."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    taken.add(free)
    return free
