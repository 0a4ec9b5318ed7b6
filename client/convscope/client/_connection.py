"""What both clients are made with, and what their methods share."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import Required, TypedDict

import grpc

from convscope.client._channel import check_target, check_timeout, credentials
from convscope.client._question import Question, encode_question
from convscope.client._translate import translate_errors
from convscope.client.types import FeatureMapSelection, Priority

__all__ = ["ClassifyOptions", "Connection"]

_QUESTIONS_KEPT = 64


class ClassifyOptions(TypedDict, total=False):
    """The keyword arguments of `classify_many` but `return_errors`."""

    model: Required[str]
    version: int | None
    alias: str | None
    top_k: int
    min_probability: float
    feature_maps: Iterable[str | FeatureMapSelection]
    timeout_seconds: float | None
    priority: Priority
    routing_key: str
    window: int
    progress: bool


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
        self._encode_question = lru_cache(_QUESTIONS_KEPT, typed=True)(encode_question)
        self._open()

    def _open(self) -> None:
        """Make what can be made before the first call."""

    def _question(
        self,
        *,
        model: str,
        version: int | None,
        alias: str | None,
        top_k: int,
        min_probability: float,
        feature_maps: Iterable[str | FeatureMapSelection],
        priority: Priority,
        routing_key: str,
    ) -> Question:
        """Check and encode what is asked, unless it was asked lately."""
        # A bare string would be read as one name for each of its letters.
        if isinstance(feature_maps, str | FeatureMapSelection):
            feature_maps = (feature_maps,)
        arguments = (
            *(model, version, alias, top_k, min_probability, tuple(feature_maps)),
            *(priority, routing_key),
        )
        try:
            return self._encode_question(*arguments)
        except TypeError:  # something that isn't hashable is wrong; say what
            return encode_question(*arguments)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._target!r})"

    def _timeout(self, timeout_seconds: float | None) -> float:
        return self._timeout_seconds if timeout_seconds is None else check_timeout(timeout_seconds)

    def _translate_errors(self, timeout_seconds: float) -> AbstractContextManager[None]:
        return translate_errors(self._target, timeout_seconds)
