"""The result of an image."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from convscope.client._drawing.html.classification import classification_html
from convscope.client._results.content import rounded_seconds, to_plain
from convscope.client._results.explanation import ClassScore, Explanation
from convscope.client._results.feature_map import FeatureMap
from convscope.client._results.guessed_names import GuessedNames
from convscope.client._results.image_crop import ImageCrop
from convscope.client._results.row import Row, column_order
from convscope.client._results.source import Source

__all__ = ["Classification", "StageSeconds"]

_CLASSES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """How long one image spent in each stage of the server, in seconds.

    Example:
        >>> seconds = client.classify("coffee.png", model="efficientnet_lite0").stage_seconds
        >>> seconds.infer > 0
        True
    """

    decode: float
    queue: float
    infer: float
    encode: float


@dataclass(frozen=True, slots=True, repr=False)
class Classification(GuessedNames):
    """The result of one image.

    Two results are equal if the same model returned the same for an image of the same name,
    whenever and however fast.

    Args:
        model: The model that classified it.
        version: The model's version.
        provider: The execution provider that ran the model, such as "cpu".
        classes: The most probable classes, the most probable first.
        feature_maps: The requested feature maps, by name.
        stage_seconds: How long each stage of the server took.
        explanations: The requested explanations, in the order of the request.
        crop: The part of the image that the network saw, if the request asks for
            feature maps or explanations.
        image: The image's path, or the file that a PIL image was opened from; empty if it
            has no name.
        request_id: The id of the request in the server's log. Images that were sent
            together have the same.
        call_seconds: How long the request took, from sending it to its reply.
        sent_size: The width and height at which the client sent an image beyond the
            server's limits; None if the image was sent unchanged.
        source: The image, for the pictures of notebooks. A result of `classify` refers to
            the image, one of `classify_many` only to the file of a path.

    Example:
        >>> client.classify("coffee.png", model="efficientnet_lite0", top_k=2)
        <Classification coffee.png: espresso 9...%, cup ...% (efficientnet_lite0 v1)>
    """

    model: str
    version: int
    provider: str
    classes: tuple[ClassScore, ...]
    feature_maps: Mapping[str, FeatureMap] = field(hash=False)
    stage_seconds: StageSeconds = field(compare=False)
    explanations: tuple[Explanation, ...] = ()
    crop: ImageCrop | None = None
    image: str = ""
    request_id: str = field(default="", compare=False)
    call_seconds: float = field(default=0.0, compare=False)
    sent_size: tuple[int, int] | None = None
    source: Source | None = field(default=None, compare=False)

    _GUESSES = (
        dict.fromkeys(("label", "class_name", "name", "prediction"), "result.top.label")
        | dict.fromkeys(("probability", "confidence", "score", "prob"), "result.top.probability")
        | dict.fromkeys(("index", "class_id", "class_index"), "result.top.index")
        | dict.fromkeys(("labels", "predictions", "probabilities", "scores"), "result.classes")
        | dict.fromkeys(("heat", "explanation"), "result.explanations[0]")
        | dict.fromkeys(("maps", "feature_map", "features"), "result.feature_maps[NAME]")
    )

    def __repr__(self) -> str:
        name = f" {self.image}:" if self.image else ""
        scores = [f"{one.label} {one.probability:.1%}" for one in self.classes[:_CLASSES_SHOWN]]
        scores += [f"{len(self.classes) - _CLASSES_SHOWN} more"] * (
            len(self.classes) > _CLASSES_SHOWN
        )
        maps = f"; feature maps {', '.join(self.feature_maps)}" if self.feature_maps else ""
        heat = f"; {len(self.explanations)} explained" if self.explanations else ""
        shown = ", ".join(scores) or "no class"
        return f"<Classification{name} {shown}{maps}{heat} ({self.model} v{self.version})>"

    @property
    def top(self) -> ClassScore:
        """The most probable class.

        Raises:
            LookupError: The result has no class.
        """
        if not self.classes:
            raise LookupError(
                f"{self.model} v{self.version} returned no class: none reached "
                "min_probability, or the model has feature maps only"
            )
        return self.classes[0]

    def to_dict(self, *, arrays: bool = False) -> dict[str, Any]:
        """Return it as values that JSON has.

        Numbers have at most 9 significant digits, which identify a 32-bit number. Times are
        rounded to a microsecond.

        Args:
            arrays: Whether to include the elements of feature maps and heat, which may be
                many.

        Example:
            >>> result = client.classify("digits/3.png", model="digits", top_k=1)
            >>> result.to_dict()["classes"]
            [{'index': 3, 'label': '3', 'probability': ...}]
        """
        return {
            "image": self.image,
            "model": self.model,
            "version": self.version,
            "provider": self.provider,
            "classes": [to_plain(asdict(score)) for score in self.classes],
            "feature_maps": {
                name: each.to_dict(arrays=arrays) for name, each in self.feature_maps.items()
            },
            "explanations": [each.to_dict(arrays=arrays) for each in self.explanations],
            "crop": None if self.crop is None else to_plain(asdict(self.crop)),
            "sent_size": None if self.sent_size is None else list(self.sent_size),
            "stage_seconds": _rounded(self.stage_seconds),
            "call_seconds": rounded_seconds(self.call_seconds),
            "request_id": self.request_id,
        }

    def to_row(self) -> Row:
        """Return it as one row of a table.

        The most probable class is in `label`, `index` and `probability`, the next ones in
        `label_2`, `index_2` and `probability_2`, and so on. Feature maps and explanations are
        left out. The columns are in the same order for every result, and numbers are rounded as
        in `to_dict`.

        Example:
            >>> row = client.classify("digits/3.png", model="digits", top_k=1).to_row()
            >>> row["image"], row["label"], row["version"]
            ('digits/3.png', '3', 1)
        """
        row: Row = dict.fromkeys(column_order(len(self.classes)))
        for rank, score in enumerate(self.classes, 1):
            suffix = f"_{rank}" if rank > 1 else ""
            row[f"label{suffix}"] = score.label
            row[f"index{suffix}"] = score.index
            row[f"probability{suffix}"] = to_plain(score.probability)
        row |= {f"{stage}_seconds": time for stage, time in _rounded(self.stage_seconds).items()}
        return row | {
            "image": self.image,
            "model": self.model,
            "version": self.version,
            "provider": self.provider,
            "call_seconds": rounded_seconds(self.call_seconds),
            "request_id": self.request_id,
        }

    def _repr_html_(self) -> str:
        return classification_html(self)


def _rounded(times: StageSeconds) -> dict[str, float]:
    return {stage: rounded_seconds(seconds) for stage, seconds in asdict(times).items()}
