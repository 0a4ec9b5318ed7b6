"""The settings of the server: one group for each folder that uses them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Self, get_type_hints

from convscope.server.frontend.settings import FrontendSettings
from convscope.server.inference.settings import InferenceSettings
from convscope.server.observability.settings import TelemetrySettings
from convscope.server.process.settings import ProcessSettings
from convscope.server.repository.settings import RepositorySettings
from convscope.server.runtime.settings import RuntimeSettings

__all__ = ["Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of one server process."""

    repository: RepositorySettings
    frontend: FrontendSettings = field(default_factory=FrontendSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    inference: InferenceSettings = field(default_factory=InferenceSettings)
    process: ProcessSettings = field(default_factory=ProcessSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Sort values into their groups.

        Args:
            values: By the names of the groups' fields, which are unique over all groups.
        """
        return cls(
            **{
                name: group(**{f.name: values[f.name] for f in fields(group) if f.name in values})
                for name, group in get_type_hints(cls).items()
            }
        )

    @property
    def listeners(self) -> Mapping[str, str]:
        """The address HOST:PORT of each listener, by the flag that sets it."""
        addresses = {
            "--grpc-address": self.frontend.grpc_address,
            "--metrics-address": self.telemetry.metrics_address,
        }
        admin = self.frontend.admin_address
        if admin is not None and not admin.startswith("unix:"):
            addresses["--admin-address"] = admin
        return addresses

    def for_worker(
        self,
        grpc_address: str,
        admin_address: str | None = None,
        *,
        overrides: Mapping[str, Any] = MappingProxyType({}),
        provider_choices: Mapping[str, Any] | None = None,
    ) -> "Settings":
        """Return the settings of one of several worker processes: its share of the machine.

        Args:
            grpc_address: HOST:PORT that all workers share.
            admin_address: Its own Unix socket for the supervisor; None without AdminService.
            overrides: What operators have changed, by model.
            provider_choices: What the first worker has chosen; None for the first worker itself.
        """
        workers = self.process.workers
        memory_mb = self.repository.max_memory_mb
        share_mb = None if memory_mb is None else max(1, memory_mb // workers)
        cores = max(1, self.runtime.core_count // workers)
        in_flight = max(1, self.frontend.max_memory_in_flight // workers)
        return replace(
            self,
            repository=replace(self.repository, max_memory_mb=share_mb, overrides=dict(overrides)),
            frontend=replace(
                self.frontend,
                grpc_address=grpc_address,
                admin_address=admin_address,
                max_memory_in_flight=in_flight,
                policy_share=self.frontend.policy_share / workers,
            ),
            runtime=replace(self.runtime, cores=cores, provider_choices=provider_choices),
            process=replace(self.process, workers=1),
        )
