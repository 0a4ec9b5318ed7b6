"""The simulation of fleets against theory, the autoscaler against its manifest, and the page."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.scaling import __main__ as scaling_command
from bench.scaling.__main__ import PAGE, SIMULATION
from bench.scaling.arrivals import arrivals, constant, daily, step
from bench.scaling.autoscaler import Autoscaler, Observation, Policy
from bench.scaling.capacity import ASSUMPTIONS, Assumptions, RayCost, need, ray_cost
from bench.scaling.figures import LATEST, SCALE, Parts, Work, parts, read, works
from bench.scaling.fleet import Fleet, ReplicaModel, Result
from bench.scaling.page import with_tables

ROOT = Path(__file__).resolve().parents[2]
SCALED_OBJECT = ROOT / "deploy/kubernetes/components/autoscaling/scaled-object.yaml"
SERVICE = 0.02


def one_by_one(**changes: Any) -> ReplicaModel:
    """A replica whose only runner takes 20 ms for an image, and no batches."""
    settings = {"runners": 1, "max_batch": 1, "batch_seconds": 0.0, "image_seconds": SERVICE}
    return ReplicaModel(**{**settings, "max_queue": 10**9, **changes})


def run(model: ReplicaModel, replicas: int, rate: float, images: int = 60_000) -> Result:
    seconds = images / rate
    return Fleet(model, replicas).run(arrivals(constant(rate), seconds, seed=4), seconds)


def mean_wait(found: Result) -> float:
    return sum(found.latencies) / len(found.latencies) - SERVICE


@pytest.mark.parametrize("load", [0.3, 0.7, 0.85])
@pytest.mark.parametrize("replicas", [1, 3])
def test_the_mean_wait_is_that_of_an_m_d_1_queue(load: float, replicas: int) -> None:
    """Calls that are divided at random arrive at each replica as a Poisson process."""
    found = run(one_by_one(), replicas, load * replicas / SERVICE)
    assert mean_wait(found) == pytest.approx(load * SERVICE / (2 * (1 - load)), rel=0.08)


@pytest.mark.parametrize(("runners", "load"), [(1, 0.5), (2, 0.7), (4, 0.75)])
def test_the_mean_wait_is_that_of_an_m_m_c_queue(runners: int, load: float) -> None:
    """With times of an exponential distribution, Erlang's formula gives the wait."""
    found = run(one_by_one(runners=runners, variation=1.0), 1, load * runners / SERVICE)
    offered = load * runners
    terms = [offered**k / math.factorial(k) for k in range(runners)]
    last = offered**runners / math.factorial(runners) / (1 - load)
    waits = last / (sum(terms) + last)
    assert mean_wait(found) == pytest.approx(waits * SERVICE / (runners * (1 - load)), rel=0.1)


def test_full_batches_reach_the_capacity_and_no_more() -> None:
    model = one_by_one(runners=2, max_batch=4, batch_seconds=0.02, max_queue=32)
    assert model.capacity == pytest.approx(2 * 4 / 0.1)
    found = run(model, 1, 2 * model.capacity, images=20_000)
    assert len(found.answered) / found.seconds == pytest.approx(model.capacity, rel=0.02)
    assert found.rejected == len(found.failed) == found.arrived - len(found.answered)
    # An image waits for at most the 32 before it.
    assert found.quantile_ms(1) <= 1000 * (32 / model.capacity + 2 * 0.1)


def test_an_overloaded_replica_answers_what_it_can_in_time() -> None:
    model = one_by_one(deadline_seconds=0.2)
    found = run(model, 1, 3 / SERVICE, images=10_000)
    assert found.quantile_ms(1) <= 200
    assert len(found.answered) + len(found.failed) == found.arrived
    assert len(found.answered) / found.seconds == pytest.approx(model.capacity, rel=0.05)


def test_arrivals_follow_their_rate() -> None:
    rate = step(10, 100, begins=100, rise_seconds=100)
    times = list(arrivals(rate, 300, seed=1))
    assert times == sorted(times)
    counts = [sum(start <= time < start + 100 for time in times) for start in (0, 100, 200)]
    assert counts == pytest.approx([1000, 5500, 10_000], rel=0.1)
    day = daily(50, 0.8)
    assert [day(0), day(43_200), day(86_400)] == pytest.approx([10, 90, 10])


