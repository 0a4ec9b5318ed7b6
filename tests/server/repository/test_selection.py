"""Which models and versions the settings select."""

from pathlib import Path

import pytest
from support.repositories import MakeManager, serving
from support.tiny import write_tiny

from convscope.server.repository.selection import parse_versions

pytestmark = pytest.mark.usefixtures("quick_inspection")


async def test_only_selected_models_are_loaded(tmp_path: Path, make: MakeManager) -> None:
    for model in ("one", "two", "three"):
        write_tiny(tmp_path, model)
    manager = make(models=frozenset({"one", "three"}))
    await manager.reconcile()
    assert manager.catalog.models == ["one", "three"]


@pytest.mark.parametrize(
    ("text", "expected"), [("2", [3, 4]), ("=1,3", [1, 3]), ("=9", [])], ids=str
)
async def test_version_policies(
    tmp_path: Path, make: MakeManager, text: str, expected: list[int]
) -> None:
    for version in (1, 2, 3, 4):
        write_tiny(tmp_path, version=version)
    latest, versions = parse_versions(text)
    manager = make(latest=latest, versions=versions)
    await manager.reconcile()
    assert serving(manager) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "latest", "=", "=0", "=1,", "3,5", "=1,x"])
def test_invalid_version_policies(text: str) -> None:
    with pytest.raises(ValueError, match="names no versions; give a number"):
        parse_versions(text)
