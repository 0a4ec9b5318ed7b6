"""What both clients are made with, and what their methods share."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Required, TypedDict

import grpc

from convscope.client._channel import check_target, check_timeout, credentials
from convscope.client._translate import translate_errors
from convscope.client.types import FeatureMapSelection

__all__ = ["ClassifyOptions", "Connection"]


class ClassifyOptions(TypedDict, total=False):
    """The keyword arguments of `classify_many` but `return_errors`."""

    model: Required[str]
    version: int | None
    alias: str | None
    top_k: int
    min_probability: float
    feature_maps: Iterable[str | FeatureMapSelection]
    timeout_seconds: float | None
    window: int


class Connection:
    """The arguments of a client, checked."""

    def __init__(
        self,
        target: str = "localhost:8001",
        *,
        timeout_seconds: float = 30.0,
        tls: grpc.ChannelCredentials | None = None,
        root_certificates: str | Path | bytes | None = None,
    ) -> None:
        self._target = check_target(target)
        self._timeout_seconds = check_timeout(timeout_seconds)
        self._credentials = credentials(tls, root_certificates)
        self._open()

    def _open(self) -> None:
        """Make what can be made before the first call."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r})"

    def _timeout(self, timeout_seconds: float | None) -> float:
        return self._timeout_seconds if timeout_seconds is None else check_timeout(timeout_seconds)

    def _translate_errors(self, timeout_seconds: float) -> AbstractContextManager[None]:
        return translate_errors(self._target, timeout_seconds)
