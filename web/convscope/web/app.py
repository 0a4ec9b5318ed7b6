"""Puts the app together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from grpc import StatusCode
from starlette.exceptions import HTTPException as RoutingError
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from convscope.client import AsyncClient
from convscope.web.calls import Calls
from convscope.web.classify import ClassifyRoute
from convscope.web.documentation import DESCRIPTION
from convscope.web.errors import HttpError, handle_http_error, invalid, to_response
from convscope.web.health import Health
from convscope.web.models import ModelRoutes
from convscope.web.open_inference.stub import Stub
from convscope.web.settings import WebSettings
from convscope.web.upload import Uploads

__all__ = ["create_app"]

STATIC = Path(__file__).parent / "static"


def create_app(settings: WebSettings) -> FastAPI:
    """Return the app. Its state has the `Health` and the `Uploads`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncClient(
            settings.server,
            timeout_seconds=settings.timeout_seconds,
            root_certificates=settings.root_certificates,
        ) as client:
            _add_routes(app, settings, client)
            yield

    app = FastAPI(
        title="Convscope",
        description=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        root_path=settings.root_path,
        docs_url=None,
        redoc_url=None,
        exception_handlers={
            HttpError: handle_http_error,
            RequestValidationError: _handle_invalid,
            RoutingError: _handle_routing,
        },
    )
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after", "inference-header-content-length"],
        )
    return app


def _add_routes(app: FastAPI, settings: WebSettings, client: AsyncClient) -> None:
    """Add the routes, which need the client, and so a running event loop."""
    stub, calls, uploads = Stub(client.channel), Calls(settings), Uploads(settings)
    health = Health(settings.server, stub)
    app.state.health, app.state.uploads = health, uploads
    router = APIRouter()
    ClassifyRoute(settings, client, calls, uploads).add_to(router)
    ModelRoutes(settings, client, stub, calls).add_to(router)
    health.add_to(router)
    router.add_api_route("/", _index, methods=["GET", "HEAD"], include_in_schema=False)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC))


async def _index() -> Response:
    return FileResponse(STATIC / "index.html")


async def _handle_invalid(request: Request, error: Exception) -> Response:
    """Reply to a request whose parameters are invalid, with all of them in one message."""
    if not isinstance(error, RequestValidationError):
        raise error
    messages = [
        f"{'.'.join(str(part) for part in each['loc'][1:])}: {each['msg']}"
        for each in error.errors()
    ]
    return to_response(invalid("; ".join(messages)))


async def _handle_routing(request: Request, error: Exception) -> Response:
    """Reply to a request for which there is no route."""
    if not isinstance(error, HTTPException | RoutingError):
        raise error
    headers = dict(error.headers or {})
    path = request.url.path[:200]
    if error.status_code == 404:
        message = f"there is no {path!r}; the API is described at docs"
        return to_response(HttpError(StatusCode.NOT_FOUND, message))
    if error.status_code == 405:
        message = f"{path!r} doesn't accept {request.method}; use {headers.get('allow', 'another')}"
        return to_response(
            HttpError(StatusCode.UNIMPLEMENTED, message, status=405, headers=headers)
        )
    code = StatusCode.INVALID_ARGUMENT if error.status_code < 500 else StatusCode.INTERNAL
    return to_response(HttpError(code, str(error.detail), status=error.status_code))
