"""Rules about settings that belong together; flags alone are checked where they are read."""

from convscope.server.config.settings import Settings
from convscope.server.errors import StartError
from convscope.server.frontend.addresses import is_loopback

__all__ = ["check_settings"]


def check_settings(settings: Settings) -> None:
    """Check that the settings agree with each other.

    Raises:
        StartError: They don't.
    """
    frontend, repository = settings.frontend, settings.repository
    secure = bool(frontend.tls_certificate and frontend.tls_key)
    if bool(frontend.tls_certificate) != bool(frontend.tls_key):
        raise StartError("--tls-certificate and --tls-key go together")
    if frontend.tls_client_ca and not secure:
        raise StartError("--tls-client-ca needs --tls-certificate and --tls-key")
    if not (is_loopback(frontend.grpc_address) or secure or frontend.allow_insecure):
        raise StartError(
            f"{frontend.grpc_address} can be reached from other machines, and without TLS anyone "
            "on them can call it; add --tls-certificate and --tls-key, or --allow-insecure"
        )
    if settings.telemetry.metrics_tls and not secure:
        raise StartError("--metrics-tls needs --tls-certificate and --tls-key")
    if frontend.reflection and frontend.no_reflection:
        raise StartError("--reflection and --no-reflection exclude each other")
    if repository.max_memory_mb is not None and not repository.selection.on_demand:
        raise StartError("--max-memory-mb limits what is loaded on demand; add --load on-demand")
    if settings.process.workers > 1 and frontend.admin_address is not None:
        raise StartError(
            "--admin-address would reach only one of the workers; with --workers, publish and "
            "promote in the repository, which each worker follows"
        )
