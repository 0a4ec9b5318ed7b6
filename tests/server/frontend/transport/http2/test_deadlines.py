"""Many deadlines at the same time don't stop everything else."""

import asyncio

import pytest

from convscope.server.frontend.transport.http2 import deadlines
from convscope.server.frontend.transport.http2.deadlines import Bucket, Deadlines


class Call:
    """A call that notes when it expires."""

    def __init__(self, deadline: float, events: list[str]) -> None:
        self.deadline: float | None = deadline
        self.bucket: Bucket | None = None
        self._events = events

    def expire(self) -> None:
        self._events.append("expired")


async def test_calls_with_the_same_deadline_expire_in_several_iterations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deadlines, "EXPIRE_SECONDS", 0.0)
    loop = asyncio.get_running_loop()
    events: list[str] = []
    found = Deadlines(loop)
    deadline = loop.time() + 0.02
    for _ in range(50):
        found.add(Call(deadline, events), deadline, loop.time())
    while events.count("expired") < 50:
        events.append("other")
        await asyncio.sleep(0)
    assert "expired expired" not in " ".join(events)
    found.close()
