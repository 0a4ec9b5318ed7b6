"""Which models there are, and which of them answer."""

from collections.abc import Iterator

from convscope.server.errors import UnavailableError
from convscope.server.frontend.open_inference import open_inference_pb2 as pb
from convscope.server.frontend.open_inference.contract import Contracts, ModelName, target
from convscope.server.repository.catalog import Catalog, NotLoadedError
from convscope.server.runtime.versions import LoadedVersion

__all__ = ["READY", "index", "is_ready"]

READY, UNAVAILABLE = "READY", "UNAVAILABLE"
_Entry = pb.RepositoryIndexResponse.ModelIndex


def is_ready(
    catalog: Catalog[LoadedVersion], contracts: Contracts, name: str, version: str
) -> bool:
    """Whether a model serves; one that is loaded on demand does, and isn't loaded for this.

    Raises:
        NotFoundError: There is no such model, version or alias.
    """
    asked = ModelName.parse(name)
    try:
        contracts.of(catalog.resolve(target(asked.model, version)), asked)
    except NotLoadedError:
        return True
    except UnavailableError:
        return False
    return True


def index(catalog: Catalog[LoadedVersion]) -> Iterator[_Entry]:
    """List every version of every model, and the feature maps of those that are loaded."""
    for model in catalog.models:
        known = catalog.get(model)
        for number in sorted({*known.serving, *known.rejected}):
            version = str(number)
            if number in known.ready:
                yield _Entry(name=model, version=version, state=READY)
                if known.ready[number].manifest.feature_maps:
                    features = str(ModelName(model, features=True))
                    yield _Entry(name=features, version=version, state=READY)
            elif number in known.routing.unloaded:
                reason = "it is loaded when it is first asked for"
                yield _Entry(name=model, version=version, state=READY, reason=reason)
            else:
                check = known.rejected[number].reason
                reason = f"rejected by the check {check!r}; the server's log says more"
                yield _Entry(name=model, version=version, state=UNAVAILABLE, reason=reason)
