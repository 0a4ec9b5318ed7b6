"""What a manifest may not leave open or say against itself or its place."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from convscope.exporter.bundles.writer import MODEL_NAME
from convscope.v1 import manifest_pb2 as pb

__all__ = ["manifest_problems"]

SCHEMA_VERSION = 1
MAX_SIDE = 2**16
_CHANNELS = {pb.COLOR_MODE_RGB: 3, pb.COLOR_MODE_GRAY: 1}


def manifest_problems(manifest: pb.ModelManifest, directory: Path) -> list[str]:
    """List what is wrong with a manifest; empty for a good one."""
    checks = [*_place(manifest, directory.resolve()), *_answers(manifest), *_input(manifest)]
    return [problem for problem, holds in checks if holds]


def _place(manifest: pb.ModelManifest, directory: Path) -> Iterator[tuple[str, bool]]:
    version = manifest.schema_version
    yield f"its schema version is {version}, not {SCHEMA_VERSION}", version != SCHEMA_VERSION
    name = manifest.model
    yield f"{name!r} can't be a model's name", not MODEL_NAME.fullmatch(name)
    stated, place = f"{name}/{manifest.version}", f"{directory.parent.name}/{directory.name}"
    yield f"it is of {stated} and lies in {place}", stated != place


def _answers(manifest: pb.ModelManifest) -> Iterator[tuple[str, bool]]:
    names = [spec.name for spec in manifest.feature_maps]
    classifies = manifest.task == pb.TASK_CLASSIFICATION
    known = (pb.TASK_CLASSIFICATION, pb.TASK_FEATURE_EXTRACTION)
    yield "the task is not known", manifest.task not in known
    yield "the precision is not known", not _known(pb.Precision.values(), manifest.precision)
    yield "a classifier has no labels", classifies and not manifest.labels
    activations = (pb.ACTIVATION_SOFTMAX, pb.ACTIVATION_SIGMOID)
    odd = classifies and manifest.activation not in activations
    yield "a classifier's activation is not known", odd
    yield "it has neither classes nor feature maps", not classifies and not names
    yield "two feature maps have one name", len(set(names)) != len(names)
    smallest = (min(one.channels, one.height, one.width) for one in manifest.feature_maps)
    yield "a feature map has an empty shape", min(smallest, default=1) < 1
    yield "there are no golden inputs", manifest.golden.inputs < 1
    tolerance = manifest.golden.probability_tolerance
    yield "the golden tolerance is not between 0 and 1", not 0 < tolerance < 1


def _input(manifest: pb.ModelManifest) -> Iterator[tuple[str, bool]]:
    spec, rule = manifest.input, manifest.preprocessing
    yield "the input's kind is not known", not _known(pb.InputKind.values(), spec.kind)
    yield "the input's shape is empty", not spec.shape or min(spec.shape) < 1
    if spec.kind != pb.INPUT_KIND_IMAGE:
        yield "the input is a tensor and not float32", spec.dtype != pb.DATA_TYPE_FLOAT32
        return
    if spec.dtype != pb.DATA_TYPE_UINT8 or len(spec.shape) != 3:
        yield "the input is an image and not uint8 [height, width, channels]", True
        return
    height, width, channels = spec.shape
    fits = channels == _CHANNELS.get(rule.color_mode)
    yield "the colour mode doesn't fit the channels", not fits
    yield (
        "the interpolation is not known",
        not _known(pb.Interpolation.values(), rule.interpolation),
    )
    yield "the resize rule is not known", not _known(pb.ResizeRule.values(), rule.resize.rule)
    small = (
        rule.resize.height < height or rule.resize.width < width
        if rule.resize.rule == pb.RESIZE_RULE_EXACT
        else rule.resize.shortest_edge < max(height, width)
    )
    sides = (rule.resize.shortest_edge, rule.resize.height, rule.resize.width)
    yield "the image is resized to more than any picture has", max(sides) > MAX_SIDE
    yield "the image is resized to less than the graph's input", small


def _known(known: Iterable[int], value: int) -> bool:
    # Proto enums are open: a number of a later schema parses.
    return value != 0 and value in known
