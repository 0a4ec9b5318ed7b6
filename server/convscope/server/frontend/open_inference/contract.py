"""What goes into a model and what comes out, in the protocol's terms.

A model answers under two names. Some clients ask for every output that the
metadata lists, so that the feature maps have a name of their own: under
"resnet50" there are the classes, under "resnet50.features" the feature maps.
No model of a repository can have a dot in its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from convscope.server.errors import NotFoundError
from convscope.server.frontend.open_inference import open_inference_pb2 as pb
from convscope.server.repository.catalog import Target
from convscope.server.runtime.versions import LoadedVersion
from convscope.v1 import manifest_pb2 as mpb

__all__ = [
    "BYTES",
    "LOGITS",
    "PROBABILITIES",
    "Contract",
    "Contracts",
    "Datatype",
    "ModelName",
    "TensorSpec",
    "target",
]

LOGITS, PROBABILITIES = "logits", "probabilities"
FEATURES_SUFFIX = ".features"
# What a version number has at most; a longer one is looked up as an alias, in vain.
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Datatype:
    """A type of elements.

    Args:
        name: Its name in requests and metadata.
        config: Its value in a ModelConfig.
        numpy: What it is to numpy.
        contents: The field of InferTensorContents that holds it.
    """

    name: str
    config: pb.DataType.ValueType
    numpy: np.dtype[np.generic]
    contents: str


BYTES = "BYTES"
FP32 = Datatype("FP32", pb.TYPE_FP32, np.dtype("<f4"), "fp32_contents")
# The types that the input of a bundle can have.
_DATATYPES: dict[int, Datatype] = {
    mpb.DATA_TYPE_UINT8: Datatype("UINT8", pb.TYPE_UINT8, np.dtype(np.uint8), "uint_contents"),
    mpb.DATA_TYPE_FLOAT32: FP32,
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or an output; its shape is without the batch dimension."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Contract:
    """What one version takes and gives under one of its names.

    Args:
        name: The name.
        input: What it takes.
        takes_images: Whether it takes encoded images too.
        outputs: What it gives, by name.
        gives_features: Whether these are feature maps.
    """

    name: str
    input: TensorSpec
    takes_images: bool
    outputs: Mapping[str, TensorSpec]
    gives_features: bool


@dataclass(frozen=True, slots=True)
class ModelName:
    """A name that a request gives, taken apart.

    Args:
        model: The model of the repository.
        features: Whether its feature maps are meant.
    """

    model: str
    features: bool

    @classmethod
    def parse(cls, name: str) -> "ModelName":
        """Take a name apart."""
        model = name.removesuffix(FEATURES_SUFFIX)
        return cls(model, model != name)

    def __str__(self) -> str:
        return self.model + FEATURES_SUFFIX * self.features


class Contracts:
    """The contracts of the versions that answer, each made once: manifests are slow to read."""

    def __init__(self) -> None:
        self._made: WeakKeyDictionary[LoadedVersion, dict[bool, Contract]] = WeakKeyDictionary()

    def of(self, version: LoadedVersion, name: ModelName) -> Contract:
        """Give the contract of a version under a name.

        Raises:
            NotFoundError: The name means feature maps, and it has none.
        """
        made = self._made.setdefault(version, {})
        if name.features not in made:
            made[name.features] = _make(version, name)
        return made[name.features]


def target(model: str, version: str, key: str = "") -> Target:
    """Name the version that a request means.

    The protocol has no aliases, and nothing else to mean by a `model_version`
    that isn't a number.

    Args:
        model: The model of the repository.
        version: The `model_version`: a number or an alias; empty for neither.
        key: What the request is recognised by.
    """
    if not version:
        return Target(model, key=key)
    if version.isascii() and version.isdigit() and len(version) <= _MAX_DIGITS:
        return Target(model, number=int(version), key=key)
    return Target(model, alias=version, key=key)


def _make(version: LoadedVersion, name: ModelName) -> Contract:
    manifest = version.manifest
    if name.features and not manifest.feature_maps:
        raise NotFoundError(
            f"{manifest.model} v{manifest.version} has no feature maps, and so there is no "
            f"model {str(name)!r}; ask {manifest.model!r}"
        )
    # A filter bank has nothing else to give.
    gives_features = name.features or manifest.task != mpb.TASK_CLASSIFICATION
    spec = TensorSpec(
        manifest.input.name, _DATATYPES[manifest.input.dtype], tuple(manifest.input.shape)
    )
    outputs = _feature_maps(manifest) if gives_features else _classes(manifest)
    takes_images = manifest.input.kind == mpb.INPUT_KIND_IMAGE
    return Contract(str(name), spec, takes_images, outputs, gives_features)


def _classes(manifest: mpb.ModelManifest) -> dict[str, TensorSpec]:
    shape = (len(manifest.labels),)
    return {name: TensorSpec(name, FP32, shape) for name in (LOGITS, PROBABILITIES)}


def _feature_maps(manifest: mpb.ModelManifest) -> dict[str, TensorSpec]:
    return {
        spec.name: TensorSpec(spec.name, FP32, (spec.channels, spec.height, spec.width))
        for spec in manifest.feature_maps
    }
