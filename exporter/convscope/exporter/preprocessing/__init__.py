"""The input that a network expects, and the reference way from an encoded image to it."""

from typing import TypeAlias

from convscope.exporter.preprocessing.images import ImagePreprocessing
from convscope.exporter.preprocessing.tensors import TensorInput

__all__ = ["ImagePreprocessing", "InputRule", "TensorInput"]

InputRule: TypeAlias = ImagePreprocessing | TensorInput
