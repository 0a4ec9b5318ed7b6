"""Finds the bundles of a repository, loads them, and resolves what a request names."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter

import structlog

from convscope.server.bundle import MODEL_NAME, Bundle, read_bundle
from convscope.server.errors import BundleRefusedError, NotFoundError, UnavailableError
from convscope.server.execution import Execution
from convscope.server.golden import check_golden
from convscope.server.model import Model
from convscope.server.preprocess import ImageLimits, Preprocessor
from convscope.server.providers import ProviderPolicy
from convscope.server.tuning import Tuner
from convscope.v1 import manifest_pb2 as pb

__all__ = ["LoadedVersion", "Loader", "Refusal", "Repository", "load_repository"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class LoadedVersion:
    """A version that passed every gate.

    Args:
        model: Its sessions.
        preprocessor: Brings an encoded image to its input; None for tensors.
    """

    model: Model
    preprocessor: Preprocessor | None

    @property
    def manifest(self) -> pb.ModelManifest:
        """The manifest of its bundle."""
        return self.model.manifest

    @property
    def execution(self) -> Execution:
        """How it is run."""
        return self.model.execution

    # Read once: a protobuf field is slow to look into, call after call.

    @cached_property
    def key(self) -> tuple[str, int]:
        """The model's name and the version."""
        return self.manifest.model, self.manifest.version

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The name of each class."""
        return tuple(self.manifest.labels)

    @cached_property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the graph's input, without the batch dimension."""
        return tuple(self.manifest.input.shape)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that didn't, and why."""

    model: str
    version: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads one version: hashes, graph, session, golden gate, which also warms it up."""

    policy: ProviderPolicy
    limits: ImageLimits
    tuner: Tuner
    preload_feature_maps: bool = False

    def load(self, directory: Path) -> LoadedVersion:
        """Load the version of a directory.

        Raises:
            BundleRefusedError: It failed a check.
        """
        bundle = read_bundle(directory)
        model = Model(bundle, self.policy, self.tuner.choose)
        preprocessor = self._preprocessor(bundle)
        maps_only = bundle.manifest.task == pb.TASK_FEATURE_EXTRACTION
        if self.preload_feature_maps:
            model.load_feature_maps()
        check_golden(
            model, bundle, preprocessor, feature_maps=self.preload_feature_maps or maps_only
        )
        return LoadedVersion(model, preprocessor)

    def _preprocessor(self, bundle: Bundle) -> Preprocessor | None:
        spec = bundle.manifest.input
        if spec.kind != pb.INPUT_KIND_IMAGE:
            return None
        height, width, _ = spec.shape
        return Preprocessor(bundle.manifest.preprocessing, height, width, self.limits)


@dataclass
class Repository:
    """The versions that answer, and the reasons of those that don't."""

    versions: dict[str, dict[int, LoadedVersion]] = field(default_factory=dict)
    aliases: dict[str, Mapping[str, int]] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    def __iter__(self) -> Iterator[LoadedVersion]:
        for model in sorted(self.versions):
            for version in sorted(self.versions[model]):
                yield self.versions[model][version]

    @property
    def models(self) -> list[str]:
        """The name of every model that has a version here, ready or refused."""
        return sorted({*self.versions, *(refusal.model for refusal in self.refusals)})

    def is_ready(self, model: str) -> bool:
        """Whether some version of the model answers."""
        return bool(self.versions.get(model))

    def resolve(
        self, model: str, version: int | None = None, alias: str | None = None
    ) -> LoadedVersion:
        """Find the version that a request means.

        Raises:
            NotFoundError: There is no such model, version or alias.
            UnavailableError: The model is known, and none of its versions is ready.
        """
        ready = self.versions.get(model)
        if not ready:
            if model not in self.models:
                raise NotFoundError(
                    f"no model {_short(model)}; this server has: {_list(self.models)}"
                )
            raise UnavailableError(
                f"no version of {model} is ready; the server's log says what was refused"
            )
        if alias is not None:
            version = self.aliases.get(model, {}).get(alias)
            if version is None:
                known = ", ".join(sorted(self.aliases.get(model, {}))) or "none"
                raise NotFoundError(f"{model} has no alias {_short(alias)}; it has: {known}")
        elif version is None:
            return ready[max(ready)]
        if version not in ready:
            known = ", ".join(map(str, sorted(ready)))
            raise NotFoundError(f"{model} has no version {version} ready; it has: {known}")
        return ready[version]


def load_repository(root: Path, loader: Loader, *, latest: int) -> Repository:
    """Load the latest versions of every model, and those that an alias names.

    A version that is refused gives its place to the next older one.
    """
    repository = Repository()
    for directory in sorted(path for path in root.iterdir() if path.is_dir()):
        if MODEL_NAME.fullmatch(directory.name):
            _load_model(repository, directory, loader, latest)
    return repository


def _load_model(repository: Repository, directory: Path, loader: Loader, latest: int) -> None:
    name = directory.name
    aliases = _read_aliases(directory / "aliases.json")
    loaded: dict[int, LoadedVersion] = {}
    for version in _versions(directory):
        if len(loaded) >= latest and version not in aliases.values():
            continue
        try:
            loaded[version] = _load_version(directory / str(version), loader)
        except BundleRefusedError as error:
            repository.refusals.append(Refusal(name, version, error.reason, error.message))
            log.error(
                "bundle refused",
                model=name,
                version=version,
                reason=error.reason,
                message=error.message,
            )
    if loaded:
        repository.versions[name] = loaded
    repository.aliases[name] = aliases


def _load_version(directory: Path, loader: Loader) -> LoadedVersion:
    started_at = perf_counter()
    try:
        loaded = loader.load(directory)
    except OSError as error:
        raise BundleRefusedError("files", f"can't be read: {error.strerror}") from error
    except BundleRefusedError:
        raise
    except Exception as error:  # whatever a bundle does, the others are served
        log.exception("unforeseen error at load", model=directory.parent.name)
        raise BundleRefusedError(
            "unforeseen", f"the load failed with {type(error).__name__}; the log has the trace"
        ) from error
    log.info(
        "model ready",
        model=loaded.manifest.model,
        version=loaded.manifest.version,
        provider=loaded.model.provider,
        runners=loaded.execution.runners,
        threads=loaded.execution.threads,
        lone_threads=loaded.execution.lone_threads,
        max_batch=loaded.execution.max_batch,
        seconds=round(perf_counter() - started_at, 3),
    )
    return loaded


def _versions(directory: Path) -> list[int]:
    """The version numbers of a model's directory, the latest first."""
    names = (path.name for path in directory.iterdir() if path.is_dir())
    return sorted(
        (int(name) for name in names if name.isdecimal() and name[0] != "0"), reverse=True
    )


def _read_aliases(path: Path) -> dict[str, int]:
    if not path.exists():
        return {}
    try:
        aliases = json.loads(path.read_bytes())
        return {str(alias): int(version) for alias, version in aliases.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        log.exception("aliases can't be read", model=path.parent.name)
        return {}


def _short(name: str) -> str:
    """Quote a name of the caller's at a bounded length."""
    return repr(name if len(name) <= 80 else name[:80] + "…")


def _list(names: list[str]) -> str:
    """List names at a bounded length."""
    shown = ", ".join(names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"
