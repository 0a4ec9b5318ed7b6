"""Canaries and shadows on a real server, with the operator's tools."""

import json
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from support.calls import sample, wait_until
from support.images import encode
from support.server import ServerProcess
from support.tiny import write_nan_for_black, write_signal, write_tiny
from typer.testing import CliRunner, Result

from convscope.client import AdminClient, Client, FailedPreconditionError, TrafficSplit
from convscope.client.cli import app
from convscope.exporter.cli import app as exporter

pytestmark = pytest.mark.one_transport("versions are chosen behind the transports")

RED = encode(Image.new("RGB", (32, 32), (200, 30, 20)))


def reverse_classes(graph: onnx.ModelProto) -> None:
    """Reverse the order of the classes of a graph."""
    (dense,) = [tensor for tensor in graph.graph.initializer if tensor.name == "dense"]
    dense.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(dense), "dense"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return two_versions(tmp_path)


@pytest.fixture
def server(repository: Path) -> Iterator[ServerProcess]:
    with administered(repository) as process:
        yield process


@pytest.fixture(scope="module")
def shared_repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The repository of a running server, for tests that change nothing."""
    root = two_versions(tmp_path_factory.mktemp("shared"))
    with administered(root):
        yield root


def two_versions(root: Path) -> Path:
    write_tiny(root, version=1)
    write_tiny(root, version=2)
    return root


def administered(repository: Path) -> ServerProcess:
    flags = ("--versions", "=1", "--poll-seconds", "0.1")
    address = f"unix:{repository / '.admin.sock'}"
    return ServerProcess(repository, *flags, "--admin-address", address)


def admin(repository: Path, *arguments: str) -> Result:
    address = f"unix:{repository / '.admin.sock'}"
    return CliRunner().invoke(
        app, ["admin", *arguments], env={"CONVSCOPE_ADMIN": address, "COLUMNS": "120"}
    )


def replace(repository: Path, name: str, text: str) -> None:
    """Replace a document by one rename: a poll would read a part of what is being written."""
    temporary = repository / "tiny" / ".new"
    temporary.write_text(text)
    temporary.rename(repository / "tiny" / name)


def versions_of(client: Client, keys: list[str], alias: str | None = None) -> dict[str, int]:
    return {
        key: client.classify(RED, model="tiny", alias=alias, routing_key=key).version
        for key in keys
    }


def test_canary_serves_its_share_and_a_key_always_gets_the_same_version(
    repository: Path, server: ServerProcess
) -> None:
    keys = [f"user {number}" for number in range(200)]
    with Client(server.target) as client:
        assert set(versions_of(client, keys).values()) == {1}
        shown = admin(repository, "canary", "tiny", "2", "--share", "0.3")
        assert (shown.exit_code, shown.stderr) == (0, "")
        assert ["tiny", "v2", "ready", "canary:", "30%", "cpu"] in [
            line.replace("(default)", "").split() for line in shown.stdout.splitlines()
        ]
        first = versions_of(client, keys)
        assert 30 <= list(first.values()).count(2) <= 90
        assert versions_of(client, keys) == first
        assert client.classify(RED, model="tiny", version=1, routing_key=keys[0]).version == 1
        assert sample(server, "convscope_traffic_share", version="2", kind="canary") == 0.3
        assert admin(repository, "canary", "tiny", "--stop").exit_code == 0
        assert set(versions_of(client, keys).values()) == {1}


def test_canary_of_an_alias_affects_only_its_requests(
    repository: Path, server: ServerProcess
) -> None:
    replace(repository, "aliases.json", '{"champion": 1, "challenger": 2}')
    with AdminClient(f"unix:{repository / '.admin.sock'}") as operator:
        operator.load("tiny")
        status = operator.set_traffic_split(
            "tiny", "canary", TrafficSplit("challenger", 1.0, of="champion")
        )
        assert status.canary == TrafficSplit("challenger", 1.0, of="champion")
    with Client(server.target) as client:
        assert versions_of(client, ["a"], alias="champion") == {"a": 2}
        assert versions_of(client, ["a"]) == {"a": 1}  # only the alias selects version 2


def test_canary_that_is_rejected_gets_no_requests(repository: Path, server: ServerProcess) -> None:
    write_tiny(repository, version=3, alter_graph=reverse_classes)  # fails its golden gate
    with AdminClient(f"unix:{repository / '.admin.sock'}") as operator:
        with pytest.raises(FailedPreconditionError, match="golden"):
            operator.set_traffic_split("tiny", "canary", TrafficSplit(3, 1.0))
        assert operator.status("tiny")[0].canary is None
    # Written directly, without any check.
    replace(repository, "traffic.json", '{"canary": {"to": 3, "share": 1}}')
    wait_until(lambda: sample(server, "convscope_model_refused", version="3") == 1)
    with Client(server.target) as client:
        assert set(versions_of(client, ["a", "b"]).values()) == {1}


def test_shadow_is_compared_and_its_results_are_not_returned(
    repository: Path, server: ServerProcess
) -> None:
    relabel(write_tiny(repository, version=3))
    assert admin(repository, "shadow", "tiny", "2").exit_code == 0
    with Client(server.target) as client:
        results = [client.classify(RED, model="tiny") for _ in range(20)]
        assert {result.version for result in results} == {1}
        wait_until(lambda: inputs(server, "2", "agreed") == 20)
        close = sample(
            server, "convscope_shadow_difference_bucket", version="1", shadow="2", le="0.001"
        )
        assert close == 20
        assert admin(repository, "shadow", "tiny", "3").exit_code == 0
        client.classify(RED, model="tiny")
        wait_until(lambda: inputs(server, "3", "disagreed") == 1)


def inputs(server: ServerProcess, shadow: str, outcome: str) -> float:
    return sample(
        server, "convscope_shadow_inputs_total", version="1", shadow=shadow, outcome=outcome
    )


def relabel(directory: Path) -> None:
    """Rename the classes, so that the same class has another label."""
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["labels"] = ["violet", "yellow", "orange"]
    path.write_text(json.dumps(manifest))


def test_input_that_a_shadow_does_not_accept_is_counted_and_logged_once(
    repository: Path, server: ServerProcess
) -> None:
    write_signal(repository, model="tiny", version=4)
    assert admin(repository, "shadow", "tiny", "4").exit_code == 0
    with Client(server.target) as client:
        for _ in range(3):
            assert client.classify(RED, model="tiny").version == 1
    wait_until(lambda: inputs(server, "4", "failed") == 3)
    assert [event["reason"] for event in server.log if event["event"] == "shadow failed"] == [
        "tiny accepts no images; send a float32 tensor [1, 32]"
    ]


def test_result_of_a_shadow_that_is_not_finite_fails_and_has_no_difference(
    repository: Path, server: ServerProcess
) -> None:
    write_nan_for_black(repository, version=5)
    assert admin(repository, "shadow", "tiny", "5").exit_code == 0
    with Client(server.target) as client:
        client.classify(encode(Image.new("RGB", (32, 32))), model="tiny")
        client.classify(RED, model="tiny")
    wait_until(lambda: inputs(server, "5", "failed") + inputs(server, "5", "agreed") == 2)
    assert inputs(server, "5", "failed") == 1
    assert sample(server, "convscope_shadow_difference_count", version="1", shadow="5") == 1
    assert "NaN" not in server.metrics()


def test_server_reads_a_traffic_split_of_the_exporter(
    repository: Path, server: ServerProcess
) -> None:
    replace(repository, "aliases.json", '{"champion": 1}')
    command = ["canary", "tiny", "2", "--share", "1", "--of", "champion"]
    done = CliRunner().invoke(exporter, [*command, "--repository", str(repository)])
    assert (done.exit_code, done.stdout) == (0, "canary: 1 of champion -> v2\n")
    with Client(server.target) as client:
        wait_until(lambda: sample(server, "convscope_traffic_share", version="2") == 1)
        assert versions_of(client, ["a"], alias="champion") == {"a": 2}


def test_problems_of_aliases_and_traffic_splits_are_reported(
    repository: Path, server: ServerProcess
) -> None:
    replace(repository, "aliases.json", '{"champion": 77}')
    replace(
        repository,
        "traffic.json",
        '{"canary": {"to": "challengr", "share": 0.5}, "shadow": {"to": 2, "share": 1, "of": "x"}}',
    )
    problems = [
        "alias champion names v77, which is not available",
        "canary goes to challengr, an alias that does not exist",
        "shadow is of x, an alias that does not exist",
    ]
    wait_until(lambda: reported(server) == problems)
    assert admin(repository, "status").stderr.splitlines() == [f"tiny: {p}" for p in problems]
    replace(repository, "aliases.json", '{"champion": ')
    wait_until(lambda: any("aliases.json is not JSON" in problem for problem in reported(server)))


def reported(server: ServerProcess) -> list[str]:
    return sorted(
        e["problem"] for e in server.log if e["event"].startswith("alias or traffic split")
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("canary", "cat", "2"), 1, "no model 'cat'"),
        (("canary", "tiny", "7"), 1, "tiny has no version 7; the repository has: 1, 2"),
        (("shadow", "tiny", "best"), 1, "tiny has no alias 'best'; it has none"),
        (("canary", "tiny", "2", "--of", "4"), 1, "canary splits '4'; use an alias"),
        (("canary", "tiny", "2", "--of", "chmpion"), 1, "tiny has no alias 'chmpion'"),
        (("canary", "tiny", "2", "--share", "2"), 64, "--share: "),
        (("canary", "tiny"), 64, "give either a version, by number or alias, or --stop"),
        (("canary", "tiny", "2", "--stop"), 64, "give either a version"),
    ],
    ids=str.split("model version alias of of-unknown share nothing both"),
)
def test_mistakes_are_reported(
    shared_repository: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = admin(shared_repository, *arguments)
    assert done.exit_code == code
    assert message in done.stderr
    assert not (shared_repository / "tiny" / "traffic.json").exists()
