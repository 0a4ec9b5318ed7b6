"""The life of a server process: loading, health, reflection, readiness, drain, exit."""

import json
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from support.alterations import flip_byte, slow_down
from support.calls import (
    LOOPBACK,
    connected,
    health,
    image_request,
    rejection,
    run_to_end,
    sample,
    signal_request,
    wait_until,
)
from support.server import FRESH, ServerProcess
from support.tiny import write_signal, write_tiny

from convscope.v1 import admin_pb2, admin_pb2_grpc, inference_pb2_grpc
from convscope.v1 import inference_pb2 as pb

# Without the proxies that the environment may name.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
SERVICE = "convscope.v1.ClassifierService"
SERVING, NOT_SERVING = "SERVING", "NOT_SERVING"
TURNS = 400_000  # of the slow model: half a second or so


def write_broken(root: Path, model: str = "broken") -> None:
    flip_byte(write_tiny(root, model) / "model.onnx", 9)


# Loading


def test_server_that_loads_is_not_serving_and_shows_its_metrics(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a repository that never responds
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/models"
        command = [sys.executable, "-m", "convscope.server", "--models", url, *LOOPBACK]
        address = f"unix:{tmp_path / 'admin'}"
        command += ["--repository-cache", str(tmp_path), "--admin-address", address]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            log = map(json.loads, process.stderr)
            loading = next(line for line in log if "grpc_port" in line)
            next(line for line in log if line["event"] == "admin serving")
            with grpc.insecure_channel(address) as channel:
                admin = admin_pb2_grpc.AdminServiceStub(channel)
                status = admin.GetStatus(admin_pb2.GetStatusRequest(), timeout=30)
                assert not status.models
                code, message = rejection(admin.LoadModel, admin_pb2.LoadModelRequest(model="x"))
                assert code is grpc.StatusCode.UNAVAILABLE
                assert message == "the server is still loading its models; retry later"
            with grpc.insecure_channel(f"127.0.0.1:{loading['grpc_port']}") as channel:
                ask = health_pb2_grpc.HealthStub(channel).Check
                for service in ("", SERVICE):
                    reply = ask(health_pb2.HealthCheckRequest(service=service), timeout=30)
                    assert reply.status == reply.NOT_SERVING
                stub = inference_pb2_grpc.ClassifierServiceStub(channel)
                code, message = rejection(stub.Classify, image_request())
                assert code is grpc.StatusCode.UNAVAILABLE
                assert message == "the server is still loading its models; retry later"
                code, _ = rejection(stub.ListModels, pb.ListModelsRequest())
                assert code is grpc.StatusCode.UNAVAILABLE
            url = f"http://127.0.0.1:{loading['metrics_port']}/metrics"
            with OPENER.open(url, timeout=30) as reply:
                assert 'grpc_server_handled_total{grpc_code="Unavailable"' in reply.read().decode()
            process.terminate()
            assert process.wait(30) == 0


# Reload


def test_sighup_does_not_end_a_server_without_a_policy(tiny_server: ServerProcess) -> None:
    tiny_server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: any(line["event"] == "reloading" for line in tiny_server.log))
    assert health(tiny_server) == SERVING


# Health


@pytest.mark.parametrize("service", ["", SERVICE, "tiny", "signal"])
def test_everything_ready_is_serving(tiny_server: ServerProcess, service: str) -> None:
    assert health(tiny_server, service) == SERVING


def test_health_of_an_unknown_model(tiny_server: ServerProcess) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        health(tiny_server, "cat")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("flags", "overall"), [((), NOT_SERVING), (("--no-strict-readiness",), SERVING)]
)
def test_rejected_model_and_overall_health(
    tmp_path: Path, flags: tuple[str, ...], overall: str
) -> None:
    write_signal(tmp_path)
    write_broken(tmp_path)
    with ServerProcess(tmp_path, *flags) as server:
        found = {name: health(server, name) for name in ("", SERVICE, "signal", "broken")}
        with connected(server) as stub:
            assert stub.Classify(signal_request(), timeout=30).model == "signal"
        (rejected,) = [line for line in server.log if line["event"] == "bundle rejected"]
    assert found == {"": overall, SERVICE: overall, "signal": SERVING, "broken": NOT_SERVING}
    assert (rejected["model"], rejected["reason"]) == ("broken", "hash")


