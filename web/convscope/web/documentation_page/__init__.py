"""GET /docs: the OpenAPI document as a page, with files of this machine only."""

import importlib.util
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from convscope.web.errors import HttpError
from convscope.web.errors import not_found as no_such_file

__all__ = ["add_documentation_page"]

HERE = Path(__file__).parent
# The package is used for its copy of Swagger UI. Its own page has an inline script.
_ASSETS_OF = "fastapi_offline"
_ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css")


def add_documentation_page(router: APIRouter) -> None:
    """Add the page and its files."""
    router.add_api_route("/docs", _page, methods=["GET", "HEAD"], include_in_schema=False)
    router.add_api_route("/docs/{name}", _file, methods=["GET", "HEAD"], include_in_schema=False)


async def _page() -> Response:
    return FileResponse(HERE / "index.html")


async def _file(name: str) -> Response:
    if name == "start.js":
        return FileResponse(HERE / name)
    if name in _ASSETS:
        return FileResponse(_assets() / name)
    raise no_such_file(f"/docs/{name}")


def _assets() -> Path:
    spec = importlib.util.find_spec(_ASSETS_OF)
    if spec is None or not spec.submodule_search_locations:
        raise HttpError(
            no_such_file("").code,
            "the page needs the package fastapi-offline; install the extra web in a clone of the "
            "repository: pip install '.[web]'",
        )
    return Path(spec.submodule_search_locations[0]) / "static"
