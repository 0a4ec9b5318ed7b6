"""The quick start and the tutorial are run, block after block, with a real server.

The tutorial trains LeNet here, which takes a few seconds, and its page says so. The quick start
serves the network that the demo's export has made.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest
from support.pages import NOT_RUN, PageRun, page_blocks

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "docs" / name for name in ("quick-start.md", "tutorial.md")]
RUN = {"console", "python", "text"}
# Parts of the tutorial's commands, and what runs in their place.
REPLACED = {
    "efficientnet_lite0 --pretrained --dataset": "lenet --dataset",
    "--epochs 2 --freeze backbone": "--epochs 12",
    "--epochs 3 --freeze backbone": "--epochs 3",
}


ONE_TRANSPORT = pytest.mark.one_transport("trains networks; other tests make the same calls")


@pytest.mark.slow(seconds=10)
@pytest.mark.timeout(1800)
@ONE_TRANSPORT
def test_the_quick_start_runs(demo_repository: Path, tmp_path: Path) -> None:
    bundle = demo_repository / "efficientnet_lite0"  # the same command has made it
    export = f"mkdir models; cp -r {bundle} models; echo published models/{bundle.name}/1"
    run_page(PAGES[0], tmp_path, {"convscope-exporter export efficientnet_lite0": export})
    assert len(list((tmp_path / "pictures").iterdir())) >= 2


@pytest.mark.slow(seconds=30)
@pytest.mark.timeout(1800)
@ONE_TRANSPORT
def test_the_tutorial_runs(tmp_path: Path) -> None:
    run_page(PAGES[1], tmp_path, REPLACED)
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    made = [path for path in tmp_path.iterdir() if not path.is_symlink() and path.suffix != ".log"]
    assert [
        path.name for path in made if not {f"/{path.name}", f"/{path.name}/"} & {*ignored}
    ] == []


def run_page(page: Path, folder: Path, replaced: Mapping[str, str]) -> None:
    for name in ("tests", "exporter"):
        (folder / name).symlink_to(ROOT / name)
    with PageRun(folder, replaced) as run:
        for block in page_blocks(page):
            run.run(block)


def test_what_is_replaced_is_in_the_tutorial() -> None:
    text = " ".join(PAGES[1].read_text().replace("\\\n", " ").split())
    assert [part for part in REPLACED if part not in text] == []
    assert "the trainings with LeNet" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_block_that_is_not_run_says_so(page: Path) -> None:
    blocks = page_blocks(page)
    assert len(blocks) == page.read_text().count("\n```") // 2
    for language, title, _ in blocks:
        assert language in RUN or title.startswith(NOT_RUN), (language, title)
