"""Threads that encode large replies, so that neither the event loop nor a runner is blocked."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore

from convscope.server.inference.requests import InferenceRequest, Outcome

__all__ = ["MAX_REPLIES", "ReplyEncoder", "encode"]

# Encoding mostly holds the interpreter's lock, so more threads would not be faster.
THREADS = 2
# Replies that are encoded or wait for it. Each keeps the arrays of its batch in memory.
MAX_REPLIES = 32


class ReplyEncoder:
    """Encodes large replies in its own threads, which nothing else occupies."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="reply-encoder")
        self._room = BoundedSemaphore(MAX_REPLIES)

    def submit(
        self, request: InferenceRequest, encoded: Callable[[InferenceRequest, Outcome], None]
    ) -> bool:
        """Encode the reply to a request, and call a function with it, in some thread.

        Return False if too many replies wait; the caller encodes it itself then. So a
        runner slows down when its replies are not encoded as fast as it computes them.

        The function receives an error if the reply can't be encoded, or if the threads end
        before it is.
        """

        def done(future: "Future[Outcome]") -> None:
            self._room.release()
            cancelled = future.cancelled()
            encoded(request, RuntimeError("the encoder ended") if cancelled else future.result())

        if not self._room.acquire(blocking=False):
            return False
        self._threads.submit(encode, request).add_done_callback(done)
        return True

    def close(self) -> None:
        """End the threads; replies that are not being encoded yet are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def encode(request: InferenceRequest) -> Outcome:
    """Return the reply to a request that has its results, or the error that prevents it."""
    try:
        return request.endpoint.encode(request)
    except Exception as error:  # noqa: BLE001 - the caller receives it
        return error
