"""Scrapes of the metrics listener."""

import urllib.error
import urllib.request

__all__ = ["has_model", "metrics", "status"]

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def metrics(port: int, timeout: float = 5.0) -> str:
    """Return the metrics."""
    with _OPENER.open(f"http://127.0.0.1:{port}/metrics", timeout=timeout) as reply:
        text: str = reply.read().decode()
    return text


def status(port: int, path: str) -> int | None:
    """Return the HTTP status of a path; None without a reply."""
    try:
        with _OPENER.open(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
            code: int = reply.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
    return code


def has_model(port: int) -> bool:
    """Return whether the metrics name a model that is served."""
    try:
        return "convscope_model_info{" in metrics(port)
    except OSError:
        return False
