"""The chapters of docs/lesson are run: each block, in order, against a real server.

CONVSCOPE_UPDATE_LESSON=1 replaces the committed pictures by those that the blocks make.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps
from support.lesson import blocks_of, compare_pictures, pictures_of, run_block
from support.server import ServerProcess

ROOT = Path(__file__).resolve().parents[1]
LESSON = ROOT / "docs" / "lesson"
CHAPTERS = sorted(LESSON.glob("*.md"))
LABELS = [page.stem for page in CHAPTERS]
MAX_BYTES, MAX_TOTAL_BYTES = 150_000, 1_500_000
# These depend on the training of digits.
TRAINED = ("learned-filters.png", "mistakes.png", "occlusion.png")
UPDATE = "CONVSCOPE_UPDATE_LESSON"


@pytest.mark.slow(seconds=5)
@pytest.mark.one_transport("exports networks; other tests make the same calls")
@pytest.mark.parametrize("page", CHAPTERS, ids=LABELS)
def test_a_chapter_runs_and_makes_its_pictures(
    page: Path, demo_repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(demo_repository, tmp_path / "models")
    for name in ("tests", "exporter"):
        (tmp_path / name).symlink_to(ROOT / name)
    state: dict[str, Any] = {}
    with ServerProcess(tmp_path / "models", "--poll-seconds", "0.2") as server:
        monkeypatch.chdir(tmp_path)
        for block in blocks_of(page):
            run_block(block, page, server.target, state)
    if "client" in state:
        state["client"].close()
    made = [path for path in pictures_of(page) if (tmp_path / path.name).exists()]
    if os.environ.get(UPDATE):
        for path in made:
            shutil.copy(tmp_path / path.name, path)
    for path in made:
        compare_pictures(tmp_path / path.name, path, is_trained=path.name in TRAINED)
    saved = {path.name for path in tmp_path.iterdir() if path.suffix in (".png", ".jpg")}
    assert saved == {path.name for path in made}, "each picture of a chapter is shown in it"


def test_every_picture_is_made_by_a_chapter_and_small() -> None:
    pictures = sorted((LESSON / "images").iterdir())
    shown = {path for page in CHAPTERS for path in pictures_of(page)}
    assert set(pictures) == shown
    sizes = {path.name: path.stat().st_size for path in pictures}
    assert max(sizes.values()) < MAX_BYTES, sizes
    assert sum(sizes.values()) < MAX_TOTAL_BYTES, sizes


@pytest.mark.parametrize("name", ["edges.png", "hierarchy.jpg", "pyramids.png", "right.jpg"])
def test_a_picture_of_something_else_is_stale(name: str, tmp_path: Path) -> None:
    committed = LESSON / "images" / name
    compare_pictures(committed, committed, is_trained=False)
    with Image.open(committed) as picture:
        ImageOps.mirror(picture).save(tmp_path / name)
    with pytest.raises(AssertionError, match="is stale"):
        compare_pictures(tmp_path / name, committed, is_trained=False)
