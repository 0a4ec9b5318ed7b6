"""What every actor of a bulk run does, and the columns of its results."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from convscope.bundle.addresses import local_path
from convscope.bundle.errors import RepositoryError, UnknownNameError
from convscope.bundle.opening import open_repository
from convscope.bundle.repository import Repository
from convscope.bundle.suggestions import it_has
from convscope.client import (
    Client,
    FailedPreconditionError,
    InvalidInputError,
    ModelInfo,
    NotFoundError,
)
from convscope.client.cli.outputs.columns import Columns

__all__ = ["ERROR_COLUMNS", "INPUT_SCHEMA", "METADATA_KEY", "Job", "plan_job"]

LAST = "last"
# Nobody waits for a single image of a bulk run, and a slow machine must not lose any.
TIMEOUT_SECONDS = 600.0
METADATA_KEY = b"convscope"
"""Of the options in the metadata of an output, by which a later run recognizes them."""

INPUT_SCHEMA = pa.schema([("image", pa.string()), ("content", pa.binary()), ("error", pa.string())])
"""The name of each image with its encoded content, or the reason why it can't be read."""

ERROR_COLUMNS = ("error_code", "error")
_ARROW_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64()}


@dataclass(frozen=True)
class Job:
    """One version of a model, and what is wanted from it.

    Args:
        models: The repository, as an absolute path or a URL.
        model: The model's name.
        version: Its version.
        top_k: How many classes an image gets at most.
        classes: How many the columns of the output have room for.
        layer: The feature map whose channels are averaged; empty for none.
        channels: How many channels it has.
        settings: Settings of the server in each actor.
        alias: The alias that chose the version, if one did.
    """

    models: str
    model: str
    version: int
    top_k: int
    classes: int
    layer: str
    channels: int
    settings: Mapping[str, Any]
    alias: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What the results of one output have in common, by flag."""
        return {
            "--model": self.model,
            "--alias": self.alias,
            "--version": self.version,
            "--top-k": self.top_k,
            "--embeddings": self.layer or None,
        }

    @cached_property
    def columns(self) -> Columns:
        """The columns of `convscope classify`."""
        return Columns("wide", self.classes)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the output, and the options in its metadata."""
        fields = [(name, _ARROW_TYPES[kind]) for name, kind in self.columns.types.items()]
        if self.layer:
            fields.append(("embedding", pa.list_(pa.float32(), self.channels)))
        return pa.schema(fields, metadata={METADATA_KEY: json.dumps(self.options)})

    @property
    def schema_with_errors(self) -> pa.Schema:
        """The columns of what an actor returns."""
        return pa.schema([*self.schema, *((name, pa.string()) for name in ERROR_COLUMNS)])

    def open(self) -> Client:
        """Load the version in this process.

        Raises:
            ConvscopeError: It can't be loaded.
        """
        return _open(self.models, self.model, self.version, self.settings)


def plan_job(
    models: str,
    model: str,
    *,
    version: int | None,
    alias: str | None,
    top_k: int,
    layer: str | None,
    settings: Mapping[str, Any],
) -> Job:
    """Load the model once, to find the version and to check the options.

    It is loaded on the CPU: the machine that starts a run needs no GPU.

    Raises:
        ConvscopeError: There is no such model, version, alias or feature map, the bundle is
            rejected, or its input is no image.
    """
    path = local_path(models)
    models = models if path is None else str(path.expanduser().absolute())
    with _open_first(models, model, version) as client:
        info = client.model(model, version=version, alias=alias)
    if info.input.kind != "image":
        raise InvalidInputError(
            f"the input of {info.model} v{info.version} is a {info.input.kind}, and a bulk run "
            "classifies images; classify tensors in Python with Client.local"
        )
    name, channels = _feature_map(info, layer)
    classes = min(top_k, len(info.labels))
    return Job(models, model, info.version, top_k, classes, name, channels, settings, alias)


def _open_first(models: str, model: str, version: int | None) -> Client:
    """Load the version on the CPU, or say why it doesn't exist, in the options of this command."""
    try:
        return _open(models, model, version, {})
    except (FailedPreconditionError, NotFoundError):
        with suppress(RepositoryError):  # then the error of loading says more
            _check_exists(open_repository(models), model, version)
        raise


def _check_exists(repository: Repository, model: str, version: int | None) -> None:
    """Check that a repository with models has the one that is named, and its version."""
    if not repository.models():
        return
    try:
        known = repository.require_model(model)
    except UnknownNameError as error:
        raise InvalidInputError(str(error)) from error
    if version is not None and version not in known:
        raise InvalidInputError(
            f"--version {version}: there is no such version of {model}; "
            f"{it_has([str(number) for number in known])}"
        )


def _open(models: str, model: str, version: int | None, settings: Mapping[str, Any]) -> Client:
    chosen = {} if version is None else {"versions": f"={version}"}
    # A version that is published during a run has no part in it.
    values = {"load": model, "poll_seconds": 0, **chosen, **settings}
    return Client.local(models, model=model, settings=values, timeout_seconds=TIMEOUT_SECONDS)


def _feature_map(info: ModelInfo, layer: str | None) -> tuple[str, int]:
    """Return the name and the channels of a feature map."""
    if layer is None:
        return "", 0
    channels = {spec.name: spec.channels for spec in info.feature_maps}
    shown = f"{info.model} v{info.version}"
    if not channels:
        raise InvalidInputError(f"{shown} has no feature maps, so it has no embeddings either")
    if layer == LAST:
        layer = info.feature_maps[-1].name
    if layer not in channels:
        raise InvalidInputError(
            f"no feature map {layer!r} in {shown}; it has: {', '.join(channels)}"
        )
    return layer, channels[layer]
