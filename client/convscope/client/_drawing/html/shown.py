"""The attributes of results that are shown."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from PIL import Image

from convscope.client._drawing import contact_sheet, explanation_words
from convscope.client._results.image_crop import ImageCrop
from convscope.client._results.source import Source

__all__ = ["ShownExplanation", "ShownMap", "ShownResult", "thumbnail_source"]


class ShownMap(contact_sheet.Drawable, Protocol):
    """The attributes of a `FeatureMap`."""


class ShownExplanation(explanation_words.Drawable, Protocol):
    """The attributes of an `Explanation`."""

    @property
    def crop(self) -> ImageCrop | None: ...
    @property
    def source(self) -> Source | None: ...


class ShownResult(Protocol):
    """The attributes of a `Classification`."""

    @property
    def model(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def provider(self) -> str: ...
    @property
    def classes(self) -> Sequence[explanation_words.Score]: ...
    @property
    def feature_maps(self) -> Mapping[str, ShownMap]: ...
    @property
    def explanations(self) -> Sequence[ShownExplanation]: ...
    @property
    def image(self) -> str: ...
    @property
    def call_seconds(self) -> float: ...
    @property
    def sent_size(self) -> tuple[int, int] | None: ...
    @property
    def source(self) -> Source | None: ...


def thumbnail_source(source: Source | None, side: int) -> Image.Image | None:
    """Return the image of a result at most `side` pixels long, if it is still available."""
    photo = None if source is None else source.open()
    if photo is None:
        return None
    photo.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return photo
