"""How many images of a model wait in the server at once."""

import asyncio

from convscope.web.turns import IMAGES_AT_ONCE, Turns


async def test_a_burst_waits_and_nothing_remains() -> None:
    turns, now, most = Turns(), 0, 0

    async def image(model: str) -> None:
        nonlocal now, most
        async with turns.of(model):
            now, most = now + 1, max(most, now + 1)
            await asyncio.sleep(0)
            now -= 1

    await asyncio.gather(*(image("a") for _ in range(1000)))
    assert most == IMAGES_AT_ONCE
    assert turns.models == 0


async def test_a_busy_model_does_not_delay_another() -> None:
    turns, release = Turns(), asyncio.Event()

    async def image(model: str) -> None:
        async with turns.of(model):
            await release.wait()

    busy = [asyncio.create_task(image("a")) for _ in range(300)]
    await asyncio.sleep(0)
    async with turns.of("b"):
        assert turns.models == 2
    for task in busy[:250]:  # callers that disconnect
        task.cancel()
    release.set()
    await asyncio.gather(*busy, return_exceptions=True)
    assert turns.models == 0
