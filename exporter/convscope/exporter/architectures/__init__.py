"""The networks that the exporter knows: one registry, a few lines a row."""

from convscope.exporter.architectures.registry import Architecture, Published
from convscope.exporter.architectures.rows import ARCHITECTURES, find_architecture

__all__ = ["ARCHITECTURES", "Architecture", "Published", "find_architecture"]
