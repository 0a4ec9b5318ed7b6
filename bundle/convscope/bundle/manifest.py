"""The manifest: parse it, and check that it is complete and consistent."""

import json
from collections import Counter
from collections.abc import Iterator

from google.protobuf import json_format
from google.protobuf.descriptor import EnumDescriptor

from convscope.bundle.errors import BundleRejectedError, reason_of
from convscope.bundle.layout import LISTED_FILES, MANIFEST, is_model_name
from convscope.v1 import manifest_pb2 as pb

__all__ = [
    "EXPLAINED_SCHEMA_VERSION",
    "QUANTIZED_SCHEMA_VERSION",
    "SCHEMA_VERSION",
    "check_files",
    "check_manifest",
    "parse_manifest",
    "write_manifest",
]

SCHEMA_VERSION = 1
# Earlier releases run a graph without its input "classes" and can't use it.
EXPLAINED_SCHEMA_VERSION = 2
# Earlier releases don't know what was quantized, or by which data.
QUANTIZED_SCHEMA_VERSION = 3
_SCHEMA_VERSIONS = (SCHEMA_VERSION, EXPLAINED_SCHEMA_VERSION, QUANTIZED_SCHEMA_VERSION)
MAX_SIDE = 2**16
MAX_GOLDEN_INPUTS = 256
MAX_FEATURE_MAPS = 10_000
_MAX_SHOWN_CHARACTERS = 200
_FIX = "export the bundle again"

# Proto enums are open: a number of a later schema parses.
_TASKS = (pb.TASK_CLASSIFICATION, pb.TASK_FEATURE_EXTRACTION)
_ACTIVATIONS = (pb.ACTIVATION_SOFTMAX, pb.ACTIVATION_SIGMOID)
_PRECISIONS = (pb.PRECISION_FP32, pb.PRECISION_FP16, pb.PRECISION_INT8)
_KINDS = (pb.INPUT_KIND_IMAGE, pb.INPUT_KIND_TENSOR)
_INTERPOLATIONS = (
    pb.INTERPOLATION_BILINEAR,
    pb.INTERPOLATION_BICUBIC,
    pb.INTERPOLATION_LANCZOS,
)
_RESIZE_RULES = (pb.RESIZE_RULE_SHORTEST_EDGE, pb.RESIZE_RULE_EXACT, pb.RESIZE_RULE_FIT)
_PLACEMENTS = (pb.PLACEMENT_CENTER, pb.PLACEMENT_TOP_LEFT)
_WHITE = 255
_CHANNELS = {pb.COLOR_MODE_RGB: 3, pb.COLOR_MODE_GRAY: 1}
# Outputs of every classifier.
_HEADS = ("logits", "probabilities")
# The input and the outputs of an explanation.
_EXPLANATION = ("classes", "heat", "heat_classes")
_MAX_POSITION_DIMENSIONS = 3

Check = tuple[str, bool]
"""A problem, and whether the manifest has it."""


def parse_manifest(data: bytes) -> pb.ModelManifest:
    """Parse a manifest's JSON without checking its content.

    Raises:
        BundleRejectedError: It isn't a manifest, or one of a later schema.
    """
    try:
        return json_format.Parse(data, pb.ModelManifest())
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        _check_schema(_stated_schema(data))
        reason = reason_of(error)[:200].rstrip(".")
        raise BundleRejectedError(
            "manifest", f"{MANIFEST} is not a manifest: {reason}; {_FIX}"
        ) from error


def write_manifest(manifest: pb.ModelManifest) -> bytes:
    """Return the bytes of a manifest.json."""
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True)
    return f"{text}\n".encode()


def check_manifest(manifest: pb.ModelManifest, model: str, version: str) -> None:
    """Check that a manifest is complete, consistent, and belongs to its directory.

    Args:
        manifest: The manifest.
        model: The name of the model's directory.
        version: The name of the version's directory.

    Raises:
        BundleRejectedError: It isn't.
    """
    _check_schema(manifest.schema_version)
    if not is_model_name(manifest.model) or (manifest.model, str(manifest.version)) != (
        model,
        version,
    ):
        stated = f"{manifest.model[:_MAX_SHOWN_CHARACTERS]} v{manifest.version}"
        raise BundleRejectedError(
            "manifest",
            f"the manifest is of {stated}, the directory of {model} v{version}; move the bundle "
            "to the directory of its own model and version, or publish it under another number",
        )
    check_files(manifest)
    for problem, found in (
        *_classes(manifest),
        *_feature_maps(manifest),
        *_input(manifest),
        *_explanation(manifest),
        *_quantization(manifest),
    ):
        if found:
            raise BundleRejectedError("manifest", f"{problem}; {_FIX}")


def check_files(manifest: pb.ModelManifest) -> None:
    """Check that a manifest lists the files of a bundle, each once, and nothing else.

    Raises:
        BundleRejectedError: It doesn't.
    """
    listed = sorted(file.name for file in manifest.files)
    if listed != sorted(LISTED_FILES):
        found = ", ".join(listed)[:_MAX_SHOWN_CHARACTERS] or "no files"
        expected = " and ".join(LISTED_FILES)
        raise BundleRejectedError(
            "manifest", f"the manifest lists {found}; it must list {expected}; {_FIX}"
        )


