"""How a supervisor starts a worker: convscope-server FLAG DESCRIPTOR."""

__all__ = ["WORKER_FLAG"]

WORKER_FLAG = "--worker-socket"
