"""The same with `AsyncClient`."""

import asyncio
from pathlib import Path

from convscope.client import (
    AsyncClient,
    AsyncResultStream,
    Classification,
    ConvscopeError,
    Health,
    ModelInfo,
    Results,
    ServerLimits,
)


async def classify(client: AsyncClient, photos: list[Path]) -> list[str]:
    calls = [client.classify(photo, model="m", explain=1) for photo in photos]
    results: list[Classification] = await asyncio.gather(*calls)
    return [result.top.label for result in results]


async def classify_many(client: AsyncClient, photos: list[Path]) -> Results[Classification]:
    kept: Results[Classification] = Results()
    async for result in client.classify_many(photos, model="m"):
        kept.append(result)
    async for outcome in client.classify_many(photos, model="m", return_errors=True):
        if not isinstance(outcome, ConvscopeError):
            kept.append(outcome)
    stream: AsyncResultStream[Classification] = client.classify_many(photos, model="m")
    kept.extend(await stream.collect())
    print(await stream.to_rows(), await stream.to_pandas())
    await stream.aclose()
    return kept


async def limits(client: AsyncClient) -> ServerLimits | None:
    await client.wait_ready(timeout_seconds=30)
    health: Health = await client.health("m")
    return (await client.server_info()).limits if health else None


async def main() -> None:
    async with AsyncClient("localhost:8001", coalesce=False, oversize="shrink") as client:
        photos = [Path("a.png")]
        info: ModelInfo = await client.model((await client.models())[0].model)
        print(await classify(client, photos), await classify_many(client, photos), info)
        print(client.channel, await limits(client))
    await client.close()
    async with AsyncClient.local("models") as local:
        print((await local.classify("a.png", model="m")).top.label)
