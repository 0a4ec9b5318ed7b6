"""What browsers may do with the replies, and whose requests are accepted."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from grpc import StatusCode

from convscope.web.errors import HttpError, invalid

__all__ = ["Hosts", "headers_of"]

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")

# The page loads nothing from other hosts and has no script or style in its HTML.
_PAGE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI sets styles of elements.
_DOCUMENTATION = _PAGE.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
_API = "default-src 'none'; frame-ancestors 'none'"


def _headers(policy: str, caching: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-security-policy", policy.encode()),
        (b"cache-control", caching),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    ]


# Browsers ask whether a file has changed, so that a page never has the scripts of an earlier one.
_PAGE_HEADERS = _headers(_PAGE, b"no-cache")
_DOCUMENTATION_HEADERS = _headers(_DOCUMENTATION, b"no-cache")
_API_HEADERS = _headers(_API, b"no-store")


def headers_of(path: str) -> list[tuple[bytes, bytes]]:
    """Return the security headers of the reply at a path."""
    if path == "/" or path.startswith("/static/"):
        return _PAGE_HEADERS
    is_documentation = path == "/docs" or path.startswith("/docs/")
    return _DOCUMENTATION_HEADERS if is_documentation else _API_HEADERS


class Hosts:
    """The host names under which the app may be called.

    A page of another site can let its own name point at 127.0.0.1, and would then read what
    only this machine should reach. Its requests still have its own name.

    Args:
        http_address: Where the app listens.
        allowed: Further names, such as that of a reverse proxy. Without them, all names are
            accepted unless the address is loopback or the process has credentials.
        has_credentials: Whether callers without a token act with those of the web process. Then
            addresses are accepted without being stated, because no site has one as its name.
    """

    def __init__(
        self, http_address: str, allowed: Collection[str], *, has_credentials: bool = False
    ) -> None:
        host, _, _ = http_address.rpartition(":")
        self._names = frozenset((*_LOOPBACK, host.lower(), *map(str.lower, allowed)))
        is_open = not allowed and not is_loopback(http_address)
        self._accepts_all = is_open and not has_credentials
        self._accepts_addresses = is_open

    def check(self, host: str) -> None:
        """Check the Host header of a request.

        Raises:
            HttpError: The name isn't accepted.
        """
        name = _name(host)
        if self._accepts_all or name in self._names:
            return
        if not (self._accepts_addresses and _is_address(name)):
            raise self._rejection(name)

    def _rejection(self, name: str) -> HttpError:
        if not name:
            return invalid("the request has no header Host", status=421)
        return invalid(
            f"the host {name[:80]!r} is not allowed; if a reverse proxy or DNS has this name for "
            f"the web process, start it with --allowed-host {name[:80]}",
            status=421,
        )


def check_same_site(headers: Mapping[str, str], origins: Collection[str]) -> None:
    """Check that no page of another site makes a request with rights that aren't its own.

    A browser adds no token of a caller by itself, so this matters only where the web process
    has credentials of its own. Browsers state the site only to https and loopback, and the
    origin of every POST.

    Args:
        headers: Those of the request. Programs other than browsers send neither of the two.
        origins: Those whose scripts may call the API.

    Raises:
        HttpError: A page of another site makes it.
    """
    site, origin = headers.get("sec-fetch-site", ""), headers.get("origin", "")
    if site:
        is_own = site in ("none", "same-origin")
    else:
        is_own = not origin or urlsplit(origin).netloc == headers.get("host", "")
    if not is_own and origin not in origins:
        raise HttpError(
            StatusCode.PERMISSION_DENIED,
            "pages of other sites can't use the credentials of the web process; send a token, or "
            "start it with --cors-origin ORIGIN",
        )


def is_loopback(address: str) -> bool:
    """Report whether only this machine can reach HOST:PORT."""
    host, _, _ = address.rpartition(":")
    return host in _LOOPBACK or host.startswith("127.")


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(name.strip("[]")))
    return False


def _name(host: str) -> str:
    """Return a Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
