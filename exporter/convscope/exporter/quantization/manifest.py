"""The manifest of a quantized version."""

import onnxruntime as ort

from convscope.bundle.manifest import QUANTIZED_SCHEMA_VERSION
from convscope.exporter.bundles.derived import derived_manifest
from convscope.exporter.errors import QuantizationError
from convscope.exporter.quantization.data import QuantizationData
from convscope.exporter.quantization.network import CalibratedNetwork
from convscope.exporter.quantization.ranges import PERCENTILE
from convscope.exporter.quantization.search import Attempt
from convscope.exporter.quantization.speed import Speed
from convscope.v1 import manifest_pb2 as pb

__all__ = ["describe_quantization", "quantized_manifest"]

HELD_OUT = "held-out"


def quantized_manifest(parent: pb.ModelManifest, version: int) -> pb.ModelManifest:
    """Return the manifest of a quantized version, without what is measured later.

    Raises:
        QuantizationError: The parent can't be quantized.
    """
    if parent.task != pb.TASK_CLASSIFICATION:
        raise QuantizationError(
            f"{parent.model}/{parent.version} has no classes, by which the accuracy guard compares "
            "a quantized version with the original; serve it in FP32"
        )
    manifest = derived_manifest(parent, version, pb.PRECISION_INT8)
    manifest.schema_version = QUANTIZED_SCHEMA_VERSION
    return manifest


def describe_quantization(
    manifest: pb.ModelManifest,
    data: QuantizationData,
    network: CalibratedNetwork,
    attempt: Attempt,
    speed: Speed,
) -> None:
    """Record in a manifest how it was quantized, by which data, and what was measured."""
    fidelity = attempt.fidelity
    figures = {
        "top1_kept": fidelity.kept,
        "top1_kept_where_clear": fidelity.kept_where_clear,
        "probability_change": fidelity.probability_change,
        "accuracy": fidelity.accuracy,
        "accuracy_change": fidelity.accuracy_change,
        "speed": speed.ratio,
    }
    manifest.quantization.CopyFrom(
        pb.Quantization(
            method=_method(),
            dataset=data.dataset,
            digest=data.calibration.digest,
            calibration_inputs=len(data.calibration.values),
            held_out_inputs=fidelity.inputs,
            layers=len(network.layers),
            fp32_layers=attempt.fp32_layers,
            figures=[
                pb.Metric(name=name, value=value, split=HELD_OUT)
                for name, value in figures.items()
                if value is not None
            ],
        )
    )
    if fidelity.accuracy is not None:
        manifest.provenance.metrics.add(
            name="top1_accuracy", value=fidelity.accuracy, split=f"{data.dataset} {HELD_OUT}"
        )


def _method() -> str:
    return (
        f"QDQ by onnxruntime {ort.__version__}: uint8 activations of percentile {PERCENTILE:g}, "
        "int8 weights per channel, GPTQ rounding, bias correction"
    )
