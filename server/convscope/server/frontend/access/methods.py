"""The RPCs that a policy can name, and their groups.

An RPC that is in no group is denied to every caller. A test compares the table with the
descriptors of all services.
"""

from collections.abc import Mapping, Sequence

__all__ = ["GROUPS", "HEALTH", "PACED", "RATED", "RPCS", "paths"]

_CLASSIFIER = "convscope.v1.ClassifierService"
_OPEN_INFERENCE = "inference.GRPCInferenceService"

_TABLE: Mapping[str, Mapping[str, Sequence[str]]] = {
    "inference": {
        _CLASSIFIER: ("Classify", "ClassifyStream"),
        _OPEN_INFERENCE: ("ModelInfer", "ModelStreamInfer"),
    },
    "metadata": {
        _CLASSIFIER: ("ListModels", "GetModel", "GetServerInfo"),
        _OPEN_INFERENCE: (
            *("ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig"),
            *("ModelStatistics", "RepositoryIndex"),
        ),
        "grpc.reflection.v1.ServerReflection": ("ServerReflectionInfo",),
        "grpc.reflection.v1alpha.ServerReflection": ("ServerReflectionInfo",),
    },
    "health": {
        "grpc.health.v1.Health": ("Check", "List", "Watch"),
        _OPEN_INFERENCE: ("ServerLive", "ServerReady"),
    },
    "admin": {
        "convscope.v1.AdminService": (
            *("LoadModel", "UnloadModel", "SetAlias", "SetTrial", "GetStatus"),
        ),
        # They explain that they are not supported.
        _OPEN_INFERENCE: (
            *("RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting", "LogSettings"),
            *("SystemSharedMemoryStatus", "SystemSharedMemoryRegister"),
            *("SystemSharedMemoryUnregister", "CudaSharedMemoryStatus"),
            *("CudaSharedMemoryRegister", "CudaSharedMemoryUnregister"),
        ),
    },
}

GROUPS: Mapping[str, frozenset[str]] = {
    group: frozenset(f"/{service}/{name}" for service, names in table.items() for name in names)
    for group, table in _TABLE.items()
}
# The paths of each RPC by its name; reflection has one name and two paths.
RPCS: Mapping[str, frozenset[str]] = {
    name: frozenset(p for members in GROUPS.values() for p in members if p.endswith(f"/{name}"))
    for name in sorted({p.rpartition("/")[2] for members in GROUPS.values() for p in members})
}
HEALTH = GROUPS["health"]
# The messages of a stream wait until their caller is within its rates again.
PACED = RPCS["ClassifyStream"] | RPCS["ModelStreamInfer"]
# Calls of these are denied at their head while their caller is over a rate.
RATED = GROUPS["inference"] - PACED


def paths(names: Sequence[str]) -> frozenset[str]:
    """Return the paths of RPCs and groups.

    Args:
        names: Names that are in `GROUPS` or `RPCS`.
    """
    found: frozenset[str] = frozenset()
    return found.union(*(GROUPS.get(name) or RPCS[name] for name in names))
