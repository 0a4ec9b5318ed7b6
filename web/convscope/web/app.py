"""Puts the app together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from convscope.client import AsyncClient
from convscope.web.calls import Calls, check_forwarded
from convscope.web.classify import ClassifyRoute
from convscope.web.documentation import DESCRIPTION, DocumentedApp
from convscope.web.documentation_page import add_documentation_page
from convscope.web.edge import Edge
from convscope.web.error_handlers import HANDLERS
from convscope.web.health import Health, Lifecycle
from convscope.web.log import Log
from convscope.web.memory import MemoryBudget
from convscope.web.models import ModelRoutes
from convscope.web.open_inference.routes import OpenInferenceRoutes
from convscope.web.open_inference.stub import Stub
from convscope.web.security import Hosts
from convscope.web.settings import WebSettings
from convscope.web.turns import Turns
from convscope.web.upload import Uploads

__all__ = ["create_app"]

_FILES = StaticFiles(directory=Path(__file__).parent / "static")


def create_app(settings: WebSettings, log: Log, lifecycle: Lifecycle) -> ASGIApp:
    """Return the app.

    Args:
        settings: The settings.
        log: Where requests and unexpected errors are written.
        lifecycle: Whether the process stops soon.

    Raises:
        InvalidInputError: The address of the server, or a forwarded header, is invalid.
    """
    check_forwarded(settings.forwarded_headers)
    client = AsyncClient(
        settings.server,
        timeout_seconds=settings.timeout_seconds,
        root_certificates=settings.root_certificates,
        client_certificate=settings.client_certificate,
        client_key=settings.client_key,
        token_file=settings.server_token_file,
        allow_insecure_token=settings.allow_insecure_token,
        oversize="error",  # untrusted uploads are decoded by the server only
    )

    budget = MemoryBudget(settings.max_memory_in_flight)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with client:  # it connects in this event loop
            app.include_router(_router(settings, client, lifecycle, budget))
            app.mount("/static", _FILES)
            yield

    app = DocumentedApp(
        title="Convscope",
        description=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        redirect_slashes=False,  # to a host name that only the proxy knows
        # Otherwise the environment could make FastAPI export requests and exceptions.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        docs_url=None,
        redoc_url=None,
        exception_handlers=HANDLERS,
    )
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[
                *("x-request-id", "retry-after", "www-authenticate"),
                "inference-header-content-length",
            ],
        )
    hosts = Hosts(
        settings.http_address,
        settings.allowed_hosts,
        has_credentials=settings.has_own_credentials,
    )
    return Edge(
        app,
        settings.root_path,
        hosts,
        log,
        lifecycle,
        budget,
        log_requests=settings.access_log,
    )


def _router(
    settings: WebSettings, client: AsyncClient, lifecycle: Lifecycle, budget: MemoryBudget
) -> APIRouter:
    """Return the routes, which need the client, and so a running event loop."""
    stub, calls, uploads = Stub(client.channel), Calls(settings), Uploads(settings, budget)
    health = Health(settings.server, stub, lifecycle)
    turns = Turns()
    router = APIRouter()
    ClassifyRoute(settings, client, calls, uploads, turns).add_to(router)
    ModelRoutes(settings, client, stub, calls).add_to(router)
    OpenInferenceRoutes(settings, stub, calls, uploads, turns, health).add_to(router)
    health.add_to(router)
    add_documentation_page(router)
    router.add_api_route("/", _index, methods=["GET", "HEAD"], include_in_schema=False)
    return router


async def _index(request: Request) -> Response:
    return await _FILES.get_response("index.html", request.scope)
