"""The input that a network expects, and the reference way from an encoded image to it."""

from typing import TypeAlias

from convscope.bundle.preprocessing import preprocessing_line
from convscope.exporter.preprocessing.images import ImagePreprocessing
from convscope.exporter.preprocessing.resizing import Exact, Fit, ResizeRule, ShortestEdge
from convscope.exporter.preprocessing.tensors import TensorInput
from convscope.v1 import manifest_pb2 as pb

__all__ = [
    "Exact",
    "Fit",
    "ImagePreprocessing",
    "InputRule",
    "ResizeRule",
    "ShortestEdge",
    "TensorInput",
    "input_line",
]

InputRule: TypeAlias = ImagePreprocessing | TensorInput


def input_line(rule: InputRule) -> str:
    """Return how the input is prepared, in one line of plain words."""
    manifest = pb.ModelManifest(input=rule.input_spec())
    if isinstance(rule, ImagePreprocessing):
        manifest.preprocessing.CopyFrom(rule.to_proto())
    return preprocessing_line(manifest)
