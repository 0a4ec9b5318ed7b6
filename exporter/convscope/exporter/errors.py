"""The errors that a user of the exporter can cause; each message names the fix."""

from convscope.bundle.errors import reason_of as reason

__all__ = [
    "DatasetError",
    "ExplanationError",
    "ExporterError",
    "HubError",
    "NetworkError",
    "ParityError",
    "QuantizationError",
    "RunError",
    "UnclearOutputError",
    "UnknownNameError",
    "WeightsError",
    "reason",
]


class ExporterError(Exception):
    """Any error that ends a command with a sentence instead of a traceback."""


class UnknownNameError(ExporterError):
    """No architecture, dataset, module or tensor has that name."""


class NetworkError(ExporterError):
    """A network in a user's file can't be loaded, or doesn't match its description."""


class WeightsError(ExporterError):
    """The weights can't be read, or don't fit the architecture."""


class HubError(ExporterError):
    """Published weights or data can't be downloaded."""


class DatasetError(ExporterError):
    """The dataset can't be read or used."""


class ImageError(ExporterError):
    """An image can't be read; the message continues a sentence that names it."""


class RunError(ExporterError):
    """A training run can't start or continue."""


class ParityError(ExporterError):
    """The exported graph and its reference compute different outputs."""


class UnclearOutputError(ExporterError):
    """Neither the network nor its values show what its output contains."""


class ExplanationError(ExporterError):
    """A graph can't explain its classes; the message says why."""


class QuantizationError(ExporterError):
    """A quantized graph doesn't keep enough of the results in FP32."""
