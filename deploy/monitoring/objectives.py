"""The service level objectives, read from objectives.toml."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PATH", "Availability", "BurnWindow", "Latency", "Objectives", "ObjectivesError"]

PATH = Path(__file__).resolve().parents[1] / "objectives.toml"

_UNITS = {"m": 60, "h": 3600, "d": 86400}


class ObjectivesError(Exception):
    """The file is invalid. The message names the value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Availability:
    """The share of calls that must not fail, and the gRPC codes that are failures."""

    target: float
    failures: list[str]

    def __post_init__(self) -> None:
        _check_share(self.target)

    @property
    def budget(self) -> float:
        """Return the share of calls that may fail."""
        return 1 - self.target


@dataclass(frozen=True, slots=True)
class Latency:
    """The share of interactive requests that must complete within the threshold."""

    target: float
    threshold_seconds: float

    def __post_init__(self) -> None:
        _check_share(self.target)

    @property
    def budget(self) -> float:
        """Return the share of requests that may be slower."""
        return 1 - self.target


@dataclass(frozen=True, slots=True)
class BurnWindow:
    """Two windows over which a budget may burn too fast.

    Args:
        factor: The multiple of the sustainable rate above which the alert fires.
        long: The window over which the rate must hold, in PromQL syntax.
        short: The second window over which it must hold, so that the alert ends soon after its
            cause.
        severity: "page" for immediate attention, "ticket" for working hours.
    """

    factor: float
    long: str
    short: str
    severity: str

    def __post_init__(self) -> None:
        if self.severity not in ("page", "ticket"):
            raise ObjectivesError(f"severity {self.severity!r} is neither 'page' nor 'ticket'")
        if window_seconds(self.short) >= window_seconds(self.long):
            raise ObjectivesError(f"the short window {self.short} isn't shorter than {self.long}")


@dataclass(frozen=True, slots=True)
class Guard:
    """The rate of calls below which a ratio of them means little."""

    min_calls_per_second: float


@dataclass(frozen=True, slots=True)
class Queue:
    """The share of a queue's bound above which an alert fires."""

    near_bound: float

    def __post_init__(self) -> None:
        _check_share(self.near_bound)


@dataclass(frozen=True, slots=True)
class Repository:
    """The largest age of the last sync with a remote repository."""

    stale_seconds: int


@dataclass(frozen=True, slots=True)
class Objectives:
    """Every number of objectives.toml, by table."""

    period_days: int
    availability: Availability
    latency: Latency
    burn: tuple[BurnWindow, ...]
    guard: Guard
    queue: Queue
    repository: Repository

    @classmethod
    def read(cls, path: Path = PATH) -> "Objectives":
        """Read the file.

        Raises:
            ObjectivesError: A value is missing, unknown or invalid.
        """
        content = tomllib.loads(path.read_text())
        try:
            return cls(
                availability=Availability(**content.pop("availability")),
                latency=Latency(**content.pop("latency")),
                burn=tuple(BurnWindow(**window) for window in content.pop("burn")),
                guard=Guard(**content.pop("guard")),
                queue=Queue(**content.pop("queue")),
                repository=Repository(**content.pop("repository")),
                **content,
            )
        except KeyError as error:
            raise ObjectivesError(f"{path.name} lacks the table {error}") from error
        except TypeError as error:  # names the missing or unknown argument
            raise ObjectivesError(f"{path.name}: {error}") from error

    @property
    def windows(self) -> list[str]:
        """Return every window of the burn rates, the shortest first."""
        named = {name for window in self.burn for name in (window.long, window.short)}
        return sorted(named, key=window_seconds)


def window_seconds(window: str) -> int:
    """Convert a window such as "5m", "6h" or "3d" to seconds."""
    match = re.fullmatch(r"(\d+)([mhd])", window)
    if match is None:
        raise ObjectivesError(f"the window {window!r} isn't a number followed by m, h or d")
    return int(match[1]) * _UNITS[match[2]]


def _check_share(value: float) -> None:
    if not 0 < value < 1:
        raise ObjectivesError(f"{value} is not a share; it must be between 0 and 1")
