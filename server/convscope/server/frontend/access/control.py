"""Access control of the gRPC listeners: admits each call by its head, or denies it.

A policy with its callers is one object, which a reload replaces between two calls.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from convscope.server.errors import CallerLimitError, ServingError, StartError
from convscope.server.frontend.access.authentication import Authenticator
from convscope.server.frontend.access.caller import AccessCaller, OnDenied
from convscope.server.frontend.access.credentials import Credential, Peer
from convscope.server.frontend.access.failures import FailureLimit
from convscope.server.frontend.access.files import file_state
from convscope.server.frontend.access.json_web_tokens import TokenVerifier
from convscope.server.frontend.access.key_sets import KeySetError
from convscope.server.frontend.access.key_source import KeySource
from convscope.server.frontend.access.methods import HEALTH
from convscope.server.frontend.access.policy import JwtRules, Policy
from convscope.server.frontend.access.policy_file import read_policy
from convscope.server.frontend.access.policy_values import PolicyError

__all__ = ["AccessControl", "Admission", "OnReload"]

log = structlog.get_logger(__name__)

# Called with "policy" or "jwks", and whether its newest state is in use.
OnReload = Callable[[str, bool], None]

POLL_SECONDS = 1.0
# A caller with a rate may have this part of the memory for requests.
RATED_DIVISOR = 4


class Admission:
    """A call that was admitted.

    Args:
        control: What admitted it.
        caller: Who makes it.
        path: The path of the RPC.
        credential: What it has sent.
        peer: The other end of its connection.
        is_open: Whether everyone may make it, so that no rate applies.
    """

    __slots__ = ("_control", "_credential", "_path", "_peer", "caller", "is_open")

    def __init__(
        self,
        control: "AccessControl",
        caller: AccessCaller,
        path: str,
        credential: Credential | None,
        peer: Peer | None,
        is_open: bool,
    ) -> None:
        self.caller = caller
        self.is_open = is_open
        self._control = control
        self._path = path
        self._credential = credential
        self._peer = peer

    def renew(self) -> "Admission":
        """Check again, by the present time and policy, that the call is admitted.

        Raises:
            ServingError: It is not.
        """
        return self._control.admit(self._path, self._credential, self._peer)


class AccessControl:
    """Admits calls by the policy of a file, which is followed.

    Args:
        path: The policy file.
        share: The part of each caller's limits that applies in this process.
        on_denied: Called with the reason of each call or request that is denied.
        on_reload: Called when the policy or the keys of tokens were loaded, or could not be.
        access_log: Whether to log a line for each call that is denied at its head.
        client_certificates: Whether connections have client certificates that are verified.
        max_memory_in_flight: The bytes of all requests in this process; None for no limit.

    Raises:
        StartError: The policy, or its file of keys, can't be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        share: float = 1.0,
        on_denied: OnDenied = lambda _: None,
        on_reload: OnReload = lambda _, __: None,
        access_log: bool = True,
        client_certificates: bool = True,
        max_memory_in_flight: int | None = None,
    ) -> None:
        self._path = path
        self._share = share
        self._on_denied = on_denied
        self._on_reload = on_reload
        self._access_log = access_log
        self._client_certificates = client_certificates
        self._rated_bytes = (
            None if max_memory_in_flight is None else max_memory_in_flight // RATED_DIVISOR
        )
        self._failures = FailureLimit()
        self._file_state = self._seen_state = file_state(path)
        self._is_following = False
        try:
            policy = self._read()
            self._keys = self._open_keys(policy.jwt)
        except PolicyError as error:
            raise StartError(f"--policy {error}") from error
        self._authenticator = self._make(policy)
        self._log_policy(policy)

    @property
    def policy(self) -> Policy:
        """The policy in use."""
        return self._authenticator.policy

    # Calls

    def admit(self, path: str, credential: Credential | None, peer: Peer | None) -> Admission:
        """Admit a call by its head.

        Args:
            path: The path of the RPC.
            credential: Its metadata `authorization`; None without it.
            peer: The other end of its connection; None if it is not known yet.

        Raises:
            ServingError: Its credentials are missing or invalid, its caller may not call the
                RPC or is over a rate, or the keys that verify its token are not known yet.
        """
        authenticator = self._authenticator
        is_open = authenticator.policy.health_is_open and path in HEALTH
        try:
            caller = authenticator.identify(credential, peer)
        except ServingError as error:
            if not is_open:
                is_flood = isinstance(error, CallerLimitError)
                self._on_denied("flood" if is_flood else "unauthenticated")
                raise
            caller = authenticator.anonymous
        if not is_open:
            caller.check_call(path)
        return Admission(self, caller, path, credential, peer, is_open)

    def needs_peer(self, credential: Credential | None) -> bool:
        """Return whether a call can be admitted only when its peer is known."""
        return credential is None and self.policy.uses_certificates

    def log_denial(self, path: str, error: ServingError, peer: Peer | None) -> None:
        """Write a log line for a call that was denied at its head."""
        if self._access_log:
            log.info(
                "call denied",
                method=path.rpartition("/")[2],
                code=error.code.name,
                error=error.message,
                peer=None if peer is None else peer.peer,
            )

    # Reload

    async def follow(self) -> None:
        """Follow the policy and the keys until cancelled."""
        self._is_following = True
        self._start_keys()
        try:
            while True:
                await asyncio.sleep(POLL_SECONDS)
                try:
                    self.reload(force=False)
                except Exception:
                    log.exception("unexpected error while following the policy")
        finally:
            if self._keys is not None:
                self._keys.close()

    def reload(self, *, force: bool = True) -> None:
        """Read the policy and its keys again; what is invalid is not used.

        A policy that has changed is read when it has stayed the same since the call before: the
        first half of a file can be a valid policy with fewer callers.

        Args:
            force: Whether to read files that seem to be unchanged as well, and at once.
        """
        state = file_state(self._path)
        is_complete, self._seen_state = state == self._seen_state, state
        if force or (is_complete and state != self._file_state):
            self._file_state = state
            self._reload_policy()
        if self._keys is not None:
            self._keys.reload(force=force)

    def _reload_policy(self) -> None:
        try:
            policy = self._read()
            if policy.jwt != self.policy.jwt:
                keys, before = self._open_keys(policy.jwt), self._keys
                if before is not None:
                    if keys is not None:
                        keys.continue_from(before)
                    before.close()
                self._keys = keys
                self._start_keys()
        except PolicyError as error:
            log.error("the policy can't be used; the one before stays in use", reason=str(error))
            self._on_reload("policy", False)
            return
        before_callers, self._authenticator = self._authenticator.callers, self._make(policy)
        for name, caller in self._authenticator.callers.items():
            if (same := before_callers.get(name)) is not None:
                caller.continue_from(same)
        self._on_reload("policy", True)
        self._log_policy(policy)

    def _log_policy(self, policy: Policy) -> None:
        callers = policy.callers
        log.info(
            "policy loaded",
            policy=str(self._path),
            callers=len(callers),
            tokens=sum(len(caller.tokens) for caller in callers),
            subjects=sum(len(caller.subjects) for caller in callers),
            certificates=sum(len(caller.certificates) for caller in callers),
            with_limits=sum(caller.has_limits for caller in callers),
            health="open" if policy.health_is_open else "callers",
        )
        if not callers:
            log.warning(
                "the policy has no callers, so every call is denied",
                policy=str(self._path),
                repair="add a table [callers.NAME] with a token from: convscope-server token",
            )

    def _read(self) -> Policy:
        policy = read_policy(self._path)
        if policy.uses_certificates and not self._client_certificates:
            raise PolicyError(
                f"{self._path} identifies callers by certificates, which needs --tls-client-ca "
                "with the authorities of client certificates"
            )
        return policy

    def _make(self, policy: Policy) -> Authenticator:
        verifier = None
        if policy.jwt is not None and self._keys is not None:
            verifier = TokenVerifier(policy.jwt, self._keys.keys, self._keys.ask)
        return Authenticator(
            policy, verifier, self._failures, self._share, self._on_denied, self._rated_bytes
        )

    def _open_keys(self, rules: JwtRules | None) -> KeySource | None:
        """Return where the keys of tokens come from; a file is read.

        Raises:
            PolicyError: It can't be read.
        """
        if rules is None:
            return None
        try:
            import jwt  # noqa: F401

            keys = KeySource(
                rules,
                lambda: self._authenticator.forget_tokens(),
                partial(self._on_reload, "jwks"),
            )
            if not rules.is_remote:
                keys.read()
        except ModuleNotFoundError as error:
            raise PolicyError(
                f"{self._path}: jwt needs PyJWT ({error.name} is missing); in a clone of the "
                "repository, run: pip install '.[server]'"
            ) from error
        except KeySetError as error:
            raise PolicyError(f"{self._path}: jwt.jwks is {rules.jwks!r}: {error}") from error
        return keys

    def _start_keys(self) -> None:
        if self._keys is not None and self._is_following:
            self._keys.start()
