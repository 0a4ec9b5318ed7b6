"""Run deploy/ray/ with one and with two replicas, as two applications behind one proxy.

Usage, in Ray's environment: python -m bench.scaling.ray_server MODELS PORT
"""

import os
import signal
import sys
from importlib import import_module
from typing import Any

from bench.context import ROOT
from bench.processes import free_port

__all__ = ["APPLICATIONS", "ENVIRONMENT", "main"]

# The number of replicas by the name of the application.
APPLICATIONS = {"one": 1, "two": 2}
# As `bench.scaling.replicas.ONE_CORE`.
SETTINGS = {"runners": 1, "threads": 1, "decode_threads": 1}
MIB = 2**20
# Ray reads it when it is imported.
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),  # of Ray's processes, which import deploy.ray
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # otherwise it stores a token in the home directory
    # It chooses the address of the cluster, on Linux too: 127.0.0.1 instead of one that others
    # reach, who could run anything without a token.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


def main(models: str, port: int) -> None:
    """Serve until SIGTERM."""
    os.environ |= ENVIRONMENT
    import ray
    from ray import serve

    build = import_module("deploy.ray.app").build
    servicers = import_module("deploy.ray.servicers").SERVICERS

    signal.signal(signal.SIGTERM, _exit)
    ray.init(
        num_cpus=sum(APPLICATIONS.values()),
        object_store_memory=100 * MIB,
        include_dashboard=False,
        log_to_driver=False,
    )
    try:
        serve.start(
            http_options={"host": "127.0.0.1", "port": free_port()},
            grpc_options={"port": port, "grpc_servicer_functions": list(servicers)},
        )
        for name, replicas in APPLICATIONS.items():
            arguments = {"models": models, "replicas": replicas, **SETTINGS}
            serve.run(build(arguments), name=name, route_prefix=f"/{name}")
        print("serving", flush=True)
        signal.pause()
    finally:
        serve.shutdown()
        ray.shutdown()


def _exit(*_: Any) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
