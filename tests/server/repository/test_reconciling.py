"""What serves follows the disk, and nothing bad on disk reaches what serves."""

import errno
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.loading import Follower
from support.repositories import MakeManager, corrupt, serving
from support.tiny import write_tiny

from convscope.server.errors import NotFoundError
from convscope.server.repository.catalog import Target
from convscope.server.repository.desired import Desired, DesiredVersions
from convscope.server.repository.plan import Action, plan
from convscope.server.repository.state import Observed
from convscope.server.runtime.validation.client import BundleValidator

pytestmark = pytest.mark.usefixtures("quick_inspection")


async def test_new_version_takes_over_and_the_old_one_retires(
    tmp_path: Path, make: MakeManager, follower: Follower
) -> None:
    write_tiny(tmp_path, version=1)
    manager = make()
    await manager.reconcile()
    write_tiny(tmp_path, version=2)
    await manager.reconcile()
    await manager.close()
    assert manager.catalog.resolve(Target("tiny")).key == ("tiny", 2)
    assert follower.events == [
        *("ready tiny v1", "reconciled"),
        *("ready tiny v2", "reconciled", "retire tiny v1"),
    ]


async def test_reconciling_again_does_nothing(
    tmp_path: Path, make: MakeManager, follower: Follower
) -> None:
    write_tiny(tmp_path)
    manager = make()
    await manager.reconcile()
    events = list(follower.events)
    await manager.reconcile()
    assert follower.events == events


async def test_hidden_file_beside_a_bundle_changes_nothing(
    tmp_path: Path, make: MakeManager, follower: Follower
) -> None:
    directory = write_tiny(tmp_path)
    manager = make()
    await manager.reconcile()
    events = list(follower.events)
    (directory / ".nfs000000000001").touch()
    await manager.reconcile()
    assert follower.events == events


async def test_configmap_that_is_mounted_again_is_loaded_again(
    tmp_path: Path, make: MakeManager, follower: Follower
) -> None:
    directory = write_tiny(tmp_path)
    content = [path.name for path in directory.iterdir()]
    first, second = directory / "..first", directory / "..second"
    first.mkdir()
    for name in content:
        (directory / name).rename(first / name)
        (directory / name).symlink_to(f"..data/{name}")
    (directory / "..data").symlink_to(first.name)
    manager = make()
    await manager.reconcile()
    shutil.copytree(first, second)
    (directory / "..new").symlink_to(second.name)
    (directory / "..new").replace(directory / "..data")
    await manager.reconcile()
    await manager.close()
    assert follower.events == [
        *("ready tiny v1", "reconciled"),
        *("ready tiny v1", "reconciled", "retire tiny v1"),
    ]


async def test_directory_with_an_unusable_name_is_logged_once(
    tmp_path: Path, make: MakeManager
) -> None:
    write_tiny(tmp_path)
    for name in ("ResNet50.v1/1", "tiny/001", "tiny/v2", ".cache/x", "tiny/.2-part"):
        (tmp_path / name).mkdir(parents=True)
    manager = make()
    with capture_logs() as logs:
        await manager.reconcile()
        await manager.reconcile()
    skipped = {
        line["path"]: line["reason"] for line in logs if line["event"] == "directory skipped"
    }
    assert sum(line["event"] == "directory skipped" for line in logs) == 3
    assert set(skipped) == {"ResNet50.v1", "tiny/001", "tiny/v2"}
    assert skipped["ResNet50.v1"].startswith("models have names of a-z, 0-9, _ and -")
    assert skipped["tiny/001"] == (
        "versions are 1, 2, 3 and so on, without leading zeros; rename it"
    )


