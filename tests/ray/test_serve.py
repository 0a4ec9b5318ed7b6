"""The application of Ray Serve, called by our own clients and compared with a server."""

import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any

import grpc
import numpy as np
import pytest
import yaml
from support.alterations import slow_down
from support.calls import image_request, signal_request, wait_until
from support.processes import descendants
from support.server import ServerProcess
from support.tiny import write_signal, write_tiny

from convscope.client import (
    Client,
    ConvscopeError,
    Health,
    InvalidInputError,
    NotFoundError,
)
from convscope.server.errors import StartError
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

# Not "ray", which is also the name of this folder.
pytest.importorskip("ray.serve", reason="Ray is not installed; `make test-ray` installs it")

from ray import serve
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.serve.schema import ServeDeploySchema

from deploy.ray.app import build
from deploy.ray.servicers import SERVICERS, is_lost

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"runners": 1, "max_batch": 8, "poll_seconds": 1}
CALLS, CALLERS = 1000, 16
TURNS = 10_000  # of a loop in the graph: some milliseconds, so that a killed replica has calls
NAME = "convscope"
PHOTOS = [np.random.default_rng(seed).integers(0, 256, (60, 90, 3), np.uint8) for seed in range(8)]


@pytest.fixture(scope="module")
def target(cluster: None) -> Iterator[str]:
    """The address of Ray's proxy."""
    port = free_port()
    serve.start(
        http_options={"host": "127.0.0.1", "port": free_port()},
        grpc_options={"port": port, "grpc_servicer_functions": list(SERVICERS)},
    )
    yield f"127.0.0.1:{port}"
    serve.shutdown()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of "tiny" and "signal"."""
    root = tmp_path_factory.mktemp("ray")
    write_tiny(root, alter_graph=slow_down(TURNS))
    write_signal(root)
    return root


@pytest.fixture(scope="module")
def client(target: str, repository: Path) -> Iterator[Client]:
    """A client of two replicas."""
    deploy(repository, replicas=2)
    with Client(target, timeout_seconds=60) as client:
        client.wait_ready(200)
        yield client


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Client]:
    """A client of a server of the same models, which serves two versions of each."""
    with ServerProcess(repository, "--versions", "2") as server, Client(server.target) as client:
        yield client


def deploy(models: Path, **arguments: Any) -> None:
    """Deploy the application, or update it, and wait until all replicas run."""
    serve.run(
        build({"models": str(models), **SETTINGS, **arguments}),
        name=NAME,
        route_prefix=f"/{NAME}",
    )


def publish(repository: Path, version: int) -> None:
    """Publish a version of "tiny" with other probabilities, at once as the exporter does."""
    folder = repository.parent / f"new-{version}"
    slow = slow_down(TURNS)
    write_tiny(folder, version=version, activation="Sigmoid", alter_graph=slow)
    (folder / "tiny" / str(version)).rename(repository / "tiny" / str(version))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def replicas() -> list[int]:
    """Return the processes of the replicas."""
    found = []
    for pid in descendants(os.getpid()):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if command.startswith(b"ray::ServeReplica"):
            found.append(pid)
    return found


def seen(outcome: Any) -> Any:
    """Return what both must answer alike."""
    if isinstance(outcome, ConvscopeError):
        return type(outcome), outcome.message, outcome.code
    maps = {name: one.array.tolist() for name, one in outcome.feature_maps.items()}
    return outcome.model, outcome.version, outcome.provider, outcome.classes, maps


def test_answers_are_those_of_a_server(client: Client, server: Client) -> None:
    assert client.health("tiny") is Health.SERVING
    assert client.models() == server.models()
    assert client.model("tiny").labels == server.model("tiny").labels
    ours, theirs = client.server_info(), server.server_info()
    assert (ours.version, ours.limits, ours.transport) == (
        theirs.version,
        theirs.limits,
        "in-process",
    )
    images: list[Any] = [*PHOTOS, b"no image", "missing.png"]
    options: dict[str, Any] = {"model": "tiny", "feature_maps": ["conv"], "return_errors": True}
    answers = [list(map(seen, one.classify_many(images, **options))) for one in (client, server)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"model": "cat"}, NotFoundError),
        ({"model": "tiny", "version": 9}, NotFoundError),
        ({"model": "tiny", "feature_maps": ["conv9"]}, InvalidInputError),
    ],
)
def test_errors_are_those_of_a_server(
    client: Client, server: Client, options: dict[str, Any], kind: type[ConvscopeError]
) -> None:
    errors = []
    for one in (client, server):
        with pytest.raises(kind) as caught:
            one.classify(PHOTOS[0], **options)
        errors.append(caught.value)
    assert seen(errors[0]) == seen(errors[1])
    sent: Any = errors[0].grpc_error
    assert ("x-request-id", errors[0].request_id) in sent.trailing_metadata()


def test_a_stream_is_answered_in_order(client: Client) -> None:
    stub = inference_pb2_grpc.ClassifierServiceStub(client.channel)
    models = ["tiny", "cat", "tiny"]
    requests = [pb.ClassifyStreamRequest(request=image_request(model=name)) for name in models]
    replies = list(stub.ClassifyStream(iter(requests), timeout=60))
    outcomes = [reply.WhichOneof("outcome") for reply in replies]
    assert outcomes == ["response", "error", "response"]


@pytest.mark.slow(seconds=30)
@pytest.mark.timeout(600)
def test_no_call_is_lost_while_a_replica_is_killed_and_the_versions_change(
    client: Client, server: Client, target: str, repository: Path
) -> None:
    answers: list[tuple[int, Any]] = []
    done = Event()

    def call_on() -> None:
        while not done.is_set():
            photo = len(answers) % len(PHOTOS)
            answers.append((photo, patient.classify(PHOTOS[photo], model="tiny")))

    def serves(version: int) -> bool:
        return all(answer.version == version for _, answer in answers[-100:])

    with (
        Client(target, timeout_seconds=120) as patient,
        ThreadPoolExecutor(CALLERS) as pool,
    ):
        callers = [pool.submit(call_on) for _ in range(CALLERS)]
        try:
            wait_until(lambda: len(answers) > CALLS // 4)
            os.kill(replicas()[0], signal.SIGKILL)
            publish(repository, 2)  # each replica notices it by itself
            wait_until(lambda: serves(2))
            deploy(repository, replicas=2, versions="=1")  # Ray replaces the replicas, one by one
            wait_until(lambda: serves(1) and len(answers) > CALLS)
        finally:
            done.set()
        for caller in callers:
            caller.result()
    wait_until(lambda: len(server.models()) == 3)
    expected = {
        (photo, version): seen(server.classify(PHOTOS[photo], model="tiny", version=version))
        for photo in range(len(PHOTOS))
        for version in (1, 2)
    }
    assert expected[0, 1] != expected[0, 2]
    assert [seen(answer) for _, answer in answers] == [
        expected[photo, answer.version] for photo, answer in answers
    ]
    print(f"{len(answers)} calls, none lost")


@pytest.mark.slow(seconds=20)
def test_models_are_multiplexed(target: str, repository: Path, client: Client) -> None:
    """Each replica keeps one model, and those that its streams use."""
    deploy(repository, replicas=1, models_per_replica=1)
    client.wait_ready(200)
    stub = inference_pb2_grpc.ClassifierServiceStub(client.channel)

    def loaded() -> set[str]:
        return {one.model for one in client.models()}

    client.classify(PHOTOS[0], model="tiny")
    assert loaded() == {"tiny"}
    sent = Queue[pb.ClassifyStreamRequest | None]()
    replies = stub.ClassifyStream(iter(sent.get, None), timeout=120)
    sent.put(pb.ClassifyStreamRequest(request=signal_request(3)))
    assert next(replies).WhichOneof("outcome") == "response"
    wait_until(lambda: loaded() == {"signal"})
    client.classify(PHOTOS[0], model="tiny")
    assert all(loaded() == {"signal", "tiny"} for _ in range(10))
    stub.Classify(signal_request(3), timeout=60)
    wait_until(lambda: loaded() == {"signal"})
    sent.put(None)
    assert list(replies) == []
    assert all(loaded() == {"signal"} for _ in range(10))

    # Of two replicas, a call that names its model finds the one that has it.
    deploy(repository, replicas=2, models_per_replica=1)

    def replica(model: str) -> str:
        """Return which replica answers a call; an error has an id that begins with it."""
        with pytest.raises(grpc.RpcError) as caught:
            stub.Classify(
                pb.ClassifyRequest(model=model),
                metadata=(("multiplexed_model_id", model),),
                timeout=60,
            )
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        identifier: str = dict(error.trailing_metadata())["x-request-id"]
        return identifier.partition("-")[0]

    def are_apart() -> bool:
        found = {model: {replica(model) for _ in range(5)} for model in ("tiny", "signal")}
        return [len(one) for one in found.values()] == [1, 1] and found["tiny"] != found["signal"]

    wait_until(are_apart)
    # Without the header, any replica answers, and loads what it must.
    assert {client.classify(PHOTOS[0], model="tiny").model for _ in range(5)} == {"tiny"}


def test_a_lost_replica_is_recognized_by_the_text_of_rays_errors() -> None:
    assert is_lost(str(ActorDiedError()))
    assert is_lost(str(ActorUnavailableError("RpcError: RPC Error message: closed", bytes(16))))
    assert not is_lost("The actor is unavailable to us.")


def test_the_configuration_is_one_of_this_application() -> None:
    content = yaml.safe_load((ROOT / "deploy" / "ray" / "serve.yaml").read_text())
    schema = ServeDeploySchema.model_validate(content)
    assert tuple(schema.grpc_options.grpc_servicer_functions) == SERVICERS
    (application,) = schema.applications
    module, name = application.import_path.split(":")
    found = getattr(import_module(module), name)(application.args)
    assert [one.name for one in application.deployments] == [found._bound_deployment.name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no repository is given"),
        ({"models": "models"}, "models is 'models', and the replicas"),
        ({"models": "/models", "models_per_replica": "0"}, "models_per_replica is '0'"),
        ({"models": "/models", "replicas": 0}, "replicas is 0"),
        ({"models": "/models", "provder": "cpu"}, "there is no setting 'provder'"),
    ],
)
def test_invalid_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(StartError, match=f"^{message}"):
        build(arguments)