def test_the_policy_is_that_of_the_manifest() -> None:
    spec = yaml.safe_load(SCALED_OBJECT.read_text())["spec"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    queue, cpu = spec["triggers"]
    percent, pods = behavior["scaleUp"]["policies"]
    (removal,) = behavior["scaleDown"]["policies"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert "[1m]" in queue["metadata"]["query"]
    assert percent["periodSeconds"] == pods["periodSeconds"]
    assert Policy() == Policy(
        min_replicas=spec["minReplicaCount"],
        max_replicas=spec["maxReplicaCount"],
        polling_seconds=spec["pollingInterval"],
        window_seconds=60,
        queue_ms=float(queue["metadata"]["threshold"]),
        cpu=float(cpu["metadata"]["value"]) / 100,
        up_share=percent["value"] / 100,
        up_replicas=pods["value"],
        up_period_seconds=percent["periodSeconds"],
        down_stabilization_seconds=behavior["scaleDown"]["stabilizationWindowSeconds"],
        down_replicas=removal["value"],
        down_period_seconds=removal["periodSeconds"],
    )


def test_the_autoscaler_adds_at_once_and_removes_slowly() -> None:
    scaler = Autoscaler(Policy(max_replicas=100))
    # Ten times the target, but at most two more or twice as many within a minute.
    assert scaler.desired(Observation(0, 2, 2, queue_ms=200, cpu=1.0)) == 4
    assert scaler.desired(Observation(15, 2, 4, queue_ms=200, cpu=1.0)) == 4
    assert scaler.desired(Observation(60, 4, 4, queue_ms=200, cpu=1.0)) == 8
    # Without load, nothing happens for five minutes; then one leaves every two minutes.
    idle = [scaler.desired(Observation(t, 8, 8, 0, 0.0)) for t in range(75, 360, 15)]
    assert set(idle) == {8}
    assert scaler.desired(Observation(375, 8, 8, 0, 0.0)) == 7
    assert scaler.desired(Observation(390, 7, 7, 0, 0.0)) == 7
    assert scaler.desired(Observation(495, 7, 7, 0, 0.0)) == 6


def test_replicas_that_start_are_not_ordered_twice() -> None:
    scaler = Autoscaler(Policy(queue_ms=None, up_replicas=10))
    assert scaler.desired(Observation(0, 2, 2, 0, cpu=0.9)) == 3
    assert scaler.desired(Observation(15, 2, 3, 0, cpu=0.9)) == 3


def test_an_autoscaled_fleet_follows_the_load() -> None:
    model = one_by_one(start_seconds=20, deadline_seconds=1.0)
    rate = step(50, 200, begins=200, rise_seconds=60)
    fleet = Fleet(model, 2, autoscaler=Autoscaler(Policy()))
    found = fleet.run(arrivals(rate, 1200, seed=5), 1200)
    ready = {sample.at: sample.ready for sample in found.samples}
    assert ready[195] == 2
    assert 6 <= ready[1200] <= 9  # 200/s are 4 busy replicas, and 60% of 7
    late = [second for at, second in zip(found.answered, found.latencies, strict=True) if at > 900]
    assert sum(late) / len(late) < 3 * SERVICE
    assert 2 * 1200 < found.replica_seconds < 9 * 1200


def test_a_need_is_the_product_of_its_parts() -> None:
    work = Work("a network", cpu_us=15_000, request_bytes=150_000, command="")
    found = need(work, 100_000, Assumptions(utilization=0.5, cores=10, core_hour=0.1))
    assert found.gbit == pytest.approx(120)  # 15 GB/s
    assert found.cores == pytest.approx(3000)
    assert found.replicas == 300
    assert found.dollars == pytest.approx(3000 * 0.1 * 730)
    assert need(work, 1).replicas == 2


def test_the_largest_part_is_named() -> None:
    assert Parts("a", network=3, decoding=5, messages=1, request_bytes=1).largest == "decoding"
    assert Parts("a", 3, 5, 1, 1, rest=2, ray=6).largest == "Ray"


def test_the_parts_of_a_jpeg_leave_nothing_out_that_was_measured() -> None:
    latest, scale = read(LATEST), read(SCALE)
    first = parts(latest, scale, ray_us=0.0)[0]
    assert first.name == "FP32, JPEG 500×375"
    (work,) = (one for one in works(latest, scale) if one.name.endswith("JPEG 500×375"))
    assert first.total >= work.cpu_us - 1


def test_ray_costs_what_was_measured_or_else_what_is_assumed() -> None:
    jpeg = Work("a JPEG", cpu_us=16_000, request_bytes=1, command="")
    measured = {
        "failure": "",
        "figures": {"ray.jpeg": {"cpu_us": {"one": 20_000.0, "two": 21_000.0}}},
        "details": {"proxy_us": {"digits": 1000.0, "jpeg": 1500.0}},
    }
    assert ray_cost(jpeg, {"ray": measured}) == RayCost(4000, 1500, is_measured=True)
    failed = {"failure": "it was not run yet", "figures": {}, "details": {}}
    assert ray_cost(jpeg, {"ray": failed}) == RayCost(
        ASSUMPTIONS.ray_us, ASSUMPTIONS.proxy_us, is_measured=False
    )


def test_the_tables_are_those_of_the_results() -> None:
    page = PAGE.read_text()
    tables = with_tables(page, read(LATEST), read(SCALE), read(SIMULATION))
    assert tables == page, "run: python -m bench.scaling --tables"


def test_the_command_says_whether_it_wrote_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "scaling.md"
    page.write_text(PAGE.read_text().replace("digits, tensor", "an older row"))
    monkeypatch.setattr(scaling_command, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["python -m bench.scaling", "--tables"])
    scaling_command.main()
    assert capsys.readouterr().out == f"written to {page}\n"
    assert page.read_text() == PAGE.read_text()
    scaling_command.main()
    assert capsys.readouterr().out == f"{page} is unchanged\n"
