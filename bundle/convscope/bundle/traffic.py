"""Traffic splits: a share of a model's requests goes to another version, as canary or shadow.

A canary answers its share instead of the version that would have; a shadow gets
copies, and its outputs are compared and discarded. `traffic.json` holds them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any, Literal

from convscope.bundle.aliases import is_alias, read_aliases
from convscope.bundle.errors import InvalidValueError, UnknownNameError
from convscope.bundle.json_files import parse_object, read_document, write_document
from convscope.bundle.layout import TRAFFIC, is_version_number
from convscope.bundle.repository import Repository
from convscope.bundle.suggestions import or_others

__all__ = [
    "Kind",
    "Traffic",
    "TrafficSplit",
    "check_split",
    "end_split",
    "parse_traffic",
    "read_traffic",
    "set_split",
    "traffic_document",
]

Kind = Literal["canary", "shadow"]

_KINDS: tuple[Kind, ...] = ("canary", "shadow")
_EXAMPLE = '{"canary": {"to": "challenger", "share": 0.05}}'


@dataclass(frozen=True, slots=True)
class TrafficSplit:
    """A share of a model's requests, and where it goes.

    Args:
        to: The version, by its number or by an alias.
        share: From 0 to 1.
        of: The alias whose requests are split; None for those that name neither
            an alias nor a version. A request that names a version always gets it.
    """

    to: int | str
    share: float
    of: str | None = None

    def __str__(self) -> str:
        to = f"v{self.to}" if isinstance(self.to, int) else self.to
        of = "" if self.of is None else f" of {self.of}"
        return f"{self.share:.4g}{of} -> {to}"

    def takes(self, alias: str | None, salt: str, key: str) -> bool:
        """Whether a request belongs to the share.

        Args:
            alias: The alias that it names.
            salt: What distinguishes this split from the others of the server;
                otherwise the same few requests would belong to all of them.
            key: The request's key. The same key always gives the same result,
                and keys that belong to a share belong to every larger one.
        """
        return alias == self.of and _position(salt, key) < self.share

    def version(self, aliases: Mapping[str, int]) -> int | None:
        """Return the version; None for an alias that doesn't exist."""
        return self.to if isinstance(self.to, int) else aliases.get(self.to)


@dataclass(frozen=True, slots=True)
class Traffic:
    """The traffic splits of one model."""

    canary: TrafficSplit | None = None
    shadow: TrafficSplit | None = None

    def __iter__(self) -> Iterator[tuple[Kind, TrafficSplit]]:
        for kind in _KINDS:
            split: TrafficSplit | None = getattr(self, kind)
            if split is not None:
                yield kind, split

    def versions(self, aliases: Mapping[str, int]) -> set[int]:
        """Return the versions that the splits need."""
        numbers = {split.version(aliases) for _, split in self}
        return {number for number in numbers if number is not None}


def parse_traffic(data: bytes | None) -> Traffic:
    """Parse traffic.json; an absent file holds no splits.

    Raises:
        InvalidValueError: It holds something else.
    """
    found = parse_object(data, TRAFFIC, _EXAMPLE)
    if unknown := found.keys() - set(_KINDS):
        raise InvalidValueError(
            f"{TRAFFIC} is not JSON like {_EXAMPLE}: it has {min(unknown)[:80]!r}"
        )
    try:
        return Traffic(**{kind: _parse_split(kind, value) for kind, value in found.items()})
    except InvalidValueError as error:
        raise InvalidValueError(f"{TRAFFIC} is not JSON like {_EXAMPLE}: {error}") from error


def read_traffic(repository: Repository, model: str) -> Traffic:
    """Read the traffic splits of a model.

    Raises:
        RepositoryError: The file can't be read, or holds something else.
    """
    return read_document(repository, model, TRAFFIC, parse_traffic)


def traffic_document(traffic: Traffic) -> dict[str, dict[str, Any]]:
    """Return the content of traffic.json."""
    return {
        kind: {name: value for name, value in asdict(split).items() if value is not None}
        for kind, split in traffic
    }


def check_split(kind: str, split: TrafficSplit) -> None:
    """Check a traffic split before it is written.

    Raises:
        InvalidValueError: Its kind, share, version or alias isn't allowed.
    """
    if kind not in _KINDS:
        raise InvalidValueError(f"{kind[:80]!r} is not a traffic split; use {' or '.join(_KINDS)}")
    share = split.share
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise InvalidValueError(f"the share of {kind} is {str(share)[:80]}; use 0 to 1")
    if not (is_alias(split.to) or is_version_number(split.to)):
        raise InvalidValueError(
            f"{kind} goes to {str(split.to)[:80]!r}; use a version's number or an alias"
        )
    if split.of is not None and not is_alias(split.of):
        raise InvalidValueError(f"{kind} splits {str(split.of)[:80]!r}; use an alias, or none")


def set_split(repository: Repository, model: str, kind: Kind, split: TrafficSplit) -> None:
    """Start or change a traffic split.

    Raises:
        InvalidValueError: The split isn't allowed.
        UnknownNameError: There is no such model, version or alias.
        RepositoryError: The files can't be read or written.
    """
    check_split(kind, split)
    repository.require_model(model)
    with repository.lock(model):
        aliases = read_aliases(repository, model)
        for name in (split.to, split.of):
            if isinstance(name, str) and name not in aliases:
                raise UnknownNameError(f"{model} has no alias {name!r}{or_others(name, aliases)}")
        number = split.to if isinstance(split.to, int) else aliases[split.to]
        repository.require_version(model, number)
        splits = dict(read_traffic(repository, model)) | {kind: split}
        _write(repository, model, splits)


def end_split(repository: Repository, model: str, kind: Kind) -> bool:
    """End a traffic split.

    Returns:
        Whether there was one.

    Raises:
        UnknownNameError: There is no such model.
        RepositoryError: The files can't be read or written.
    """
    repository.require_model(model)
    with repository.lock(model):
        splits = dict(read_traffic(repository, model))
        if splits.pop(kind, None) is None:
            return False
        _write(repository, model, splits)
        return True


def _write(repository: Repository, model: str, splits: Mapping[Kind, TrafficSplit]) -> None:
    traffic = Traffic(splits.get("canary"), splits.get("shadow"))
    write_document(repository, model, TRAFFIC, traffic_document(traffic))


def _parse_split(kind: str, value: Any) -> TrafficSplit:
    if not isinstance(value, dict) or not {"to", "share"} <= value.keys() <= {"to", "share", "of"}:
        raise InvalidValueError(f"{kind} must have to and share, and may have of")
    split = TrafficSplit(**value)
    check_split(kind, split)
    return split


def _position(salt: str, key: str) -> float:
    """A position in [0, 1) that depends on nothing else."""
    digest = blake2b(f"{salt}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
