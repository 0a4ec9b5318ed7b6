"""The inputs and outputs of a model, in the protocol's terms.

A model has up to three names. Some clients request every output that the metadata lists,
so feature maps and explanations have their own names: "resnet50" returns the classes,
"resnet50.features" the feature maps, and "resnet50.explain" the heat of the classes that a
second input states. The name of a model in a repository can't contain a dot.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.errors import NotFoundError
from convscope.server.repository.catalog import Target
from convscope.server.runtime.graph import CLASSES, HEAT, HEAT_CLASSES, LOGITS, PROBABILITIES
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import manifest_pb2 as mpb

__all__ = [
    "BYTES",
    "EXPLAIN_SUFFIX",
    "FEATURES_SUFFIX",
    "LOGITS",
    "PROBABILITIES",
    "Contract",
    "Contracts",
    "Datatype",
    "ModelName",
    "TensorSpec",
    "target",
]

FEATURES_SUFFIX, EXPLAIN_SUFFIX = ".features", ".explain"
# A dimension that depends on the request.
_ANY = -1
# The digits of the largest version number; a longer number is looked up as an alias.
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Datatype:
    """An element type.

    Args:
        name: Its name in requests and metadata.
        config: Its value in a ModelConfig.
        numpy: Its numpy type.
        contents: The field of InferTensorContents that contains it.
    """

    name: str
    config: pb.DataType.ValueType
    numpy: np.dtype[np.generic]
    contents: str


BYTES = "BYTES"
FP32 = Datatype("FP32", pb.TYPE_FP32, np.dtype("<f4"), "fp32_contents")
INT64 = Datatype("INT64", pb.TYPE_INT64, np.dtype("<i8"), "int64_contents")
# The types that the input of a bundle can have.
_DATATYPES: dict[int, Datatype] = {
    mpb.DATA_TYPE_UINT8: Datatype("UINT8", pb.TYPE_UINT8, np.dtype(np.uint8), "uint_contents"),
    mpb.DATA_TYPE_FLOAT32: FP32,
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or an output; its shape is without the batch dimension.

    A dimension of -1 is the number of explained classes.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    def for_targets(self, count: int) -> "TensorSpec":
        """Return the specification for a number of explained classes."""
        shape = tuple(count if size == _ANY else size for size in self.shape)
        return replace(self, shape=shape)


@dataclass(frozen=True, slots=True)
class Contract:
    """The inputs and outputs of one version under one of its names.

    Args:
        name: The name.
        input: Its input.
        accepts_images: Whether the input may also be encoded images.
        outputs: Its outputs, by name.
        returns_features: Whether the outputs are feature maps.
        head: The serialized fields of a reply that name the model and the version.
        classes: The input that states which classes are explained; None without explanations.
    """

    name: str
    input: TensorSpec
    accepts_images: bool
    outputs: Mapping[str, TensorSpec]
    returns_features: bool
    head: bytes
    classes: TensorSpec | None = None


@dataclass(frozen=True, slots=True)
class ModelName:
    """The parsed model name of a request.

    Args:
        model: The model of the repository.
        suffix: What follows if the name is that of its feature maps or explanations.
    """

    model: str
    suffix: str = ""

    @classmethod
    def parse(cls, name: str) -> "ModelName":
        """Parse a name."""
        if "." in name:
            for suffix in (FEATURES_SUFFIX, EXPLAIN_SUFFIX):
                if name.endswith(suffix):
                    return cls(name.removesuffix(suffix), suffix)
        return cls(name)

    def __str__(self) -> str:
        return self.model + self.suffix


class Contracts:
    """The contracts of the loaded versions, each made once, because reading manifests is slow."""

    def of(self, version: LoadedVersion, name: ModelName) -> Contract:
        """Return the contract of a version under a name.

        Raises:
            NotFoundError: The name is that of feature maps or explanations, and the version has
                none.
        """
        key = (Contract, name.suffix)
        contract: Contract | None = version.derived.get(key)
        if contract is None:
            contract = version.derived[key] = _make(version, name)
        return contract


def target(model: str, version: str, key: str = "") -> Target:
    """Return the target of a request.

    The protocol has no aliases; a `model_version` that isn't a number names one of ours.

    Args:
        model: The model of the repository.
        version: The `model_version`: a number, an alias, or empty.
        key: The request's routing key.
    """
    if not version:
        return Target(model, key=key)
    if version.isascii() and version.isdigit() and len(version) <= _MAX_DIGITS:
        return Target(model, number=int(version), key=key)
    return Target(model, alias=version, key=key)


def _make(version: LoadedVersion, name: ModelName) -> Contract:
    manifest = version.manifest
    if name.suffix == FEATURES_SUFFIX and not manifest.feature_maps:
        raise NotFoundError(
            f"{manifest.model} v{manifest.version} has no feature maps, so {str(name)!r} "
            f"is not a model; use {manifest.model!r}"
        )
    explains = name.suffix == EXPLAIN_SUFFIX
    if explains and (why := _unexplained(version)):
        raise NotFoundError(
            f"{manifest.model} v{manifest.version} has no explanations{why}; so {str(name)!r} "
            f"is not a model; use {manifest.model!r}"
        )
    # A feature extractor has no other outputs.
    returns_features = name.suffix == FEATURES_SUFFIX or manifest.task != mpb.TASK_CLASSIFICATION
    spec = TensorSpec(
        manifest.input.name, _DATATYPES[manifest.input.dtype], tuple(manifest.input.shape)
    )
    outputs = _feature_maps(manifest) if returns_features else _classes(manifest)
    if explains:
        outputs = _explanations(manifest)
    accepts_images = manifest.input.kind == mpb.INPUT_KIND_IMAGE
    head = pb.ModelInferResponse(model_name=str(name), model_version=str(manifest.version))
    return Contract(
        str(name),
        spec,
        accepts_images,
        outputs,
        returns_features,
        head.SerializeToString(),
        TensorSpec(CLASSES, INT64, (_ANY,)) if explains else None,
    )


def _unexplained(version: LoadedVersion) -> str:
    """Return why a version has no explanations, to append to a message; empty if it has."""
    if version.model.unexplained is not None:
        return f": {version.model.unexplained}"
    if version.manifest.HasField("explanation"):
        return ""
    return " (to add them, use 'convscope-exporter explain')"


def _classes(manifest: mpb.ModelManifest) -> dict[str, TensorSpec]:
    shape = (len(manifest.labels),)
    return {name: TensorSpec(name, FP32, shape) for name in (LOGITS, PROBABILITIES)}


def _explanations(manifest: mpb.ModelManifest) -> dict[str, TensorSpec]:
    specs = [
        TensorSpec(PROBABILITIES, FP32, (len(manifest.labels),)),
        TensorSpec(HEAT, FP32, (_ANY, *manifest.explanation.positions)),
        TensorSpec(HEAT_CLASSES, INT64, (_ANY,)),
    ]
    return {spec.name: spec for spec in specs}


def _feature_maps(manifest: mpb.ModelManifest) -> dict[str, TensorSpec]:
    return {
        spec.name: TensorSpec(spec.name, FP32, (spec.channels, spec.height, spec.width))
        for spec in manifest.feature_maps
    }
