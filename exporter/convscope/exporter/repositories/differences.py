"""Compares the manifests of two bundles."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

from convscope.bundle.layout import GRAPH
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Difference", "Differences", "LabelDifferences", "compare_manifests"]


@dataclass(frozen=True, slots=True)
class Difference:
    """A field of both bundles.

    Args:
        name: The field, such as preprocessing.resize.shortest_edge.
        a: Its value in the first; None if it is absent.
        b: Its value in the second.
    """

    name: str
    a: Any
    b: Any


@dataclass(frozen=True, slots=True)
class LabelDifferences:
    """How the classes differ, by name.

    Args:
        only_a: The names that only the first bundle has.
        only_b: The names that only the second has.
        same_order: Whether the shared names are in the same order.
    """

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    same_order: bool


@dataclass(frozen=True, slots=True)
class Differences:
    """How two bundles differ.

    Args:
        labels: The classes.
        fields: Other differences: input, preprocessing, feature maps, precision, provenance.
        metrics: Every metric and its split, different or not.
        size_bytes: The size of the files.
        parameters: The number of parameters.
        same_graph: Whether model.onnx is the same file in both.
    """

    labels: LabelDifferences
    fields: tuple[Difference, ...]
    metrics: tuple[Difference, ...]
    size_bytes: Difference
    parameters: Difference
    same_graph: bool

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return asdict(self)


def compare_manifests(a: pb.ModelManifest, b: pb.ModelManifest) -> Differences:
    """Compare two bundles by their manifests."""
    return Differences(
        labels=_compare_labels(list(a.labels), list(b.labels)),
        fields=tuple(one for one in _pairs(_fields(a), _fields(b)) if one.a != one.b),
        metrics=tuple(_pairs(_metrics(a), _metrics(b))),
        size_bytes=Difference("size_bytes", _size(a), _size(b)),
        parameters=Difference("parameters", a.provenance.parameters, b.provenance.parameters),
        same_graph=_graph(a) == _graph(b),
    )


def _compare_labels(a: list[str], b: list[str]) -> LabelDifferences:
    count_a, count_b = Counter(a), Counter(b)
    return LabelDifferences(
        only_a=tuple((count_a - count_b).elements()),
        only_b=tuple((count_b - count_a).elements()),
        same_order=[name for name in a if name in count_b]
        == [name for name in b if name in count_a],
    )


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Difference]:
    for name in dict.fromkeys([*a, *b]):
        yield Difference(name, a.get(name), b.get(name))


def _fields(manifest: pb.ModelManifest) -> dict[str, Any]:
    """Return every field that is compared, by its path."""
    rest = pb.ModelManifest()
    rest.CopyFrom(manifest)
    for name in ("model", "version", "labels", "feature_maps", "files"):
        rest.ClearField(name)
    rest.provenance.ClearField("metrics")
    rest.provenance.ClearField("parameters")
    maps = {f"feature_maps.{spec.name}": _as_dict(spec) for spec in manifest.feature_maps}
    return dict(_flat("", _as_dict(rest))) | maps


def _as_dict(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _flat(path: str, content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flat(f"{path}{name}.", value)
        else:
            yield f"{path}{name}", value


def _metrics(manifest: pb.ModelManifest) -> dict[str, float]:
    return {f"{one.name} on {one.split}": one.value for one in manifest.provenance.metrics}


def _size(manifest: pb.ModelManifest) -> int:
    return sum(file.size_bytes for file in manifest.files)


def _graph(manifest: pb.ModelManifest) -> str:
    return next((file.sha256 for file in manifest.files if file.name == GRAPH), "")
