"""The networks that the exporter can build: a registry with one row for each."""

from convscope.exporter.architectures.registry import Architecture, Published
from convscope.exporter.architectures.rows import ARCHITECTURES, find_architecture

__all__ = ["ARCHITECTURES", "Architecture", "Published", "find_architecture"]
