"""The end of a server: report NOT_SERVING, accept calls a while longer, finish them."""

import asyncio

import structlog

from convscope.server.frontend.health import StartupHealth
from convscope.server.frontend.transport.calls import Transport
from convscope.server.process.settings import ProcessSettings

__all__ = ["drain"]

log = structlog.get_logger(__name__)


async def drain(
    settings: ProcessSettings,
    health_servicer: StartupHealth,
    transport: Transport,
    **hint: str,
) -> None:
    """Take a server out of rotation, and return when its calls in flight are finished.

    Load balancers need a moment to notice NOT_SERVING, so calls are still
    accepted for `drain_seconds`.

    Args:
        settings: How long each part may take.
        health_servicer: Reports NOT_SERVING, and ends the watches after that.
        transport: Finishes its calls.
        hint: What the log says besides.
    """
    log.info(
        "draining",
        accept_seconds=settings.drain_seconds,
        grace_seconds=settings.grace_seconds,
        **hint,
    )
    await health_servicer.enter_graceful_shutdown()
    await asyncio.sleep(settings.drain_seconds)
    health_servicer.end_watches()
    await transport.stop(settings.grace_seconds)
    log.info("stopped")
