"""What can go wrong for a user of the exporter; each message names the repair."""

__all__ = [
    "DatasetError",
    "ExporterError",
    "ParityError",
    "PublishError",
    "UnknownNameError",
    "WeightsError",
]


class ExporterError(Exception):
    """Anything that ends a command with a sentence instead of a traceback."""


class UnknownNameError(ExporterError):
    """No architecture, dataset or module has that name."""


class WeightsError(ExporterError):
    """The weights don't fit the architecture."""


class DatasetError(ExporterError):
    """The dataset can't be read or used."""


class ParityError(ExporterError):
    """ONNX Runtime and PyTorch disagree about the exported graph."""


class PublishError(ExporterError):
    """The bundle can't be put into the repository."""
