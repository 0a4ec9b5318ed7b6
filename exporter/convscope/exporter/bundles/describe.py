"""What a bundle's pyramid is: each feature map's shape, sight and cost."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from convscope.bundle.graph_contract import check_graph, parse_graph
from convscope.bundle.nonfinite import nonfinite_line
from convscope.bundle.precision import precision_line
from convscope.bundle.preprocessing import preprocessing_line
from convscope.bundle.reader import Bundle
from convscope.exporter.bundles.reader import open_bundle, preprocess
from convscope.exporter.errors import ExporterError, ImageError, reason
from convscope.exporter.explanations.removal import remove_explanation
from convscope.exporter.pyramid.facts import feature_map_facts
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Heat", "Level", "Pyramid", "read_photo", "read_pyramid"]


@dataclass(frozen=True, slots=True)
class Level:
    """A feature map, or the classes at the end.

    Args:
        name: The output's name.
        shape: Channels, height and width; of the classes, their number.
        stride: The distance of two neighbouring cells, in cells of the input;
            None for the classes.
        receptive_field: How many cells of the input one cell depends on along
            an axis; None for the whole input.
        parameters: Up to here.
        multiply_adds: For one input, up to here.
        source: The tensor of the imported graph, or the module of the network, whose output it
            is; empty for the classes.
    """

    name: str
    shape: tuple[int, ...]
    stride: float | None
    receptive_field: int | None
    parameters: int
    multiply_adds: int
    source: str = ""


@dataclass(frozen=True, slots=True)
class Heat:
    """How the graph explains a class.

    Args:
        tensor: The tensor that the logits are differentiated by.
        shape: Its channels and positions.
        linear: Whether the heat of a class adds up to its logit, but for a constant.
    """

    tensor: str
    shape: tuple[int, ...]
    linear: bool


@dataclass(frozen=True, slots=True)
class Pyramid:
    """What a bundle computes, from the input to the classes.

    Args:
        model: The model's name.
        version: Its version.
        architecture: The network's name.
        input: The input's shape without the batch: [height, width, channels]
            for an image.
        is_image: Whether it is one.
        preprocessing: How the input is prepared, in one line.
        assumed: Whether the exporter assumed the preprocessing.
        nonfinite: The inputs with NaN or infinity, in one line; empty if every
            result is finite.
        levels: The feature maps, and the classes if there are any.
        explanation: How the graph explains a class; None if it doesn't.
        precision: The precision of the graph, and how it was quantized, in one line.
        parameters: The parameters of the network, as the manifest records them.
    """

    model: str
    version: int
    architecture: str
    input: tuple[int, ...]
    is_image: bool
    preprocessing: str
    assumed: bool
    nonfinite: str
    levels: tuple[Level, ...]
    explanation: Heat | None
    precision: str
    parameters: int

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def read_pyramid(directory: Path) -> Pyramid:
    """Read a bundle's pyramid.

    Raises:
        BundleRejectedError: The bundle is damaged.
        ExporterError: A shape of its graph can't be inferred.
    """
    bundle = open_bundle(directory)
    manifest = bundle.manifest
    model = parse_graph(bundle.read_graph())
    check_graph(model, manifest)
    remove_explanation(model)
    shapes: dict[str, tuple[int, ...]] = {
        spec.name: (spec.channels, spec.height, spec.width) for spec in manifest.feature_maps
    }
    if manifest.task == pb.TASK_CLASSIFICATION:
        shapes["logits"] = (len(manifest.labels),)
    facts = feature_map_facts(model, shapes)
    sources = {spec.name: spec.module for spec in manifest.feature_maps}
    return Pyramid(
        model=manifest.model,
        version=manifest.version,
        architecture=manifest.provenance.architecture,
        input=tuple(manifest.input.shape),
        is_image=manifest.input.kind == pb.INPUT_KIND_IMAGE,
        preprocessing=preprocessing_line(manifest),
        assumed=manifest.preprocessing.assumed,
        nonfinite=nonfinite_line(manifest),
        levels=tuple(
            Level(
                name=name,
                shape=shape,
                stride=facts[name].stride if len(shape) > 1 else None,
                receptive_field=facts[name].receptive_field,
                parameters=facts[name].parameters,
                multiply_adds=facts[name].multiply_adds,
                source=sources.get(name, ""),
            )
            for name, shape in shapes.items()
        ),
        explanation=_heat(manifest) if manifest.HasField("explanation") else None,
        precision=precision_line(manifest),
        parameters=manifest.provenance.parameters,
    )


def _heat(manifest: pb.ModelManifest) -> Heat:
    spec = manifest.explanation
    return Heat(spec.tensor, (spec.channels, *spec.positions), spec.linear)


def read_photo(directory: Path, photo: Path | None = None) -> Image.Image | None:
    """A photo as the bundle's graph gets it; None if it takes no images.

    Args:
        directory: The version's directory.
        photo: The photo's file; None for the first golden input.

    Raises:
        BundleRejectedError: The bundle is damaged.
        ExporterError: The photo can't be read.
    """
    bundle = open_bundle(directory)
    manifest = bundle.manifest
    if manifest.input.kind != pb.INPUT_KIND_IMAGE:
        return None
    try:
        encoded = _first_golden(bundle) if photo is None else photo.read_bytes()
        pixels = preprocess(manifest, encoded)  # uint8 [H, W, C]
    except (OSError, ImageError) as error:
        name = "the first golden input" if photo is None else photo
        raise ExporterError(f"{name} can't be read as an image: {reason(error)}") from error
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _first_golden(bundle: Bundle) -> bytes:
    return bundle.read_golden().inputs[0].tobytes()
