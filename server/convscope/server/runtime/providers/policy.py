"""Which execution providers a model may use, in which order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from convscope.server.errors import BundleRejectedError
from convscope.server.runtime.providers.names import (
    AUTO,
    CPU,
    INSTALL,
    PROVIDERS,
    unknown_provider,
)
from convscope.server.runtime.providers.openvino import (
    named_precision,
    names_precision,
    takes_hint,
)

__all__ = ["ProviderPolicies", "ProviderPolicy"]

Options = Mapping[str, Mapping[str, str]]

OPENVINO = "openvino"
# Formats with fewer bits than FP32. Only OpenVINO is told to use one for a graph in FP32.
REDUCED = ("bf16", "fp16")
# What --provider auto tries, the most exact first. TensorRT isn't tried: its engines take minutes.
_AUTOMATIC = (CPU, OPENVINO, "cuda")


@dataclass(frozen=True, slots=True)
class ProviderPolicy:
    """Which execution providers a session may use.

    Args:
        preference: Short names, in order of preference; or "auto" alone, for the fastest.
        allow_fallback: Whether a later provider, or the CPU, may serve as the
            fallback of the first. Otherwise all of them must be available, and
            the CPU runs nodes only if it is the first.
        options: By short name, the options of a provider.
        cores: The cores that the runs of one session share.
        deferred: A provider that is excluded until the engine that it needs is
            built.
        precision: In which FP32 operations are computed: "fp32", "bf16" or "fp16". "auto" is
            what the graph states, unless the provider's own options name a precision.
    """

    preference: Sequence[str]
    allow_fallback: bool
    options: Options = field(default_factory=dict)
    cores: int = 1
    deferred: str | None = None
    precision: str = AUTO

    @property
    def is_auto(self) -> bool:
        """Whether the fastest provider is to be found."""
        return tuple(self.preference) == (AUTO,)

    @property
    def required_precision(self) -> str | None:
        """In which precision the preferred provider must compute; None: its options decide."""
        if self.precision != AUTO:
            return self.precision
        if self.wanted != OPENVINO:
            return None
        options = self.options.get(OPENVINO, {})
        if names_precision(options):
            return named_precision(options)
        return "fp32" if takes_hint(options) else None

    @property
    def wanted(self) -> str:
        """The preferred provider."""
        return self.preference[0]

    def candidates(self, available: Sequence[str]) -> list[str]:
        """Return the short names of the providers to open a session with, in order.

        Args:
            available: The providers that ONNX Runtime was built with, by its own names.

        Raises:
            BundleRejectedError: A provider is unknown, can't compute in the precision, or is not
                available and the policy is strict.
        """
        for name in self.preference:
            if name not in PROVIDERS:
                raise BundleRejectedError("provider", unknown_provider(name))
        if self.precision in REDUCED and self.wanted != OPENVINO:
            raise BundleRejectedError(
                "provider",
                f"{self.wanted} computes in the precision of the graph, so --precision "
                f"{self.precision} needs --provider openvino or auto; for fp16 on a GPU, convert "
                "the bundle with convscope-exporter to-fp16",
            )
        if self.precision == "fp32" and self.wanted == "tensorrt":
            raise BundleRejectedError(
                "provider",
                "tensorrt computes FP32 in TF32, and has no option against it; --precision fp32 "
                "needs another provider, such as cuda",
            )
        missing = [name for name in self.preference if PROVIDERS[name] not in available]
        if missing and not self.allow_fallback:
            here = [name for name, long in PROVIDERS.items() if long in available]
            raise BundleRejectedError(
                "provider",
                f"the execution provider {missing[0]!r} is not available here, only: "
                f"{', '.join(here)}; {INSTALL[missing[0]]}; or add --allow-fallback",
            )
        excluded = {*missing, self.deferred}
        usable = [name for name in dict.fromkeys(self.preference) if name not in excluded]
        if not self.allow_fallback:
            # ONNX Runtime rejects the CPU as a provider when fallback to the CPU is disabled.
            return [name for name in usable if name != CPU or name == usable[0]]
        return [*usable, CPU][: [*usable, CPU].index(CPU) + 1]

    def with_options(self, provider: str, options: Mapping[str, str]) -> "ProviderPolicy":
        """Return a policy with more options for a provider, which override the present ones."""
        merged = {**self.options.get(provider, {}), **options}
        return replace(self, options={**self.options, provider: merged})

    def without(self, provider: str) -> "ProviderPolicy":
        """Return a policy that excludes a provider for now; the others are its fallback."""
        return replace(self, deferred=provider)

    def for_graph_without_engine(self) -> "ProviderPolicy":
        """Return a policy that prefers CUDA, since TensorRT would build an engine in a request."""
        has_both = {"tensorrt", "cuda"} <= set(self.preference)
        return self.without("tensorrt") if has_both else self

    def in_fp32(self) -> "ProviderPolicy":
        """Return a policy that computes what explains a network without loss."""
        return replace(self, precision="fp32") if self.precision in REDUCED else self

    def on_cpu(self) -> "ProviderPolicy":
        """Return the policy of the CPU provider."""
        return ProviderPolicy((CPU,), allow_fallback=False, cores=self.cores)

    def alternatives(
        self, available: Sequence[str], *, reduced: bool = True
    ) -> list["ProviderPolicy"]:
        """Return the policies of which the fastest is to be found, the most exact first.

        Args:
            available: The providers that ONNX Runtime was built with, by its own names.
            reduced: Whether a precision below FP32 may be chosen.
        """
        found = []
        for name in _AUTOMATIC:
            if PROVIDERS[name] not in available:
                continue
            fixed = name != OPENVINO or names_precision(self.options.get(OPENVINO, {}))
            if self.precision in REDUCED:
                precisions = [] if fixed else [self.precision]
            elif fixed:
                precisions = [self.precision]
            else:
                every = reduced and self.precision == AUTO
                precisions = ["fp32", *(REDUCED if every else ())]
            found += [
                replace(self, preference=(name,), allow_fallback=False, precision=one)
                for one in precisions
            ]
        return found

    def with_small_nodes_on_cpu(self) -> "ProviderPolicy":
        """Return a policy that leaves the nodes to the CPU that the other providers don't take."""
        return replace(self, allow_fallback=True)


@dataclass(frozen=True, slots=True)
class ProviderPolicies:
    """The policy of each model.

    Args:
        default: The policy of models without their own.
        models: By model, its own policy.
    """

    default: ProviderPolicy
    models: Mapping[str, ProviderPolicy] = field(default_factory=dict)

    def __iter__(self) -> Iterator[ProviderPolicy]:
        yield self.default
        yield from self.models.values()

    def of(self, model: str) -> ProviderPolicy:
        """Return a model's policy."""
        return self.models.get(model, self.default)
