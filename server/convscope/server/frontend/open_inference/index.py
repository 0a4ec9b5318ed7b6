"""Which models there are, and which of them answer."""

from collections.abc import Iterator

from convscope.server.errors import UnavailableError
from convscope.server.frontend.open_inference import open_inference_pb2 as pb
from convscope.server.frontend.open_inference.contract import Contracts, ModelName, target
from convscope.server.repository.catalog import Catalog, NotLoadedError

__all__ = ["READY", "index", "is_ready"]

READY, UNAVAILABLE = "READY", "UNAVAILABLE"
_Entry = pb.RepositoryIndexResponse.ModelIndex


def is_ready(catalog: Catalog, contracts: Contracts, name: str, version: str) -> bool:
    """Whether a model answers; one that sleeps does, and isn't woken.

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


def index(catalog: Catalog) -> Iterator[_Entry]:
    """List every version of every model, and the feature maps of those that are loaded."""
    for model in catalog.models:
        known = catalog[model]
        for number in sorted({*known.ready, *known.unloaded, *known.refused}):
            version = str(number)
            if number in known.ready:
                yield _Entry(name=model, version=version, state=READY)
                if known.ready[number].manifest.feature_maps:
                    features = str(ModelName(model, features=True))
                    yield _Entry(name=features, version=version, state=READY)
            elif number in known.unloaded:
                reason = "it is loaded when it is first asked for"
                yield _Entry(name=model, version=version, state=READY, reason=reason)
            else:
                check = known.refused[number].reason
                reason = f"refused by the check {check!r}; the server's log says more"
                yield _Entry(name=model, version=version, state=UNAVAILABLE, reason=reason)
