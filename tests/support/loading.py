"""Repositories, loaded in this process as the server loads them."""

from pathlib import Path

from convscope.server.execution import Wishes
from convscope.server.preprocess import ImageLimits
from convscope.server.providers import ProviderPolicy
from convscope.server.repository import Loader, Refusal, Repository, load_repository
from convscope.server.tuning import Tuner

LIMITS = ImageLimits(max_pixels=16_000_000, max_side=8192)


def load(
    root: Path,
    *,
    latest: int = 1,
    preload_feature_maps: bool = False,
    providers: tuple[str, ...] = ("cpu",),
    allow_fallback: bool = False,
) -> Repository:
    """Load a repository through every gate."""
    policy = ProviderPolicy(providers, allow_fallback)
    tuner = Tuner(Wishes(cores=1, measure=False), cache=None)
    loader = Loader(policy, LIMITS, tuner, preload_feature_maps)
    return load_repository(root, loader, latest=latest)


def only_refusal(root: Path, *, preload_feature_maps: bool = False) -> Refusal:
    """Load a repository of one bad bundle and one good one, and give why the bad one isn't served.

    Raises:
        LookupError: Something else was refused or served.
    """
    repository = load(root, preload_feature_maps=preload_feature_maps)
    if len(repository.refusals) != 1 or list(repository.versions) != ["good"]:
        served = list(repository.versions)
        raise LookupError(f"served {served}, refused {repository.refusals}")
    return repository.refusals[0]
