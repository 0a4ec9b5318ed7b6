"""Settings of ONNX Runtime: execution providers, cores, and how models are run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convscope.server.repository.home import expand_home
from convscope.server.runtime.cores import available_cores
from convscope.server.runtime.execution import ExecutionOverrides
from convscope.server.runtime.providers import AUTO, ProviderPolicies, ProviderPolicy
from convscope.server.runtime.validation.limits import Limits

__all__ = ["ModelProviders", "Options", "RuntimeSettings"]

Options = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class ModelProviders:
    """The execution providers of one model; None means as for all models.

    Args:
        preference: Execution providers in order of preference.
        allow_fallback: As in `RuntimeSettings`.
        options: By provider; they override the options for all models.
        precision: As in `RuntimeSettings`.
    """

    preference: tuple[str, ...] | None = None
    allow_fallback: bool | None = None
    options: Options = field(default_factory=dict)
    precision: str | None = None


@dataclass(frozen=True, kw_only=True)
class RuntimeSettings:
    """How ONNX Runtime runs the models.

    Args:
        provider: Execution providers in order of preference, separated by commas; or auto.
        precision: The precision of FP32 operations, or auto.
        allow_fallback: Whether a later provider or the CPU may replace the first one.
        runners: Batches of one model that run at once; None measures it.
        threads: Threads of one run; None measures it.
        max_batch: Images of one batch; None measures it.
        no_tuning: Whether defaults replace the measurements.
        tuning_cache: The file that keeps the measurements.
        cores: The cores to use; None for all that this process may use.
        preload_feature_maps: Whether the session with feature maps is opened at load.
        preload_explanations: Whether the session with explanations is opened at load.
        max_load_seconds: Seconds of CPU that validating one version may take; by the clock, it
            may take five times as long.
        max_load_memory: Bytes of memory that validating one version may take; None derives
            them from the machine and from the size of the graph.
        provider_options: By provider, for all models.
        model_providers: By model.
        provider_choices: What the first worker chose for "auto"; None if this process chooses.
            No flag sets it.
    """

    provider: str = "cpu"
    precision: str = AUTO
    allow_fallback: bool = False
    runners: int | None = None
    threads: int | None = None
    max_batch: int | None = None
    no_tuning: bool = False
    tuning_cache: Path = Path("~/.cache/convscope/tuning.json")
    cores: int | None = None
    preload_feature_maps: bool = False
    preload_explanations: bool = False
    max_load_seconds: float = 60.0
    max_load_memory: int | None = None
    provider_options: Options = field(default_factory=dict)
    model_providers: Mapping[str, ModelProviders] = field(default_factory=dict)
    provider_choices: Mapping[str, Any] | None = None

    @property
    def core_count(self) -> int:
        """The cores to use."""
        return self.cores or available_cores()

    @property
    def engine_cache(self) -> Path:
        """The directory of TensorRT's engines, beside the measurements."""
        return expand_home(self.tuning_cache).parent / "tensorrt"

    @property
    def validation_cache(self) -> Path | None:
        """The file of the validated versions, beside the measurements; None without tuning."""
        return None if self.no_tuning else expand_home(self.tuning_cache).parent / "validated.json"

    @property
    def load_limits(self) -> Limits:
        """What validating one version may take."""
        return Limits(self.max_load_seconds, self.max_load_memory)

    def overrides(self) -> ExecutionOverrides:
        """Return the operator's settings of how models are run."""
        return ExecutionOverrides(
            cores=self.core_count,
            runners=self.runners,
            threads=self.threads,
            max_batch=self.max_batch,
            measure=not self.no_tuning,
        )

    def policies(self) -> ProviderPolicies:
        """Return the provider policy of each model."""
        models = {name: self._policy(own) for name, own in self.model_providers.items()}
        return ProviderPolicies(self._policy(ModelProviders()), models)

    def _policy(self, own: ModelProviders) -> ProviderPolicy:
        options = {
            name: {**self.provider_options.get(name, {}), **own.options.get(name, {})}
            for name in {*self.provider_options, *own.options}
        }
        fallback = self.allow_fallback if own.allow_fallback is None else own.allow_fallback
        preference = own.preference or tuple(name.strip() for name in self.provider.split(","))
        precision = own.precision or self.precision
        return ProviderPolicy(preference, fallback, options, self.core_count, precision=precision)
