"""Lists the models, and reports which of them are ready."""

from collections.abc import Callable, Iterator

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.errors import UnavailableError
from convscope.server.frontend.open_inference.contract import (
    EXPLAIN_SUFFIX,
    FEATURES_SUFFIX,
    Contracts,
    ModelName,
    target,
)
from convscope.server.repository.catalog import Catalog, NotLoadedError
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["READY", "index", "is_ready"]

READY, UNAVAILABLE = "READY", "UNAVAILABLE"
_Entry = pb.RepositoryIndexResponse.ModelIndex


def is_ready(
    catalog: Catalog[LoadedVersion], contracts: Contracts, name: str, version: str
) -> bool:
    """Report whether a model is ready; one that is loaded on demand is, and stays unloaded.

    Raises:
        NotFoundError: The model, version or alias is unknown.
    """
    parsed = ModelName.parse(name)
    try:
        contracts.of(catalog.resolve(target(parsed.model, version)), parsed)
    except NotLoadedError:
        return True
    except UnavailableError:
        return False
    return True


def index(
    catalog: Catalog[LoadedVersion], may_use: Callable[[str], bool] = lambda _: True
) -> Iterator[_Entry]:
    """List every version of every model, and what else those that are loaded return.

    Args:
        catalog: The models.
        may_use: Returns whether the caller may use a model; the others are left out.
    """
    for model in filter(may_use, catalog.models):
        known = catalog.get(model)
        for number in sorted({*known.serving, *known.rejected}):
            version = str(number)
            if number in known.ready:
                yield _Entry(name=model, version=version, state=READY)
                if known.ready[number].manifest.feature_maps:
                    features = str(ModelName(model, FEATURES_SUFFIX))
                    yield _Entry(name=features, version=version, state=READY)
                if known.ready[number].is_explained:
                    explain = str(ModelName(model, EXPLAIN_SUFFIX))
                    yield _Entry(name=explain, version=version, state=READY)
            elif number in known.routing.unloaded:
                reason = "it is loaded on the first request"
                yield _Entry(name=model, version=version, state=READY, reason=reason)
            else:
                check = known.rejected[number].reason
                reason = f"rejected by the check {check!r}; see the server's log"
                yield _Entry(name=model, version=version, state=UNAVAILABLE, reason=reason)
