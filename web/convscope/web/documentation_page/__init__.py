"""GET /docs: the OpenAPI document as a page, with files of this machine only."""

import importlib.util
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from grpc import StatusCode
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from convscope.web.errors import HttpError, not_found

__all__ = ["add_documentation_page"]

_FILES = StaticFiles(directory=Path(__file__).parent)
# The package is used for its copy of Swagger UI. Its own page has an inline script.
_ASSETS_OF = "fastapi_offline"
_ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css")


def add_documentation_page(router: APIRouter) -> None:
    """Add the page and its files."""
    router.add_api_route("/docs", _page, methods=["GET", "HEAD"], include_in_schema=False)
    router.add_api_route("/docs/{name}", _file, methods=["GET", "HEAD"], include_in_schema=False)


async def _page(request: Request) -> Response:
    return await _FILES.get_response("index.html", request.scope)


async def _file(request: Request, name: str) -> Response:
    if name == "start.js":
        return await _FILES.get_response(name, request.scope)
    if name in _ASSETS:
        return await _assets().get_response(name, request.scope)
    raise not_found(f"/docs/{name}")


@cache
def _assets() -> StaticFiles:
    spec = importlib.util.find_spec(_ASSETS_OF)
    if spec is None or not spec.submodule_search_locations:
        raise HttpError(
            StatusCode.NOT_FOUND,
            "the page needs the package fastapi-offline; install the extra web in a clone of the "
            "repository: pip install '.[web]'",
        )
    return StaticFiles(directory=Path(spec.submodule_search_locations[0]) / "static")
