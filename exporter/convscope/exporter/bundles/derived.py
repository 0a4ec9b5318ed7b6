"""The manifest of a version that is made from another one, in another precision."""

from importlib import metadata

from convscope.exporter.errors import QuantizationError
from convscope.v1 import manifest_pb2 as pb

__all__ = ["derived_manifest"]


def derived_manifest(
    parent: pb.ModelManifest, version: int, precision: "pb.Precision.ValueType"
) -> pb.ModelManifest:
    """Return the manifest of a version in another precision, without what is measured later.

    Raises:
        QuantizationError: The parent isn't in FP32.
    """
    name = f"{parent.model}/{parent.version}"
    if parent.precision != pb.PRECISION_FP32:
        present = pb.Precision.Name(parent.precision).removeprefix("PRECISION_").lower()
        origin = f"; use {parent.provenance.parent}" if parent.provenance.parent else ""
        raise QuantizationError(f"{name} is {present} already{origin}")
    manifest = pb.ModelManifest()
    manifest.CopyFrom(parent)
    manifest.version = version
    manifest.precision = precision
    manifest.ClearField("explanation")
    del manifest.files[:]
    provenance = manifest.provenance
    del provenance.metrics[:]  # they were measured in FP32
    provenance.parent = name
    provenance.onnx_version = metadata.version("onnx")
    provenance.convscope_version = metadata.version("convscope")
    provenance.created_at.GetCurrentTime()
    return manifest
