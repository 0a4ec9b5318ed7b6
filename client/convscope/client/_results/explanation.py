"""A class of an image, and the explanation of it."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convscope.client._drawing.explanation_sheet import OPACITY, draw_explanation
from convscope.client._drawing.html.explanation import explanation_html
from convscope.client._drawing.overlay import paint_heat
from convscope.client._inputs.arguments import ImageLike
from convscope.client._inputs.upright import open_upright
from convscope.client._results.content import same_array, to_plain
from convscope.client._results.guessed_names import GuessedNames
from convscope.client._results.image_crop import ImageCrop
from convscope.client._results.source import Source
from convscope.client.errors import InvalidInputError

__all__ = ["ClassScore", "Explanation"]

_MIN_LIMIT = 0.02
# A share of a smaller logit has no meaning.
_MIN_LOGIT = 0.1


@dataclass(frozen=True, slots=True)
class ClassScore(GuessedNames):
    """One class and its probability, from 0 to 1.

    Example:
        >>> client.classify("digits/3.png", model="digits").top
        ClassScore(index=3, label='3', probability=...)
    """

    index: int
    label: str
    probability: float

    _GUESSES = (
        dict.fromkeys(("name", "class_name"), "label")
        | dict.fromkeys(("confidence", "score", "prob"), "probability")
        | dict.fromkeys(("class_id", "class_index"), "index")
    )


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Explanation(GuessedNames):
    """Which parts of one image speak for a class.

    Two explanations are equal if they explain the same classes in the same way with the
    same heat.

    Args:
        target: The explained class and its probability.
        against: The class that it is contrasted with; None without contrast.
        method: How it was computed, such as "grad-cam".
        array: The heat, float32 [height, width] for an image: one value for each cell of
            an even grid over the part that the network saw. Positive heat speaks for the
            class, negative heat against it, in units of the logit; for "eigen-cam", in
            units of the tensor.
        logit: The logit of the class; with a contrast, minus that of the other class.
        remainder: The part of the logit that the heat doesn't explain: the logit minus
            the sum of the heat. None for methods whose heat has no such sum.
        tensor: The tensor of the graph whose positions the heat has; empty for
            "occlusion".
        crop: The part of the image that the network saw; None if the model doesn't take
            images.
        model: The model that was explained.
        version: The model's version.
        source: The image, for the picture of a notebook, if the result keeps it.

    Example:
        >>> result = client.classify("coffee.png", model="efficientnet_lite0", explain=1)
        >>> result.explanations[0]
        <Explanation espresso ...% by grad-cam, heat [7, 7] of efficientnet_lite0 v1>
    """

    target: ClassScore
    against: ClassScore | None
    method: str
    array: NDArray[np.float32]
    logit: float
    remainder: float | None
    tensor: str = ""
    crop: ImageCrop | None = None
    model: str = ""
    version: int = 0
    source: Source | None = field(default=None)

    _GUESSES = dict.fromkeys(("heat", "heatmap", "map"), "array")

    def __repr__(self) -> str:
        against = f" rather than {self.against.label}" if self.against else ""
        origin = f" of {self.model} v{self.version}" if self.model else ""
        return (
            f"<Explanation {self.label} {self.probability:.1%}{against} by {self.method}, heat "
            f"{list(self.array.shape)}{origin}>"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Explanation):
            return NotImplemented
        same = self._key() == other._key() and self.crop == other.crop
        return same and same_array(self.array, other.array)

    def __hash__(self) -> int:
        return hash(self._key())

    @property
    def label(self) -> str:
        """The name of the explained class."""
        return self.target.label

    @property
    def index(self) -> int:
        """The index of the explained class in the model's labels."""
        return self.target.index

    @property
    def probability(self) -> float:
        """The probability of the explained class."""
        return self.target.probability

    @property
    def limit(self) -> float:
        """The heat that is drawn in the strongest color: the largest magnitude.

        It is at least 0.02, except for Eigen-CAM, whose heat is in other units than the logit:
        less hardly changes a probability, and must not look like evidence.
        """
        largest = float(np.abs(self.array).max())
        return largest if self.method == "eigen-cam" else max(largest, _MIN_LIMIT)

    @property
    def share(self) -> float | None:
        """The share of the logit that the heat explains, or None.

        It may be above 1, because the remainder may have the other sign. If the heat has
        the other sign, its sum is no part of the logit, or the logit is nearly zero, there
        is no share.
        """
        if self.remainder is None or abs(self.logit) < _MIN_LOGIT:
            return None
        share = 1 - self.remainder / self.logit
        return share if share >= 0 else None

    def overlay(
        self,
        image: ImageLike,
        *,
        opacity: float = OPACITY,
        limit: float | None = None,
        outside: Literal["dim", "plain"] = "dim",
    ) -> Image.Image:
        """Draw the heat over the classified image, where the network saw it.

        Orange speaks for the class, and blue against it. The colors of the image become
        paler below them.

        Args:
            image: The image that was classified, or the same in another size. Its EXIF
                orientation is applied.
            opacity: The opacity of the strongest heat, from 0 to 1.
            limit: The heat of the strongest color, to compare several pictures; by default
                the largest magnitude of this one.
            outside: "dim" or "plain": how to draw the part that the network didn't see.

        Returns:
            An RGB image of the size of the upright image.

        Raises:
            InvalidInputError: The image can't be read, or has other proportions than the one
                that was classified, or the model doesn't take images.

        Example:
            >>> result = client.classify("coffee.png", model="efficientnet_lite0", explain=1)
            >>> (explanation,) = result.explanations
            >>> explanation.overlay("coffee.png").save("overlay.jpg")
        """
        photo = open_upright(image)
        return paint_heat(
            photo,
            self._planar(),
            self._crop().box(*photo.size),
            limit=self.limit if limit is None else limit,
            opacity=opacity,
            dims_outside=outside == "dim",
        )

    def to_image(self, source: ImageLike | None = None, *, image_name: str = "") -> Image.Image:
        """Draw the image beside its heat, with the class, its probability and a scale.

        Args:
            source: The image that was classified, or the same in another size; by default
                the heat is drawn alone.
            image_name: The image's name, for the heading.

        Returns:
            An RGB image.

        Raises:
            InvalidInputError: As for `overlay`.

        Example:
            >>> result = client.classify("coffee.png", model="efficientnet_lite0", explain=1)
            >>> (explanation,) = result.explanations
            >>> explanation.to_image("coffee.png").save("explanation.jpg")
        """
        self._planar()
        if source is None:
            return draw_explanation(self, None, None, image_name)
        return draw_explanation(self, open_upright(source), self._crop(), image_name)

    def to_dict(self, *, arrays: bool = False) -> dict[str, Any]:
        """Return it as values that JSON has.

        Args:
            arrays: Whether to include the heat.

        Example:
            >>> result = client.classify("coffee.png", model="efficientnet_lite0", explain=1)
            >>> (explanation,) = result.explanations
            >>> explanation.to_dict()["target"]["label"]
            'espresso'
        """
        fields: dict[str, Any] = {
            "target": to_plain(asdict(self.target)),
            "against": None if self.against is None else to_plain(asdict(self.against)),
            "method": self.method,
            "tensor": self.tensor,
            "logit": to_plain(self.logit),
            "remainder": to_plain(self.remainder),
            "share": to_plain(self.share),
            "shape": list(self.array.shape),
            "crop": None if self.crop is None else to_plain(asdict(self.crop)),
        }
        return fields | {"heat": to_plain(self.array)} if arrays else fields

    def _repr_html_(self) -> str:
        return explanation_html(self)

    def _key(self) -> tuple[object, ...]:
        return (
            *(self.model, self.version, self.method, self.tensor),
            *(self.target, self.against, self.logit, self.remainder),
        )

    def _planar(self) -> NDArray[np.float32]:
        if self.array.ndim != 2:
            raise InvalidInputError(
                f"the heat has the shape {list(self.array.shape)}; only heat of images "
                "[height, width] can be drawn"
            )
        return self.array

    def _crop(self) -> ImageCrop:
        if self.crop is None:
            raise InvalidInputError(
                f"the server doesn't report which part of an image {self.model} "
                f"v{self.version} saw; heat can only be drawn over the input of a model for images"
            )
        return self.crop
