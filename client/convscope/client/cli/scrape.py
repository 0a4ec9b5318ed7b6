"""One scrape of a server's metrics, and what changed between two of them."""

import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from time import monotonic

__all__ = ["Difference", "MetricsError", "MetricsSource", "Scrape"]

TIMEOUT_SECONDS = 5.0
MAX_BYTES = 64 * 2**20
Labels = tuple[tuple[str, str], ...]
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)(?: \d+)?$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class MetricsError(Exception):
    """The metrics can't be read; the message has the cause and the repair."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """The values of all series at one time.

    Args:
        at: When it was, by the monotonic clock.
        values: By the name of the metric and its labels.
    """

    at: float
    values: Mapping[str, Mapping[Labels, float]]

    @classmethod
    def parse(cls, text: str, at: float) -> "Scrape":
        """Read the text format of Prometheus."""
        values: dict[str, dict[Labels, float]] = {}
        for line in text.splitlines():
            if line.startswith("#") or (match := _SAMPLE.match(line)) is None:
                continue
            labels = tuple(_LABEL.findall(match[2] or ""))
            values.setdefault(match[1], {})[labels] = float(match[3])
        return cls(at, values)

    def find(self, name: str, **labels: str) -> Iterator[tuple[dict[str, str], float]]:
        """Yield the labels and the value of each series of a metric that has some labels."""
        for pairs, value in self.values.get(name, {}).items():
            found = dict(pairs)
            if labels.items() <= found.items():
                yield found, value

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the series of a metric that have some labels."""
        return sum(value for _, value in self.find(name, **labels))


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one scrape to the next."""

    before: Scrape
    after: Scrape

    @property
    def seconds(self) -> float:
        """The time between them."""
        return max(self.after.at - self.before.at, 1e-9)

    def increase(self, name: str, **labels: str) -> float:
        """Return by how much a counter increased; after a restart, it began at 0."""
        before = {tuple(found.items()): value for found, value in self.before.find(name, **labels)}
        increase = 0.0
        for found, value in self.after.find(name, **labels):
            earlier = before.get(tuple(found.items()), 0.0)
            increase += value - earlier if value >= earlier else value
        return increase

    def rate(self, name: str, **labels: str) -> float:
        """Return the increase of a counter in a second."""
        return self.increase(name, **labels) / self.seconds

    def mean(self, name: str, **labels: str) -> float | None:
        """Return the mean of what a histogram observed; None if that is nothing."""
        count = self.increase(f"{name}_count", **labels)
        return self.increase(f"{name}_sum", **labels) / count if count else None

    def quantiles(self, name: str, shares: Sequence[float], **labels: str) -> list[float | None]:
        """Return quantiles of what a histogram observed, within a bucket by interpolation.

        A quantile beyond the largest bound is infinite; it is None if nothing was observed.
        """
        texts = {found["le"] for found, _ in self.after.find(f"{name}_bucket", **labels)}
        counts = {float(text): self.increase(f"{name}_bucket", **labels, le=text) for text in texts}
        total = counts.get(float("inf"), 0.0)
        if not total:
            return [None for _ in shares]
        return [_quantile(counts, share * total) for share in shares]


def _quantile(counts: Mapping[float, float], rank: float) -> float:
    """Return a quantile from the cumulative counts of a histogram, by the bounds of its buckets."""
    lower, below = 0.0, 0.0
    for bound in sorted(counts):
        if counts[bound] >= rank:
            if bound == float("inf"):
                return bound
            inside = counts[bound] - below
            return lower + (bound - lower) * ((rank - below) / inside if inside else 1.0)
        lower, below = bound, counts[bound]
    return float("inf")


class MetricsSource:
    """Reads the metrics of a server.

    Args:
        address: HOST:PORT of the server's metrics, or a URL.
        token_file: The file with the token of the server's --metrics-token-file.
        root_certificates: The authorities to trust, for https.
    """

    def __init__(
        self, address: str, token_file: Path | None = None, root_certificates: Path | None = None
    ) -> None:
        secure = root_certificates is not None
        base = address if "://" in address else f"http{'s' if secure else ''}://{address}"
        self.address = base.partition("://")[2].partition("/")[0]
        path = "" if "/" in base.partition("://")[2].rstrip("/") else "/metrics"
        self._url = base.rstrip("/") + path
        self._token_file = token_file
        # A proxy of the environment is not the way to a server.
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if base.startswith("https:"):
            context = ssl.create_default_context(cafile=root_certificates)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def scrape(self) -> Scrape:
        """Read the metrics once.

        Raises:
            MetricsError: They can't be read.
        """
        request = urllib.request.Request(self._url, headers=self._headers())
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as reply:
                text = reply.read(MAX_BYTES).decode("utf-8", "replace")
            scrape = Scrape.parse(text, monotonic())
        except urllib.error.HTTPError as error:
            raise MetricsError(self._status(error.code)) from error
        except (OSError, HTTPException, ValueError) as error:
            raise MetricsError(self._problem(error)) from error
        if "convscope_workers" not in scrape.values:
            raise MetricsError(
                f"{self._url} has no metrics of a convscope server; give the address of its "
                "--metrics-address, by default port 8002"
            )
        return scrape

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        except (OSError, ValueError) as error:
            raise MetricsError(f"--token-file {self._token_file} can't be read: {error}") from error

    def _status(self, status: int) -> str:
        if status == 401:
            return (
                f"{self._url} needs a token; give --token-file with the token of the server's "
                "--metrics-token-file"
            )
        return (
            f"{self._url} answers with HTTP status {status}, which a convscope server's metrics "
            "don't; give the address of its --metrics-address, by default port 8002"
        )

    def _problem(self, error: Exception) -> str:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            return (
                f"the certificate of {self.address} can't be verified: {reason.verify_message}; "
                "give the authority that issued it with --root-certificates"
            )
        if isinstance(reason, ConnectionRefusedError):
            return (
                f"no server answers at {self.address}; check the address, which is that of the "
                "server's --metrics-address, by default port 8002"
            )
        if isinstance(reason, ConnectionResetError | HTTPException):
            return (
                f"{self.address} is not a metrics endpoint, or one with --metrics-tls; give the "
                "address of the server's --metrics-address, by default port 8002, and "
                "--root-certificates if it uses TLS"
            )
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        return f"the metrics of {self.address} can't be read: {text}"
