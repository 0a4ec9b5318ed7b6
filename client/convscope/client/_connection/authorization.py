"""Adds the token to each call of a channel, and tries a call again after the token has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import grpc

from convscope.client._connection.forks import CALLS
from convscope.client._connection.tokens import TokenSource

__all__ = ["async_interceptors", "sync_interceptor"]

KEY = "authorization"


def _has_token(details: Any) -> bool:
    """Report whether a call brings its own token, which then has priority."""
    return any(key == KEY for key, _ in details.metadata or ())


def _with_token(details: Any, token: str, metadata: Callable[..., Any], since: float = 0.0) -> Any:
    """Return the details of a call with a token, and with what remains of its time."""
    timeout = details.timeout
    if since and timeout is not None:
        timeout = max(0.001, timeout - (monotonic() - since))
    pairs = (*(details.metadata or ()), (KEY, f"Bearer {token}"))
    return details._replace(metadata=metadata(pairs), timeout=timeout)


def _is_rejected(code: grpc.StatusCode) -> bool:
    return code is grpc.StatusCode.UNAUTHENTICATED


def sync_interceptor(source: TokenSource) -> Any:
    """Return the interceptor of a channel for blocking calls."""
    return _Blocking(source)


class _Blocking(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def __init__(self, source: TokenSource) -> None:
        self._source = source

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        if _has_token(details):
            return continuation(details, request)
        token, since = self._source.get(), monotonic()
        call = continuation(_with_token(details, token, tuple), request)

        def again() -> Any:
            """Repeat the call with another token; None if there is no other."""
            if not self._source.renew(token):
                return None
            new = _with_token(details, self._source.get(), tuple, since)
            return continuation(new, request)

        if not call.done():
            return _RepeatedFuture(call, again)
        return (_is_rejected(call.code()) and again()) or call

    def _stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        if not _has_token(details):
            details = _with_token(details, self._source.get(), tuple)
        return continuation(details, requests)

    intercept_unary_stream: Any = _stream
    intercept_stream_unary: Any = _stream
    intercept_stream_stream: Any = _stream


class _RepeatedFuture:
    """A call in flight that is repeated once if its token is rejected.

    Args:
        call: The call.
        again: Repeats it.
    """

    def __init__(self, call: Any, again: Callable[[], Any]) -> None:
        self._call = call
        self._again: Callable[[], Any] | None = again

    def result(self, timeout: float | None = None) -> Any:
        """Return the reply."""
        try:
            return self._call.result(timeout)
        except grpc.RpcError:
            again, self._again = self._again, None
            if again is None or not _is_rejected(self._call.code()):
                raise
            with CALLS:
                repeated = again()
                if repeated is None:
                    raise
                self._call = repeated
                return repeated.result(timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


def async_interceptors(source: TokenSource) -> Sequence[grpc.aio.ClientInterceptor]:
    """Return the interceptors of a channel for asyncio, one for each kind of method."""
    return [kind(source) for kind in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]


class _Async:
    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def _token(self) -> str:
        token = self._source.cached()
        return await asyncio.to_thread(self._source.get) if token is None else token

    async def _stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        if not _has_token(details):
            details = _with_token(details, await self._token(), _metadata)
        return await continuation(details, requests)


def _metadata(pairs: Sequence[tuple[str, str]]) -> Any:
    return grpc.aio.Metadata(*pairs)


class _UnaryUnary(_Async, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        if _has_token(details):
            return await continuation(details, request)
        since = monotonic()
        token = await self._token()
        call = await continuation(_with_token(details, token, _metadata), request)
        if not _is_rejected(await call.code()):
            return call
        if not await asyncio.to_thread(self._source.renew, token):
            return call
        new = _with_token(details, await self._token(), _metadata, since)
        return await continuation(new, request)


class _UnaryStream(_Async, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream: Any = _Async._stream


class _StreamUnary(_Async, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary: Any = _Async._stream


class _StreamStream(_Async, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream: Any = _Async._stream
