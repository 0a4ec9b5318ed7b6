"""Identifies callers by their tokens or client certificates."""

import hmac
from collections import OrderedDict
from time import time
from typing import TypeVar

from convscope.server.errors import CallerLimitError, PermissionDeniedError, UnauthenticatedError
from convscope.server.frontend.access.caller import AccessCaller, OnDenied
from convscope.server.frontend.access.credentials import Credential, Peer, identities
from convscope.server.frontend.access.failures import FailureLimit
from convscope.server.frontend.access.json_web_tokens import (
    InvalidTokenError,
    TokenVerifier,
    Verified,
)
from convscope.server.frontend.access.methods import HEALTH
from convscope.server.frontend.access.policy import CallerRules, Policy
from convscope.server.frontend.access.policy_file import ANONYMOUS

__all__ = ["Authenticator"]

T = TypeVar("T")

# JSON web tokens whose check is remembered, valid and invalid ones separately.
MAX_CACHED = 4096
# An invalid token may become valid: its time begins, or its key is published.
INVALID_SECONDS = 10.0

MISSING_MESSAGE = (
    "the call has no credentials; send a token as the metadata authorization: Bearer TOKEN, or "
    "use a client certificate that the server's policy names"
)
FORM_MESSAGE = "the metadata authorization has another form than: Bearer TOKEN"
AMBIGUOUS_MESSAGE = "the call has the metadata authorization more than once; send it once"
UNKNOWN_MESSAGE = "the token is not valid; ask the server's operator for a new one"


class Authenticator:
    """The callers of one policy, by their credentials.

    Args:
        policy: The policy.
        verifier: Checks JSON web tokens; None if there are none.
        failures: Limits the checks of invalid ones.
        share: The part of each caller's limits that applies in this process.
        on_denied: Called with the reason of each call or request that is denied.
        rated_bytes: As of `AccessCaller`.
    """

    def __init__(
        self,
        policy: Policy,
        verifier: TokenVerifier | None,
        failures: FailureLimit,
        share: float,
        on_denied: OnDenied,
        rated_bytes: int | None = None,
    ) -> None:
        self.policy = policy
        self._verifier = verifier
        self._failures = failures
        every = [AccessCaller(rules, share, on_denied, rated_bytes) for rules in policy.callers]
        self.callers = {caller.name: caller for caller in every}
        nothing = CallerRules(name=ANONYMOUS, models=(), paths=HEALTH)
        self.anonymous = AccessCaller(nothing, share, on_denied)
        self._tokens = {digest: (digest, c) for c in every for digest in c.rules.tokens}
        self._subjects = {subject: c for c in every for subject in c.rules.subjects}
        self._certificates = {name: c for c in every for name in c.rules.certificates}
        self._valid: OrderedDict[bytes, Verified] = OrderedDict()
        self._invalid: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def forget_tokens(self) -> None:
        """Check all JSON web tokens again: the key of some may be gone."""
        self._valid.clear()
        self._invalid.clear()

    def identify(self, credential: Credential | None, peer: Peer | None) -> AccessCaller:
        """Return who makes a call.

        A token decides, also if there is a client certificate.

        Raises:
            UnauthenticatedError: It has no credentials, or invalid ones.
            PermissionDeniedError: Its credentials are valid, and the policy doesn't name them.
            CallerLimitError: Its address has sent too many invalid tokens.
            UnavailableError: The keys that verify tokens are not known yet.
        """
        if credential is None:
            return self._by_certificate(peer)
        if not credential.token:
            raise UnauthenticatedError(
                AMBIGUOUS_MESSAGE if credential.is_ambiguous else FORM_MESSAGE
            )
        digest = credential.digest
        # The search is by hashes, whose timing shows nothing of a token.
        known, caller = self._tokens.get(digest, (b"", None))
        if caller is not None and hmac.compare_digest(known, digest):
            return caller
        if self._verifier is None or credential.token.count(".") != 2:
            raise UnauthenticatedError(UNKNOWN_MESSAGE)
        valid = self._valid.get(digest)
        if valid is not None and time() < valid.expires_at:
            return self._by_subject(valid.subject)
        invalid = self._invalid.get(digest)
        if invalid is not None and time() < invalid[1]:
            raise UnauthenticatedError(invalid[0])
        return self._by_jwt(self._verifier, credential, peer)

    def _by_certificate(self, peer: Peer | None) -> AccessCaller:
        names = identities(peer) if self._certificates else []
        for name in names:
            if (caller := self._certificates.get(name)) is not None:
                return caller
        if not names:
            raise UnauthenticatedError(MISSING_MESSAGE)
        shown = ", ".join(names)[:200]
        raise PermissionDeniedError(
            f"no caller of the server's policy has the client certificate of {shown}; "
            "the server's operator can add a name of it to the caller's certificates"
        )

    def _by_jwt(
        self, verifier: TokenVerifier, credential: Credential, peer: Peer | None
    ) -> AccessCaller:
        address = "" if peer is None else peer.peer.rpartition(":")[0]
        wait = self._failures.wait_seconds(address)
        if wait > 0:
            message = "too many invalid tokens were sent; retry later"
            raise CallerLimitError(message, int(1000 * wait) + 1)
        try:
            verified = verifier.verify(credential.token)
        except InvalidTokenError as error:
            self._failures.count(address)
            _remember(self._invalid, credential.digest, (str(error), time() + INVALID_SECONDS))
            raise UnauthenticatedError(str(error)) from None
        _remember(self._valid, credential.digest, verified)
        return self._by_subject(verified.subject)

    def _by_subject(self, subject: str) -> AccessCaller:
        caller = self._subjects.get(subject)
        if caller is None:
            raise PermissionDeniedError(
                f"no caller of the server's policy has the token's subject {subject[:80]!r}; "
                "the server's operator can add it to the caller's subjects"
            )
        return caller


def _remember(cache: OrderedDict[bytes, T], digest: bytes, value: T) -> None:
    """Keep a value; the oldest one leaves a cache that is full."""
    cache[digest] = value
    if len(cache) > MAX_CACHED:
        cache.popitem(last=False)
