"""What can go wrong for a user of the exporter; each message names the repair."""

__all__ = [
    "DatasetError",
    "ExporterError",
    "HubError",
    "NetworkError",
    "ParityError",
    "RunError",
    "UnknownNameError",
    "WeightsError",
    "reason",
]


class ExporterError(Exception):
    """Anything that ends a command with a sentence instead of a traceback."""


class UnknownNameError(ExporterError):
    """No architecture, dataset or module has that name."""


class NetworkError(ExporterError):
    """A network of the user's own can't be loaded, or isn't what it is said to be."""


class WeightsError(ExporterError):
    """The weights can't be read, or don't fit the architecture."""


class HubError(ExporterError):
    """Published weights or data can't be fetched."""


class DatasetError(ExporterError):
    """The dataset can't be read or used."""


class RunError(ExporterError):
    """A training run can't begin, or go on."""


class ParityError(ExporterError):
    """ONNX Runtime and PyTorch disagree about the exported graph."""


def reason(error: Exception) -> str:
    """What an error says, in a line, without the path that the sentence around it names."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return said.strip().partition("\n")[0] or type(error).__name__
