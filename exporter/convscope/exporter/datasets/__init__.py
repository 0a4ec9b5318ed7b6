"""The datasets that a network can be trained on."""

from convscope.exporter.datasets.registry import DATASETS, DatasetOptions, load_dataset
from convscope.exporter.datasets.samples import Dataset, ImageFiles, Samples, Split, prepare

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetOptions",
    "ImageFiles",
    "Samples",
    "Split",
    "load_dataset",
    "prepare",
]
