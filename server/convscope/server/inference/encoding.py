"""Threads that encode large replies, so that neither the event loop nor a runner is blocked."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from convscope.server.inference.requests import InferenceRequest, Outcome

__all__ = ["ReplyEncoder", "encode"]

# Encoding mostly holds the interpreter's lock, so more threads would not be faster.
THREADS = 2


class ReplyEncoder:
    """Encodes large replies in its own threads, which nothing else occupies."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="reply-encoder")

    def submit(
        self, request: InferenceRequest, encoded: Callable[[InferenceRequest, Outcome], None]
    ) -> None:
        """Encode the reply to a request, and call a function with it, in some thread.

        The function receives an error if the reply can't be encoded, or if the threads end
        before it is.
        """

        def done(future: "Future[Outcome]") -> None:
            cancelled = future.cancelled()
            encoded(request, RuntimeError("the encoder ended") if cancelled else future.result())

        self._threads.submit(encode, request).add_done_callback(done)

    def close(self) -> None:
        """End the threads; replies that are not being encoded yet are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def encode(request: InferenceRequest) -> Outcome:
    """Return the reply to a request that has its results, or the error that prevents it."""
    try:
        return request.endpoint.encode(request)
    except Exception as error:  # noqa: BLE001 - the caller receives it
        return error