async def test_model_is_planned_again_only_after_a_change(
    tmp_path: Path, make: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[set[int]] = []

    def count(desired: Desired, observed: Observed) -> list[Action]:
        planned.append(set(observed.on_disk.versions))
        return plan(desired, observed)

    monkeypatch.setattr("convscope.server.repository.manager.plan", count)
    write_tiny(tmp_path, version=1)
    manager = make()
    for _ in range(2):
        await manager.reconcile()
    planned.clear()
    await manager.reconcile()
    assert planned == []
    write_tiny(tmp_path, version=2)
    await manager.reconcile()
    assert planned[0] == {1, 2}
    assert serving(manager) == [2]
    manager.desired.overrides("tiny").exclude(2)
    await manager.reconcile()
    assert serving(manager) == [1]


async def test_rejected_version_leaves_the_old_one_and_is_tried_again_only_when_it_changes(
    tmp_path: Path, make: MakeManager, follower: Follower
) -> None:
    write_tiny(tmp_path, version=1)
    manager = make()
    await manager.reconcile()
    corrupt(write_tiny(tmp_path, version=2))
    for _ in range(3):
        await manager.reconcile()
    assert serving(manager) == [1]
    assert [(r.version, r.reason) for r in manager.catalog.rejections] == [(2, "hash")]
    assert follower.events.count("rejected tiny v2 hash") == 1
    shutil.rmtree(tmp_path / "tiny" / "2")
    write_tiny(tmp_path, version=2)
    await manager.reconcile()
    assert serving(manager) == [2]
    assert manager.catalog.rejections == []


async def test_version_copied_file_by_file_serves_once_it_is_complete(
    tmp_path: Path, make: MakeManager
) -> None:
    write_tiny(tmp_path, version=1)
    source = write_tiny(tmp_path / "elsewhere", version=2)
    manager = make()
    await manager.reconcile()
    target = tmp_path / "tiny" / "2"
    target.mkdir()
    for name in ("model.onnx", "manifest.json", "golden.npz"):
        await manager.reconcile()
        assert serving(manager) == [1]
        shutil.copy(source / name, target / name)
    await manager.reconcile()
    assert serving(manager) == [2]


async def test_good_files_in_place_of_others_are_loaded_and_bad_ones_are_not(
    tmp_path: Path, make: MakeManager, follower: Follower
) -> None:
    directory = write_tiny(tmp_path)
    manager = make()
    await manager.reconcile()
    first = manager.catalog.resolve(Target("tiny"))
    corrupt(directory)
    await manager.reconcile()
    assert manager.catalog.resolve(Target("tiny")) is first
    shutil.rmtree(directory)
    write_tiny(tmp_path)
    await manager.reconcile()
    await manager.close()
    assert manager.catalog.resolve(Target("tiny")) is not first
    assert follower.events.count("retire tiny v1") == 1


async def test_rolled_back_version_returns(tmp_path: Path, make: MakeManager) -> None:
    write_tiny(tmp_path, version=1)
    manager = make()
    await manager.reconcile()
    write_tiny(tmp_path, version=2)
    await manager.reconcile()
    shutil.rmtree(tmp_path / "tiny" / "2")
    await manager.reconcile()
    assert serving(manager) == [1]


async def test_repository_that_cannot_be_read_changes_nothing(
    tmp_path: Path, make: MakeManager
) -> None:
    write_tiny(tmp_path)
    manager = make()
    await manager.reconcile()
    tmp_path.rename(tmp_path.parent / "moved")
    await manager.reconcile()
    assert serving(manager) == [1]


async def test_model_that_cannot_be_read_does_not_stop_the_others(
    tmp_path: Path, make: MakeManager
) -> None:
    write_tiny(tmp_path, version=1)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    manager = make()
    await manager.reconcile()
    write_tiny(tmp_path, version=2)
    await manager.reconcile()
    assert serving(manager) == [2]


async def test_unexpected_error_in_one_model_does_not_stop_the_others(
    tmp_path: Path, make: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for model in ("a", "z"):
        write_tiny(tmp_path, model)
    manager = make()
    with monkeypatch.context() as patch:
        of = DesiredVersions.of

        def fail(self: DesiredVersions, model: str) -> Desired:
            if model == "a":
                raise RuntimeError("once")
            return of(self, model)

        patch.setattr(DesiredVersions, "of", fail)
        await manager.reconcile()
        assert (serving(manager, "a"), serving(manager, "z")) == ([], [1])
    await manager.reconcile()
    assert serving(manager, "a") == [1]


async def test_transient_failure_is_retried_after_a_pause_although_no_file_changes(
    tmp_path: Path, make: MakeManager, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny(tmp_path, version=1)
    now = [0.0]
    manager = make(clock=lambda: now[0])
    await manager.reconcile()
    write_tiny(tmp_path, version=2)

    def fail(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(BundleValidator, "validate", fail)  # as if no process could be started
        for seconds in (0.0, 1.0, 5.0, 6.0):
            now[0] = seconds
            await manager.reconcile()
    assert follower.events.count("rejected tiny v2 files") == 2
    (rejection,) = manager.catalog.rejections
    assert rejection.message == "can't be read: Resource temporarily unavailable"
    assert serving(manager) == [1]
    await manager.reconcile()
    assert serving(manager) == [1]
    now[0] = 15.0
    await manager.reconcile()
    assert (serving(manager), manager.catalog.rejections) == ([2], [])


async def test_removed_model_leaves_the_catalog(tmp_path: Path, make: MakeManager) -> None:
    for model in ("one", "two"):
        write_tiny(tmp_path, model)
    manager = make()
    await manager.reconcile()
    shutil.rmtree(tmp_path / "two")
    await manager.reconcile()
    assert (manager.catalog.names, manager.models_on_disk) == (["one"], ["one"])


async def test_questions_about_an_unknown_model_leave_no_entry(
    tmp_path: Path, make: MakeManager
) -> None:
    write_tiny(tmp_path)
    manager = make()
    await manager.reconcile()
    assert not manager.catalog.is_ready("cat")
    assert manager.catalog.get("cat").serving == set()
    with pytest.raises(NotFoundError):
        manager.catalog.resolve(Target("cat"))
    assert manager.catalog.names == ["tiny"]