def test_rejected_version_behind_a_ready_one_leaves_the_model_serving(tmp_path: Path) -> None:
    write_tiny(tmp_path, "tiny", 1)
    flip_byte(write_tiny(tmp_path, "tiny", 2) / "model.onnx", 9)
    with ServerProcess(tmp_path) as server, connected(server) as stub:
        assert stub.Classify(image_request(), timeout=30).version == 1
        assert (health(server), health(server, "tiny")) == (SERVING, SERVING)


@pytest.mark.parametrize("flags", [(), ("--no-strict-readiness",)])
def test_repository_of_rejected_bundles_is_a_failed_start(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    write_broken(tmp_path)
    code, _, err = run_to_end("--models", tmp_path, *LOOPBACK, *flags)
    assert code == 1
    assert "was rejected: broken v1: the SHA-256 of model.onnx is" in err
    assert "Traceback" not in err


def healthcheck(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "convscope.server.process.health_check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout.strip()


def test_healthcheck_of_a_container(
    tiny_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # not for a server beside the check
    assert healthcheck(tiny_server.target) == (0, SERVING)
    assert healthcheck(tiny_server.target, "tiny") == (0, SERVING)
    assert healthcheck(tiny_server.target, "cat")[0] == 1
    code, printed = healthcheck("127.0.0.1:1")
    assert code == 1
    assert printed.startswith("UNAVAILABLE")


# Reflection


def test_reflection_describes_the_service(tiny_server: ServerProcess) -> None:
    with grpc.insecure_channel(tiny_server.target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
        service = DescriptorPool(database).FindServiceByName(SERVICE)
        request = service.methods_by_name["Classify"].input_type
    methods = ["Classify", "ClassifyStream", "ListModels", "GetModel", "GetServerInfo"]
    assert [method.name for method in service.methods] == methods
    assert "feature_maps" in request.fields_by_name


def test_reflection_can_be_turned_off(tiny_repository: Path) -> None:
    with (
        ServerProcess(tiny_repository, "--no-reflection") as server,
        grpc.insecure_channel(server.target) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        ProtoReflectionDescriptorDatabase(channel).get_services()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# Runs on the event loop, several runners, preloaded feature maps


@pytest.mark.parametrize(
    "flags", [("--runners", "0"), ("--runners", "2"), ("--preload-feature-maps",)], ids=" ".join
)
def test_other_ways_to_run_return_the_same(
    tiny_server: ServerProcess, tiny_repository: Path, flags: tuple[str, ...]
) -> None:
    request = image_request(*[i.encoded_image for i in image_request().inputs] * 11)
    with (
        ServerProcess(tiny_repository, *flags) as other,
        connected(other) as stub,
        connected(tiny_server) as usual,
    ):
        found = [result.prediction for result in stub.Classify(request, timeout=30).results]
        expected = [result.prediction for result in usual.Classify(request, timeout=30).results]
    assert found == expected


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of localhost and its key, made by openssl."""
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "chain.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(key), "-out", str(chain)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed; it makes the certificate")
    return chain, key


def test_tls(tiny_repository: Path, certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    flags = ("--tls-certificate", str(chain), "--tls-key", str(key))
    with ServerProcess(tiny_repository, *flags, "--grpc-address", "0.0.0.0:0") as server:
        port = int(server.target.rpartition(":")[2])
        seen = ssl.get_server_certificate(("127.0.0.1", port), timeout=10)
        assert seen.split() == chain.read_text().split()
        with connected(server) as stub:  # without TLS
            code, _ = rejection(stub.Classify, signal_request())
    assert code is grpc.StatusCode.UNAVAILABLE


# Start and drain


@pytest.fixture
def slow_repository(tmp_path: Path) -> Path:
    write_tiny(tmp_path, "slow", alter_graph=slow_down(TURNS))
    return tmp_path


@pytest.mark.slow(seconds=3)
def test_calls_in_flight_are_answered_and_later_ones_are_not(slow_repository: Path) -> None:
    request = image_request(model="slow")
    with ServerProcess(slow_repository, "--max-batch", "1") as server, connected(server) as stub:
        calls = [stub.Classify.future(request, timeout=30) for _ in range(3)]
        wait_until(lambda: sample(server, "grpc_server_started_total", grpc_method="Classify") == 3)
        server.terminate()
        assert [call.result(timeout=30).model for call in calls] == ["slow"] * 3
        wait_until(lambda: server.process.poll() is not None)
        code, message = rejection(stub.Classify, request)
        assert server.process.wait(30) == 0
    assert (code, bool(message)) == (grpc.StatusCode.UNAVAILABLE, True)
    events = [line["event"] for line in server.log]
    assert events.index("draining") < events.index("stopped")


@pytest.mark.slow(seconds=3)
def test_new_call_after_the_drain_began_is_unavailable_while_old_ones_finish(
    slow_repository: Path,
) -> None:
    request = image_request(model="slow")
    flags = ("--max-batch", "1", "--drain-seconds", "0")
    with ServerProcess(slow_repository, *flags) as server, connected(server) as stub:
        calls = [stub.Classify.future(request, timeout=30) for _ in range(4)]
        wait_until(lambda: sample(server, "grpc_server_started_total", grpc_method="Classify") == 4)
        server.terminate()
        wait_until(lambda: "draining" in [line["event"] for line in server.log])
        with connected(server) as late:
            wait_until(lambda: is_unavailable(late))
        assert not calls[-1].done()
        assert [call.result(timeout=30).model for call in calls] == ["slow"] * 4
        assert server.process.wait(30) == 0


def is_unavailable(stub: inference_pb2_grpc.ClassifierServiceStub) -> bool:
    try:
        stub.ListModels(pb.ListModelsRequest(), timeout=5)
    except grpc.RpcError as error:
        return bool(error.code() is grpc.StatusCode.UNAVAILABLE)
    return False


@pytest.mark.slow(seconds=3)
def test_health_says_not_serving_while_calls_are_still_accepted(tiny_repository: Path) -> None:
    with (
        ServerProcess(tiny_repository, "--drain-seconds", "3") as server,
        grpc.insecure_channel(server.target) as channel,
        connected(server) as stub,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        status = health_pb2.HealthCheckResponse
        assert next(watch).status == status.SERVING
        server.terminate()
        assert next(watch).status == status.NOT_SERVING
        assert health(server, "tiny") == NOT_SERVING
        assert stub.Classify(signal_request(), timeout=30).model == "signal"
        watch.cancel()
        assert server.process.wait(30) == 0


def test_calls_longer_than_the_grace_are_unavailable_and_the_exit_is_clean(
    slow_repository: Path,
) -> None:
    flags = ("--max-batch", "1", "--grace-seconds", "0", "--drain-seconds", "0")
    with ServerProcess(slow_repository, *flags) as server, connected(server) as stub:
        call = stub.Classify.future(image_request(model="slow"), timeout=30)
        wait_until(lambda: sample(server, "grpc_server_started_total", grpc_method="Classify") == 1)
        server.terminate()
        with pytest.raises(grpc.RpcError) as caught:
            call.result(timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert server.process.wait(30) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_either_signal_ends_an_idle_server_with_0(tiny_repository: Path, number: int) -> None:
    with ServerProcess(tiny_repository, command=FRESH) as server:
        server.process.send_signal(number)
        assert server.process.wait(30) == 0
        wait_until(lambda: "stopped" in [line["event"] for line in server.log])
        (draining,) = [line for line in server.log if line["event"] == "draining"]
    assert "a second Ctrl-C" in draining["to_stop_at_once"]


def test_signal_while_the_models_load_ends_the_server_with_0(tmp_path: Path) -> None:
    write_signal(tmp_path, "first")
    write_tiny(tmp_path, "slow", alter_graph=slow_down(TURNS, always=True))
    command = [sys.executable, "-m", "convscope.server", "--models", str(tmp_path)]
    address = f"unix:{tmp_path / '.admin'}"
    command += ["--no-tuning", "--admin-address", address]
    with subprocess.Popen([*command, *LOOPBACK], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "model ready" in line:
                break
        try:
            with grpc.insecure_channel(address) as channel:  # an operator sees what takes so long
                status = admin_pb2_grpc.AdminServiceStub(channel).GetStatus
                first, slow = status(admin_pb2.GetStatusRequest(), timeout=30).models
        finally:
            process.terminate()
        assert (first.versions[0].state, list(first.problems)) == (1, [])
        assert (list(slow.versions), len(slow.problems)) == ([], 1)
        assert slow.problems[0].startswith("v1 has been loading for ")
        rest = process.stderr.read()
        assert process.wait(30) == 0
    assert '"serving"' not in rest
