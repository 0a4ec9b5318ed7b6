"""The feature maps that a command names."""

import os
from collections.abc import Sequence

import typer

from convscope.client.cli.sources.downloads import is_url
from convscope.client.cli.sources.image_files import has_image_suffix
from convscope.client.cli.sources.patterns import is_pattern
from convscope.client.cli.sources.source import STANDARD_INPUT
from convscope.client.errors import InvalidInputError
from convscope.client.types import ModelInfo

__all__ = ["check_commas", "known_feature_maps", "split_names"]

ALL = "all"


def split_names(feature_maps: Sequence[str]) -> list[str]:
    """Split names at commas, and remove duplicates."""
    names = (name.strip() for item in feature_maps for name in item.split(","))
    return list(dict.fromkeys(filter(None, names)))


def check_commas(names: Sequence[str], images: Sequence[str]) -> None:
    """Reject feature maps that are separated by spaces, which makes images of them.

    Raises:
        typer.BadParameter: A file does not exist, and its name isn't one of an image.
    """
    if not names:
        return
    for image in images:
        is_name = not (has_image_suffix(image) or is_url(image) or is_pattern(image))
        if is_name and image != STANDARD_INPUT and not os.path.lexists(image):
            joined = ",".join([*names, image])
            raise typer.BadParameter(
                f"there is no image {image!r}; if it is a feature map, separate the names by "
                f"commas: --feature-maps {joined}"
            )


def known_feature_maps(info: ModelInfo, names: list[str]) -> list[str]:
    """Return the names of the feature maps that are asked for.

    Raises:
        InvalidInputError: One is unknown: the server's error, once and not for each image.
    """
    known = [spec.name for spec in info.feature_maps]
    if ALL in names:
        if not known:
            raise InvalidInputError(f"{info.model} v{info.version} has no feature maps")
        return known
    for name in names:
        if name not in known:
            raise InvalidInputError(
                f"no feature map {name!r} in {info.model} v{info.version}; "
                + (f"it has: {', '.join(known)}" if known else "it has no feature maps")
            )
    return names
