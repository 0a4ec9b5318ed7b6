"""Versions of a remote that are not valid bundles."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from support.remote import (
    Publish,
    StartServer,
    change_manifest,
    remove,
    unreachable,
)
from support.repositories import corrupt
from support.tiny import seal

pytestmark = pytest.mark.usefixtures("quick_inspection")


def lie_about_size(manifest: dict[str, Any]) -> None:
    manifest["files"][0]["size_bytes"] = 10


def claim_a_terabyte(manifest: dict[str, Any]) -> None:
    manifest["files"][0]["size_bytes"] = 2**40


def climb_out(manifest: dict[str, Any]) -> None:
    manifest["files"][0]["name"] = "../../../evil.onnx"


def list_twice(manifest: dict[str, Any]) -> None:
    manifest["files"].append(manifest["files"][0])


DAMAGES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "hash": (corrupt, "hash", "the SHA-256 of model.onnx is"),
    "size": (change_manifest(lie_about_size), "hash", "the manifest says 10"),
    "terabyte": (change_manifest(claim_a_terabyte), "files", "at most 1,073,741,824 are allowed"),
    "climb": (change_manifest(climb_out), "manifest", "the manifest lists ../../../evil.onnx"),
    "twice": (change_manifest(list_twice), "manifest", "the manifest lists"),
    "no-manifest": (
        lambda source: (source / "manifest.json").write_text("{"),
        *("manifest", "manifest.json is not a manifest"),
    ),
    "huge-manifest": (
        lambda source: (source / "manifest.json").write_bytes(b" " * (2**22 + 1)),
        *("files", "manifest.json has more than the 4,194,304 bytes"),
    ),
    "extra": (
        lambda source: (source / "setup.py").write_text("print()"),
        *("files", "setup.py doesn't belong to a bundle"),
    ),
    "missing": (lambda source: (source / "golden.npz").unlink(), "files", "golden.npz is missing"),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_damaged_version_is_rejected_and_the_older_one_serves(
    start: StartServer, publish: Publish, name: str, tmp_path: Path
) -> None:
    damage, reason, message = DAMAGES[name]
    publish(1)
    publish(2, damage=damage)
    server = start()
    for _ in range(3):
        await server.manager.reconcile()
    assert (server.serving(), server.cached()) == ([1], [1])
    (rejection,) = server.manager.catalog.rejections
    assert (rejection.model, rejection.version, rejection.reason) == ("tiny", 2, reason)
    assert message in rejection.message
    assert server.follower.events.count(f"rejected tiny v2 {reason}") == 1
    assert server.syncs.failures == 0
    assert not list(tmp_path.rglob("evil*"))
    assert not list(tmp_path.rglob(".tmp-*"))


async def test_damaged_version_is_fetched_again_when_it_changes(
    start: StartServer, publish: Publish
) -> None:
    publish(1)
    publish(2, damage=corrupt)
    server = start()
    await server.manager.reconcile()
    publish(2)
    await server.manager.reconcile()
    assert (server.serving(), server.rejections, server.cached()) == ([2], [], [2])


async def test_rejection_of_a_removed_version_is_forgotten(
    start: StartServer, publish: Publish
) -> None:
    publish(1)
    publish(2, damage=corrupt)
    server = start()
    await server.manager.reconcile()
    remove("tiny/2")
    await server.manager.reconcile()
    assert (server.serving(), server.rejections) == ([1], [])
    assert server.follower.events[-1] == "reconciled"


async def test_version_that_fails_at_load_gives_its_place_and_is_fetched_once(
    start: StartServer, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil_graph(source: Path) -> None:
        (source / "model.onnx").write_bytes(b"no graph")
        seal(source)

    publish(1)
    publish(2, damage=spoil_graph)
    server = start()
    await server.manager.reconcile()
    assert (server.serving(), server.rejections) == ([1], [(2, "graph")])
    monkeypatch.setattr(MemoryFileSystem, "_open", unreachable)
    await server.manager.reconcile()
    assert (server.serving(), server.syncs.failures) == ([1], 0)
