"""Which execution providers a model may run on, and which of them are to be had."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from convscope.server.errors import BundleRejectedError
from convscope.server.runtime.providers.names import CPU, INSTALL, PROVIDERS, short_name

__all__ = ["ProviderPolicies", "ProviderPolicy"]

Options = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class ProviderPolicy:
    """What a session may run on.

    Args:
        preference: Short names, the preferred first.
        allow_fallback: Whether a later one, or the CPU, may stand in for the
            first without being asked for. Otherwise all of them must be to be
            had, and the CPU takes nodes only if it is the first.
        options: By short name, what a provider is started with.
        cores: The cores that the runs of one session share.
        deferred: One that is left out for now, because what it needs is
            being built.
    """

    preference: Sequence[str]
    allow_fallback: bool
    options: Options = field(default_factory=dict)
    cores: int = 1
    deferred: str | None = None

    @property
    def wanted(self) -> str:
        """The first of the preference."""
        return self.preference[0]

    def candidates(self, available: Sequence[str]) -> list[str]:
        """Give the short names that a session is to be opened with, the preferred first.

        Args:
            available: The providers that ONNX Runtime was built with, by its own names.

        Raises:
            BundleRejectedError: One is unknown; or is not to be had, and the policy is strict.
        """
        for name in self.preference:
            if name not in PROVIDERS:
                raise BundleRejectedError(
                    "provider", f"no execution provider {name!r}; there are: {', '.join(PROVIDERS)}"
                )
        missing = [name for name in self.preference if PROVIDERS[name] not in available]
        if missing and not self.allow_fallback:
            raise BundleRejectedError(
                "provider",
                f"the execution provider {missing[0]!r} is not to be had here, only: "
                f"{', '.join(map(short_name, available))}; {INSTALL[missing[0]]}, "
                "or allow the fallback",
            )
        left_out = {*missing, self.deferred}
        usable = [name for name in dict.fromkeys(self.preference) if name not in left_out]
        if not self.allow_fallback:
            # ONNX Runtime takes no CPU beside the promise that it is not fallen back to.
            return [name for name in usable if name != CPU or name == usable[0]]
        return [*usable, CPU][: [*usable, CPU].index(CPU) + 1]

    def with_options(self, provider: str, options: Mapping[str, str]) -> "ProviderPolicy":
        """Start a provider with more options, over those that it has."""
        merged = {**self.options.get(provider, {}), **options}
        return replace(self, options={**self.options, provider: merged})

    def without(self, provider: str) -> "ProviderPolicy":
        """Leave a provider out for now; the others stand in for it."""
        return replace(self, deferred=provider)

    def for_graph_without_engine(self) -> "ProviderPolicy":
        """Have CUDA, if it is there, run what TensorRT would build an engine for in a request."""
        has_both = {"tensorrt", "cuda"} <= set(self.preference)
        return self.without("tensorrt") if has_both else self


@dataclass(frozen=True, slots=True)
class ProviderPolicies:
    """The policy of each model.

    Args:
        default: Of those that have none of their own.
        models: By model, its own.
    """

    default: ProviderPolicy
    models: Mapping[str, ProviderPolicy] = field(default_factory=dict)

    def of(self, model: str) -> ProviderPolicy:
        """Give a model's policy."""
        return self.models.get(model, self.default)
