"""Load repositories in this process as the server does."""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from convscope.server.frontend.classifier.rehearsal import rehearse
from convscope.server.inference.decoding.preprocessor import ImageLimits, Preprocessor
from convscope.server.repository.catalog import Catalog
from convscope.server.repository.manager import ModelManager
from convscope.server.repository.rejection import Rejection
from convscope.server.repository.selection import Selection
from convscope.server.runtime.execution import ExecutionOverrides
from convscope.server.runtime.loading import Loader
from convscope.server.runtime.providers import ProviderPolicies, ProviderPolicy
from convscope.server.runtime.tuning import Tuner
from convscope.server.runtime.validation.client import BundleValidator
from convscope.server.runtime.versions import LoadedVersion

# Shared, so that its process starts once.
VALIDATOR = BundleValidator()
LIMITS = ImageLimits(max_pixels=16_000_000, max_side=8192)


@dataclass
class Follower:
    """Records the lifecycle events of versions."""

    events: list[str] = field(default_factory=list)
    used: dict[LoadedVersion, float] = field(default_factory=dict)

    def ready(self, version: LoadedVersion) -> None:
        self.events.append("ready {} v{}".format(*version.key))

    async def retire(self, version: LoadedVersion) -> None:
        self.events.append("retire {} v{}".format(*version.key))

    def last_used(self, version: LoadedVersion) -> float:
        return self.used.get(version, 0.0)

    def rejected(self, rejection: Rejection) -> None:
        self.events.append(f"rejected {rejection.model} v{rejection.version} {rejection.reason}")

    async def reconciled(self) -> None:
        self.events.append("reconciled")


def make_loader(
    *,
    preload_feature_maps: bool = False,
    preload_explanations: bool = False,
    providers: tuple[str, ...] = ("cpu",),
    allow_fallback: bool = False,
) -> Loader:
    """Make a loader without tuning."""
    policies = ProviderPolicies(ProviderPolicy(providers, allow_fallback))
    tuner = Tuner(ExecutionOverrides(cores=1, measure=False), rehearse, cache=None)
    return Loader(
        policies,
        partial(Preprocessor, limits=LIMITS),
        tuner,
        preload_feature_maps,
        validator=VALIDATOR,
        preload_explanations=preload_explanations,
    )


def load(
    root: Path,
    *,
    latest: int = 1,
    versions: frozenset[int] | None = None,
    preload_feature_maps: bool = False,
    preload_explanations: bool = False,
    providers: tuple[str, ...] = ("cpu",),
    allow_fallback: bool = False,
) -> Catalog[LoadedVersion]:
    """Load a repository through every gate."""
    loader = make_loader(
        preload_feature_maps=preload_feature_maps,
        preload_explanations=preload_explanations,
        providers=providers,
        allow_fallback=allow_fallback,
    )

    async def loaded() -> Catalog[LoadedVersion]:
        manager = ModelManager(
            root, loader, Selection(latest=latest, versions=versions), Follower()
        )
        await manager.reconcile()
        return manager.catalog

    return asyncio.run(loaded())


def only_refusal(root: Path, *, preload_feature_maps: bool = False) -> Rejection:
    """Load a repository of one bad and one good bundle, and return why the bad one is rejected.

    Raises:
        LookupError: Another bundle was rejected or served.
    """
    catalog = load(root, preload_feature_maps=preload_feature_maps)
    served = [version.key[0] for version in catalog]
    if len(catalog.rejections) != 1 or served != ["good"]:
        raise LookupError(f"served {served}, rejected {catalog.rejections}")
    return catalog.rejections[0]