def _check_schema(version: int) -> None:
    """Check that this release reads a schema version."""
    if version not in _SCHEMA_VERSIONS:
        *others, last = map(str, _SCHEMA_VERSIONS)
        raise BundleRejectedError(
            "manifest",
            f"the manifest has schema version {version}; this release reads "
            f"{', '.join(others)} and {last}, so export the bundle again or install the release "
            "that made it",
        )


def _stated_schema(data: bytes) -> int:
    """Return the schema version of a manifest that doesn't parse: a later one has more fields."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return SCHEMA_VERSION
    version = found.get("schema_version") if isinstance(found, dict) else None
    return version if isinstance(version, int) else SCHEMA_VERSION


def _classes(manifest: pb.ModelManifest) -> Iterator[Check]:
    classifies = manifest.task == pb.TASK_CLASSIFICATION
    yield _unknown("task", manifest.task, pb.Task.DESCRIPTOR, _TASKS)
    yield _unknown("precision", manifest.precision, pb.Precision.DESCRIPTOR, _PRECISIONS)
    yield (
        "a classifier has no labels; it needs one for each class",
        (classifies and not manifest.labels),
    )
    problem, unknown = _unknown(
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
        shown = name[:_MAX_SHOWN_CHARACTERS]
        yield f"two feature maps are named {shown!r}; each needs its own name", count > 1
        yield (
            f"a feature map is named {shown!r}, which is another output's name",
            (classifies and name in _HEADS),
        )
    for spec in manifest.feature_maps:
        shape = (spec.channels, spec.height, spec.width)
        shown = spec.name[:_MAX_SHOWN_CHARACTERS]
        yield (
            f"the feature map {shown!r} has the shape {list(shape)}; sizes start at 1",
            (min(shape) < 1),
        )


def _input(manifest: pb.ModelManifest) -> Iterator[Check]:
    spec = manifest.input
    yield _unknown("input's kind", spec.kind, pb.InputKind.DESCRIPTOR, _KINDS)
    yield (
        f"the input has the shape {list(spec.shape)}; it needs sizes of at least 1",
        (not spec.shape or min(spec.shape) < 1),
    )
    if spec.kind != pb.INPUT_KIND_IMAGE:
        dtype = _name(pb.DataType.DESCRIPTOR, spec.dtype)
        yield (
            f"the input is a tensor of {dtype}; it must be DATA_TYPE_FLOAT32",
            (spec.dtype != pb.DATA_TYPE_FLOAT32),
        )
    elif spec.dtype != pb.DATA_TYPE_UINT8 or len(spec.shape) != 3:
        dtype = _name(pb.DataType.DESCRIPTOR, spec.dtype)
        yield (
            f"the input is an image of {dtype} {list(spec.shape)}; it must be DATA_TYPE_UINT8 "
            "[height, width, channels]",
            True,
        )
    else:
        yield from _preprocessing(manifest.preprocessing, *spec.shape)


def _preprocessing(
    rule: pb.Preprocessing, height: int, width: int, channels: int
) -> Iterator[Check]:
    yield _unknown("color mode", rule.color_mode, pb.ColorMode.DESCRIPTOR, tuple(_CHANNELS))
    mode = _name(pb.ColorMode.DESCRIPTOR, rule.color_mode)
    yield (
        f"{mode} doesn't fit an input of {channels} channels",
        (channels != _CHANNELS.get(rule.color_mode)),
    )
    yield _unknown(
        "interpolation", rule.interpolation, pb.Interpolation.DESCRIPTOR, _INTERPOLATIONS
    )
    yield from _resize(rule.resize, height, width, channels)


def _resize(resize: pb.Resize, height: int, width: int, channels: int) -> Iterator[Check]:
    yield _unknown("resize rule", resize.rule, pb.ResizeRule.DESCRIPTOR, _RESIZE_RULES)
    if resize.rule == pb.RESIZE_RULE_FIT:
        yield from _padding(resize.padding, channels)
        return
    largest = max(resize.shortest_edge, resize.height, resize.width)
    yield (
        f"images are resized to {largest:,} pixels; at most {MAX_SIDE:,} are allowed",
        (largest > MAX_SIDE),
    )
    if resize.rule == pb.RESIZE_RULE_EXACT:
        target, small = (
            f"{resize.height}x{resize.width}",
            resize.height < height or resize.width < width,
        )
    else:
        target, small = str(resize.shortest_edge), resize.shortest_edge < max(height, width)
    yield f"images are resized to {target}, less than the graph's input of {height}x{width}", small


def _padding(padding: pb.Padding, channels: int) -> Iterator[Check]:
    yield _unknown("placement", padding.placement, pb.Placement.DESCRIPTOR, _PLACEMENTS)
    color = list(padding.color)
    yield (
        f"the padding has the color {color[: channels + 1]}; it must have {channels} values of 0 "
        f"to {_WHITE}",
        len(color) != channels or max(color) > _WHITE,
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
    precision = _name(pb.Precision.DESCRIPTOR, manifest.precision)
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


def _unknown(field: str, value: int, enum: EnumDescriptor, allowed: tuple[int, ...]) -> Check:
    names = " or ".join(_name(enum, one) for one in allowed)
    return f"the {field} is {_name(enum, value)}; it must be {names}", value not in allowed


def _name(enum: EnumDescriptor, value: int) -> str:
    known = enum.values_by_number.get(value)
    return str(value) if known is None else known.name
