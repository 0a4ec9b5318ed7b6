"""Checks of what a manifest states: classes, feature maps, input, and how it was made."""

from collections import Counter
from collections.abc import Iterator

from convscope.bundle.manifest_input import input_checks
from convscope.bundle.manifest_schema import EXPLAINED_SCHEMA_VERSION, QUANTIZED_SCHEMA_VERSION
from convscope.bundle.manifest_values import MAX_SHOWN_CHARACTERS, Check, enum_check, enum_name
from convscope.v1 import manifest_pb2 as pb

__all__ = ["content_checks"]

MAX_GOLDEN_INPUTS = 256
MAX_FEATURE_MAPS = 10_000
_TASKS = (pb.TASK_CLASSIFICATION, pb.TASK_FEATURE_EXTRACTION)
_ACTIVATIONS = (pb.ACTIVATION_SOFTMAX, pb.ACTIVATION_SIGMOID)
_PRECISIONS = (pb.PRECISION_FP32, pb.PRECISION_FP16, pb.PRECISION_INT8)
# Outputs of every classifier.
_HEADS = ("logits", "probabilities")
# The input and the outputs of an explanation.
_EXPLANATION = ("classes", "heat", "heat_classes")
_MAX_POSITION_DIMENSIONS = 3


def content_checks(manifest: pb.ModelManifest) -> Iterator[Check]:
    """Yield the checks of every field but the schema version, the names and the files."""
    yield from _classes(manifest)
    yield from _feature_maps(manifest)
    yield from input_checks(manifest)
    yield from _explanation(manifest)
    yield from _quantization(manifest)


def _classes(manifest: pb.ModelManifest) -> Iterator[Check]:
    classifies = manifest.task == pb.TASK_CLASSIFICATION
    yield enum_check("task", manifest.task, pb.Task.DESCRIPTOR, _TASKS)
    yield enum_check("precision", manifest.precision, pb.Precision.DESCRIPTOR, _PRECISIONS)
    yield (
        "a classifier has no labels; it needs one for each class",
        (classifies and not manifest.labels),
    )
    problem, unknown = enum_check(
        "activation", manifest.activation, pb.Activation.DESCRIPTOR, _ACTIVATIONS
    )
    yield problem, classifies and unknown
    inputs, tolerance = manifest.golden.inputs, manifest.golden.probability_tolerance
    yield f"the manifest states {inputs} golden inputs; it needs at least 1", inputs < 1
    yield (
        f"the manifest states {inputs:,} golden inputs; at most {MAX_GOLDEN_INPUTS} are allowed",
        inputs > MAX_GOLDEN_INPUTS,
    )
    yield (
        f"the golden tolerance is {tolerance:g}; it must be between 0 and 1",
        not 0 < tolerance < 1,  # not `<=`: NaN must not pass
    )
    maps = manifest.golden.feature_map_tolerance
    yield (
        f"the golden tolerance of feature maps is {maps:g}; it must be between 0 and 1",
        not 0 <= maps < 1,
    )


def _feature_maps(manifest: pb.ModelManifest) -> Iterator[Check]:
    names = [spec.name for spec in manifest.feature_maps]
    classifies = manifest.task == pb.TASK_CLASSIFICATION
    yield "the manifest has neither classes nor feature maps", not classifies and not names
    yield (
        f"the manifest has {len(names):,} feature maps; at most {MAX_FEATURE_MAPS:,} are allowed",
        len(names) > MAX_FEATURE_MAPS,
    )
    for name, count in Counter(names).items():
        shown = name[:MAX_SHOWN_CHARACTERS]
        yield f"two feature maps are named {shown!r}; each needs its own name", count > 1
        yield (
            f"a feature map is named {shown!r}, which is another output's name",
            (classifies and name in _HEADS),
        )
    for spec in manifest.feature_maps:
        shape = (spec.channels, spec.height, spec.width)
        shown = spec.name[:MAX_SHOWN_CHARACTERS]
        yield (
            f"the feature map {shown!r} has the shape {list(shape)}; sizes start at 1",
            (min(shape) < 1),
        )


def _explanation(manifest: pb.ModelManifest) -> Iterator[Check]:
    if not manifest.HasField("explanation"):
        return
    spec = manifest.explanation
    yield (
        f"the manifest has an explanation and schema version {manifest.schema_version}; "
        f"explanations need {EXPLAINED_SCHEMA_VERSION}",
        manifest.schema_version < EXPLAINED_SCHEMA_VERSION,
    )
    yield (
        "the manifest has an explanation and no classes; only classifiers have explanations",
        manifest.task != pb.TASK_CLASSIFICATION,
    )
    yield "the explanation names no tensor", not spec.tensor
    sizes = [spec.channels, *spec.positions]
    yield (
        f"the explanation has {spec.channels} channels and the positions {list(spec.positions)}; "
        f"it needs 1 to {_MAX_POSITION_DIMENSIONS} dimensions of positions, and sizes start at 1",
        not 1 <= len(spec.positions) <= _MAX_POSITION_DIMENSIONS or min(sizes) < 1,
    )
    names = {manifest.input.name, *(spec.name for spec in manifest.feature_maps)}
    for name in _EXPLANATION:
        yield (
            f"an input or a feature map is named {name!r}, which is a name of the explanation",
            name in names,
        )


def _quantization(manifest: pb.ModelManifest) -> Iterator[Check]:
    if not manifest.HasField("quantization"):
        return
    spec = manifest.quantization
    yield (
        f"the manifest has a quantization and schema version {manifest.schema_version}; "
        f"quantizations need {QUANTIZED_SCHEMA_VERSION}",
        manifest.schema_version < QUANTIZED_SCHEMA_VERSION,
    )
    precision = enum_name(pb.Precision.DESCRIPTOR, manifest.precision)
    yield (
        f"the manifest has a quantization and {precision}; it must be PRECISION_INT8",
        manifest.precision != pb.PRECISION_INT8,
    )
    yield (
        "the quantization names no parent; it must be MODEL/VERSION",
        not manifest.provenance.parent,
    )
    yield (
        f"the quantization has {spec.layers} layers and {spec.fp32_layers} of them in FP32; at "
        "least one must be quantized",
        not 0 <= spec.fp32_layers < spec.layers,
    )
    counts = (spec.calibration_inputs, spec.held_out_inputs)
    yield (
        f"the quantization states {counts[0]} calibration inputs and {counts[1]} held-out inputs; "
        "it needs at least 1 of each",
        min(counts) < 1,
    )
