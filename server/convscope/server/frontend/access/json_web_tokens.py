"""Checks JSON web tokens; PyJWT is imported only if the policy uses them."""

from collections.abc import Callable
from typing import NamedTuple

from convscope.server.frontend.access.key_sets import KeySet
from convscope.server.frontend.access.policy import JwtRules

__all__ = ["InvalidTokenError", "TokenVerifier", "Verified"]

ALGORITHMS = ("RS256", "ES256")


class InvalidTokenError(Exception):
    """A token is not valid; the message has the reason, and nothing of the token."""


class Verified(NamedTuple):
    """A valid token.

    Args:
        subject: Its subject, to which the policy assigns a caller.
        expires_at: The Unix time of its end, with the leeway.
    """

    subject: str
    expires_at: float


class TokenVerifier:
    """Checks signature, issuer, audience and times of tokens.

    Args:
        rules: What is valid.
        keys: Returns the keys.
        on_unknown_key: Called with a token whose key is not among them.
    """

    def __init__(
        self, rules: JwtRules, keys: Callable[[], KeySet], on_unknown_key: Callable[[], None]
    ) -> None:
        self._rules = rules
        self._keys = keys
        self._on_unknown_key = on_unknown_key

    def verify(self, token: str) -> Verified:
        """Check a token.

        Raises:
            InvalidTokenError: It is not valid.
        """
        import jwt

        rules = self._rules
        try:
            header = jwt.get_unverified_header(token)
        except Exception:  # noqa: BLE001 - such as RecursionError; whatever it is, it denies
            raise InvalidTokenError("the token is not a JSON web token") from None
        # The key decides on the algorithm, so that a token can't choose a weaker one.
        if header.get("alg") not in ALGORITHMS:
            raise InvalidTokenError("the token's algorithm is neither RS256 nor ES256")
        kid = header.get("kid", "")
        key = self._keys().find(kid if isinstance(kid, str) else "")
        if key is None:
            self._on_unknown_key()
            raise InvalidTokenError("the token's key is not one of the issuer's keys")
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=list(rules.audience),
                issuer=rules.issuer,
                leeway=rules.leeway_seconds,
                options={"require": ["exp", "iss", "aud", rules.claim]},
            )
            expires_at = float(claims["exp"]) + rules.leeway_seconds
        except Exception as error:  # noqa: BLE001 - such as OverflowError for a huge time
            raise InvalidTokenError(_reason(error, rules)) from None
        subject = claims[rules.claim]
        if not isinstance(subject, str):
            raise InvalidTokenError(f"the token's claim {rules.claim!r} is not a text")
        return Verified(subject, expires_at)


def _reason(error: Exception, rules: JwtRules) -> str:
    import jwt

    reasons: dict[type[Exception], str] = {
        jwt.ExpiredSignatureError: "the token has expired; get a new one",
        jwt.ImmatureSignatureError: "the token is not valid yet",
        jwt.InvalidAudienceError: "the token is for another audience",
        jwt.InvalidIssuerError: "the token is of another issuer",
        jwt.MissingRequiredClaimError: (
            f"the token lacks one of the claims exp, iss, aud and {rules.claim}"
        ),
        jwt.InvalidSignatureError: "the token's signature is wrong",
    }
    return reasons.get(type(error), "the token is not valid")
