"""Rules about settings that belong together; flags alone are checked where they are read."""

import os

import structlog

from convscope.bundle.errors import SigningError
from convscope.bundle.signatures import has_library, public_keys
from convscope.server.config.environment import unknown_variables
from convscope.server.config.settings import Settings
from convscope.server.errors import StartError
from convscope.server.frontend.access.policy_file import read_policy
from convscope.server.frontend.access.policy_values import PolicyError
from convscope.server.frontend.addresses import is_loopback
from convscope.server.frontend.settings import FrontendSettings
from convscope.server.repository.settings import RepositorySettings

__all__ = ["check_flags", "check_settings"]


log = structlog.get_logger(__name__)


def check_flags(settings: Settings) -> None:
    """Check that the settings agree with each other, without reading a file.

    Raises:
        StartError: They don't.
    """
    frontend, repository = settings.frontend, settings.repository
    secure = _is_secure(frontend)
    if bool(frontend.tls_certificate) != bool(frontend.tls_key):
        raise StartError("--tls-certificate and --tls-key go together")
    if any(one.is_auto for one in settings.runtime.policies()):
        _check_measured(settings)
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


def check_settings(settings: Settings) -> None:
    """Check what the settings and their files say, and warn of what others can reach.

    Raises:
        StartError: They don't agree with each other, or a file can't be used.
    """
    check_flags(settings)
    for message in unknown_variables(os.environ):
        log.warning("unknown environment variable", message=message)
    _check_access(settings.frontend, secure=_is_secure(settings.frontend))
    _check_signers(settings.repository)


def _is_secure(frontend: FrontendSettings) -> bool:
    return bool(frontend.tls_certificate and frontend.tls_key)


def _check_access(frontend: FrontendSettings, *, secure: bool) -> None:
    """Check the policy, and warn of a server that others can reach and that lets everyone in."""
    is_reachable = not is_loopback(frontend.grpc_address)
    if frontend.policy is None:
        if is_reachable and frontend.tls_client_ca is None:
            log.warning(
                "every machine that reaches the address may call every model",
                address=frontend.grpc_address,
                repair="add --policy FILE; convscope-server token makes the tokens of callers",
            )
        return
    try:
        policy = read_policy(frontend.policy)
    except PolicyError as error:
        raise StartError(f"--policy {error}") from error
    if policy.uses_certificates and frontend.tls_client_ca is None:
        raise StartError(
            f"--policy {frontend.policy} identifies callers by certificates, which needs "
            "--tls-client-ca with the authorities of client certificates"
        )
    if is_reachable and not secure:
        log.warning(
            "tokens are sent without TLS, and can be read on their way",
            address=frontend.grpc_address,
            repair="add --tls-certificate and --tls-key",
        )


def _check_signers(settings: RepositorySettings) -> None:
    identity, issuer = settings.signature_identity, settings.signature_issuer
    named = settings.signature_key or settings.signature_authority or identity
    if bool(identity) != bool(issuer):
        raise StartError("--signature-identity and --signature-issuer go together")
    if named and not settings.require_signature:
        raise StartError(
            "signers are named, but unsigned versions are loaded too; add --require-signature"
        )
    if settings.require_signature and not named:
        raise StartError(
            "--require-signature needs to know whom to trust; add --signature-key, "
            "--signature-authority, or --signature-identity with --signature-issuer"
        )
    if settings.require_signature and not has_library():
        raise StartError(
            "--require-signature needs the extra `signing`; in a clone of the repository, run: "
            "pip install '.[server,signing]'"
        )
    if settings.signature_key is not None:
        try:
            public_keys(settings.signature_key)
        except SigningError as error:
            raise StartError(f"--signature-key can't be used: {error}") from error


def _check_measured(settings: Settings) -> None:
    """Check that `--provider auto` will measure."""
    if settings.runtime.no_tuning:
        raise StartError(
            "--provider auto measures each provider, and --no-tuning measures nothing; name a "
            "provider, or remove --no-tuning"
        )
    if settings.repository.selection.on_demand:
        raise StartError(
            "--provider auto measures models before the server serves, and --load on-demand loads "
            "them later; name a provider, or remove --load on-demand"
        )
