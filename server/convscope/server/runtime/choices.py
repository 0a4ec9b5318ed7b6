"""The choices of providers for versions whose policy names none.

Several workers of one server must return the same results, so they must use the same providers.
The first worker measures. The others get its choices with their settings, and measure nothing.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from convscope.server.runtime.providers import ProviderPolicy
from convscope.server.runtime.versions import Candidate

__all__ = ["Choice", "Choices"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A provider and a precision that were chosen for a version.

    Args:
        model: The version's model.
        provider: The provider.
        precision: The precision of its policy.
        candidates: What it was chosen from; empty if nothing was measured for this version.
    """

    model: str
    provider: str
    precision: str
    candidates: tuple[Candidate, ...] = ()

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> Self:
        """Read what was stored.

        Raises:
            TypeError: It is something else.
            KeyError: A part is missing.
        """
        candidates = tuple(Candidate(**one) for one in stored["candidates"])
        model, provider, precision = (str(stored[n]) for n in ("model", "provider", "precision"))
        return cls(model, provider, precision, candidates)

    def made(self, policy: ProviderPolicy) -> bool:
        """Report whether it is this policy."""
        return (policy.wanted, policy.precision) == (self.provider, self.precision)


class Choices:
    """The choices of this process, and those of other workers that it must repeat.

    Args:
        shared: The choices of other workers by the key of a version, in their order, as plain
            values; None if this process may measure.
    """

    def __init__(self, shared: Mapping[str, Any] | None = None) -> None:
        self.may_measure = shared is None
        self._shared = {key: Choice.parse(one) for key, one in (shared or {}).items()}
        self._last = {choice.model: choice for choice in self._shared.values()}
        self._unreported: deque[tuple[str, Choice]] = deque()  # a thread adds what another takes

    def shared(self, key: str) -> Choice | None:
        """Return the choice of other workers for a version, if there is one."""
        return self._shared.get(key)

    def last(self, model: str) -> Choice | None:
        """Return the last choice for a version of a model, if there is one."""
        return self._last.get(model)

    def remember(self, key: str, choice: Choice) -> None:
        """Keep a choice, and report it to other workers."""
        self._last[choice.model] = choice
        self._unreported.append((key, choice))

    def take_unreported(self) -> dict[str, Any]:
        """Return the choices since the last call, by key, as plain values."""
        taken: dict[str, Any] = {}
        while self._unreported:
            key, choice = self._unreported.popleft()
            taken[key] = asdict(choice)
        return taken
