"""What to do about one model, situation by situation."""

from collections import Counter
from dataclasses import dataclass, field

import pytest

from convscope.bundle.traffic import Traffic, TrafficSplit
from convscope.server.repository.desired import Desired, Overrides
from convscope.server.repository.plan import (
    Action,
    Forget,
    Load,
    Retire,
    Retry,
    Route,
    desired_versions,
    plan,
)
from convscope.server.repository.rejection import Rejection
from convscope.server.repository.scan import ModelOnDisk, Signature
from convscope.server.repository.selection import Selection
from convscope.server.repository.state import LONGEST_PAUSE_SECONDS, Attempt, Observed, Routing

REASON = Rejection("tiny", 0, "hash", "the SHA-256 differs")
TRANSIENT = Rejection("tiny", 0, "files", "can't be read", transient=True)
LATEST_TWO = Selection(latest=2)
ON_DEMAND = Selection(on_demand=True)
ON_DEMAND_TWO = Selection(latest=2, on_demand=True)


def files(version: int, edition: int = 0) -> Signature:
    return (("model.onnx", version, 100, edition, edition),)


def load(version: int, edition: int = 0) -> Load:
    return Load(version, files(version, edition))


def disk(
    *versions: int,
    aliases: dict[str, int] | None = None,
    traffic: Traffic | None = None,
    replaced: int = 0,
) -> ModelOnDisk:
    """The versions on disk; the files of one of them may have been replaced."""
    return ModelOnDisk(
        {number: files(number, int(number == replaced)) for number in versions},
        aliases or {},
        traffic or Traffic(),
    )


def loaded(*versions: int) -> dict[int, Attempt]:
    return {number: Attempt(files(number)) for number in versions}


def failed(version: int, edition: int = 0) -> dict[int, Attempt]:
    return {version: Attempt(files(version, edition), REASON, failures=1)}


def routing(*versions: int, **changes: object) -> Routing:
    """The routing for versions that are loaded at once, all of them for their own sake."""
    return Routing(**{"candidates": frozenset(versions), **changes})  # type: ignore[arg-type]


def on_demand(*versions: int) -> Routing:
    return routing(*versions, unloaded=frozenset(versions))


@dataclass
class Situation:
    """What is desired and observed, and what is to be done then."""

    name: str
    on_disk: ModelOnDisk
    actions: list[Action]
    selection: Selection = field(default_factory=Selection)
    selected: bool = True
    overrides: Overrides = field(default_factory=Overrides)
    ready: tuple[int, ...] = ()
    attempts: dict[int, Attempt] = field(default_factory=dict)
    unfetched: frozenset[int] = frozenset()
    outdated: frozenset[int] = frozenset()
    routing: Routing = field(default_factory=Routing)
    now: float = 0.0

    @property
    def desired(self) -> Desired:
        return Desired(self.selection, self.selected, self.overrides)

    @property
    def observed(self) -> Observed:
        return Observed(
            self.on_disk,
            frozenset(self.ready),
            self.outdated,
            {**loaded(*self.ready), **self.attempts},
            self.unfetched,
            self.routing,
            self.now,
        )


CANARY = Traffic(canary=TrafficSplit(1, 0.1))
SHADOW_OF_ALIAS = Traffic(shadow=TrafficSplit("challenger", 1.0))
SELECTION = [
    Situation("nothing on disk", disk(), []),
    Situation("first version", disk(1), [load(1)]),
    Situation("first version is loaded", disk(1), [Route(routing(1))], ready=(1,)),
    Situation("all is as desired", disk(1), [], ready=(1,), routing=routing(1)),
    Situation("new version", disk(1, 2), [load(2)], ready=(1,), routing=routing(1)),
    Situation(
        "new version is loaded",
        disk(1, 2),
        [Route(routing(2)), Retire(1)],
        ready=(1, 2),
        routing=routing(1),
    ),
    Situation("the latest two, one at a time", disk(1, 2, 3), [load(3)], LATEST_TWO),
    Situation("the second of two", disk(1, 2, 3), [load(2)], LATEST_TWO, ready=(3,)),
    Situation("listed versions", disk(1, 2, 3), [load(2)], Selection(versions=frozenset({2}))),
    Situation("model that is not selected", disk(1), [Route(routing(1))], selected=False),
    Situation("removed version", disk(1), [Forget(2), load(1)], ready=(2,), routing=routing(2)),
    Situation(
        "removed model",
        disk(),
        [Forget(1), Route(Routing()), Retire(1)],
        ready=(1,),
        routing=routing(1),
    ),
]
FILES = [
    Situation("changed files", disk(1, replaced=1), [load(1, 1)], ready=(1,), routing=routing(1)),
    Situation(
        "changed files that are bad leave the loaded version",
        disk(1, replaced=1),
        [],
        ready=(1,),
        attempts=failed(1, 1),
        routing=routing(1),
    ),
    Situation(
        "bad files in place of a loaded version are corrected",
        disk(1, replaced=1),
        [Forget(1), load(1, 1)],
        ready=(1,),
        attempts=failed(1, 7),
        routing=routing(1),
    ),
    Situation("rejected version", disk(1, 2), [load(1)], attempts=failed(2)),
    Situation(
        "rejected version beside the one that serves",
        disk(1, 2),
        [],
        ready=(1,),
        attempts=failed(2),
        routing=routing(1),
    ),
    Situation(
        "rejected version whose files changed",
        disk(1, 2, replaced=2),
        [Forget(2), load(2, 1)],
        ready=(1,),
        attempts=failed(2),
        routing=routing(1),
    ),
    Situation(
        "rejected version that is removed", disk(1), [Forget(2), load(1)], attempts=failed(2)
    ),
    Situation(
        "version that was not fetched",
        disk(1),
        [],
        ready=(1,),
        unfetched=frozenset({2}),
        routing=routing(1),
    ),
    Situation(
        "cached version whose successor was not fetched",
        disk(1, 2),
        [load(1)],
        unfetched=frozenset({2}),
    ),
    Situation(
        "transient failure during the pause",
        disk(1),
        [],
        attempts={1: Attempt(files(1), TRANSIENT, 1, retry_at=5.0)},
        now=4.9,
    ),
    Situation(
        "transient failure after the pause",
        disk(1),
        [Retry(1), load(1)],
        attempts={1: Attempt(files(1), TRANSIENT, 1, retry_at=5.0)},
        now=5.0,
    ),
    Situation(
        "transient failure, and other files",
        disk(1, replaced=1),
        [Forget(1), load(1, 1)],
        attempts={1: Attempt(files(1), TRANSIENT, 1, retry_at=5.0)},
        now=0.0,
    ),
    Situation(
        "outdated provider",
        disk(1),
        [load(1)],
        ready=(1,),
        outdated=frozenset({1}),
        routing=routing(1),
    ),
    Situation(
        "outdated provider, but its successor was rejected",
        disk(1),
        [],
        ready=(1,),
        outdated=frozenset({1}),
        attempts=failed(1),
        routing=routing(1),
    ),
]
NAMES = [
    Situation("version of an alias", disk(1, 2, aliases={"a": 1}), [load(1)], ready=(2,)),
    Situation(
        "alias of a loaded version is not a candidate for the default",
        disk(1, 2, aliases={"a": 1}),
        [Route(routing(2, aliases={"a": 1}))],
        ready=(1, 2),
    ),
    Situation(
        "alias of a missing version keeps the old one",
        disk(1, 3, aliases={"a": 2}),
        [
            Route(
                routing(
                    3,
                    aliases={"a": 1},
                    problems=("alias a names v2, which is not available; v1 serves instead",),
                )
            )
        ],
        ready=(1, 3),
        routing=routing(3, aliases={"a": 1}),
    ),
    Situation(
        "alias of a rejected version keeps the old one",
        disk(1, 2, 3, aliases={"a": 2}),
        [
            Route(
                routing(
                    3,
                    aliases={"a": 1},
                    problems=("alias a names v2, which is not available; v1 serves instead",),
                )
            )
        ],
        ready=(1, 3),
        attempts=failed(2),
        routing=routing(3, aliases={"a": 1}),
    ),
    Situation(
        "alias that never had an available version",
        disk(1, aliases={"a": 2}),
        [
            Route(
                routing(1, aliases={"a": 2}, problems=("alias a names v2, which is not available",))
            )
        ],
        ready=(1,),
    ),
    Situation(
        "aliases that cannot be read",
        ModelOnDisk({1: files(1), 2: files(2)}, None, Traffic(), ("aliases.json is no JSON",)),
        [Route(routing(2, aliases={"a": 1}, problems=("aliases.json is no JSON",)))],
        ready=(1, 2),
        routing=routing(2, aliases={"a": 1}),
    ),
    Situation("target of a traffic split", disk(1, 2, traffic=CANARY), [load(1)], ready=(2,)),
    Situation(
        "target of a loaded traffic split is not a candidate for the default",
        disk(1, 2, traffic=CANARY),
        [Route(routing(2, traffic=CANARY))],
        ready=(1, 2),
    ),
    Situation(
        "target of a traffic split by alias",
        disk(1, 2, aliases={"challenger": 1}, traffic=SHADOW_OF_ALIAS),
        [load(1)],
        ready=(2,),
    ),
    Situation(
        "traffic split to an alias that does not exist",
        disk(2, traffic=SHADOW_OF_ALIAS),
        [
            Route(
                routing(
                    2,
                    traffic=SHADOW_OF_ALIAS,
                    problems=("shadow goes to challenger, an alias that does not exist",),
                )
            )
        ],
        ready=(2,),
    ),
    Situation(
        "traffic split that ended",
        disk(1, 2),
        [Route(routing(2)), Retire(1)],
        ready=(1, 2),
        routing=routing(2, traffic=CANARY),
    ),
    Situation(
        "traffic splits that cannot be read",
        ModelOnDisk({1: files(1), 2: files(2)}, {}, None),
        [],
        ready=(1, 2),
        routing=routing(2, traffic=CANARY),
    ),
]
OPERATOR = [
    Situation(
        "excluded model",
        disk(1),
        [Retire(1)],
        overrides=Overrides(excludes_model=True),
        ready=(1,),
        routing=routing(1),
    ),
    Situation(
        "excluded version gives its place to the next older",
        disk(1, 2),
        [load(1)],
        overrides=Overrides(excluded={2}),
        ready=(2,),
        routing=routing(2),
    ),
    Situation("pinned version", disk(1, 2), [load(1)], overrides=Overrides(pinned={1}), ready=(2,)),
    Situation(
        "pinned version of a model that is not selected",
        disk(1, 2),
        [load(1)],
        selected=False,
        overrides=Overrides(pinned={1}),
    ),
    Situation(
        "reserved version of an excluded model",
        disk(1, 2),
        [load(1)],
        overrides=Overrides(excludes_model=True, reserved=Counter({1: 1})),
    ),
    Situation(
        "reserved version that is excluded",
        disk(1, 2),
        [load(1)],
        overrides=Overrides(excluded={1}, reserved=Counter({1: 1})),
        ready=(2,),
        routing=routing(2),
    ),
    Situation(
        "reserved version never becomes the default",
        disk(1, 2),
        [],
        Selection(versions=frozenset({1})),
        overrides=Overrides(reserved=Counter({2: 1})),
        ready=(1, 2),
        routing=routing(1),
    ),
]
DEMAND = [
    Situation("first version on demand", disk(1), [Route(on_demand(1))], ON_DEMAND),
    Situation(
        "new version on demand, and the old one is not loaded",
        disk(1, 2),
        [Route(on_demand(2))],
        ON_DEMAND,
        routing=on_demand(1),
    ),
    Situation(
        "new version on demand, and the old one is loaded",
        disk(1, 2),
        [load(2)],
        ON_DEMAND,
        ready=(1,),
        routing=on_demand(1),
    ),
    Situation(
        "new version on demand was rejected",
        disk(1, 2),
        [],
        ON_DEMAND,
        ready=(1,),
        attempts=failed(2),
        routing=on_demand(1),
    ),
    Situation(
        "the other desired version stays unloaded",
        disk(1, 2, replaced=2),
        [load(2, 1)],
        ON_DEMAND_TWO,
        ready=(2,),
        routing=on_demand(1, 2),
    ),
    Situation(
        "a change of a version that is not loaded loads nothing",
        disk(1, 2, replaced=1),
        [],
        ON_DEMAND_TWO,
        ready=(2,),
        routing=on_demand(1, 2),
    ),
    Situation(
        "the default moves from a loaded version that stays",
        disk(1, 2, 3),
        [load(3)],
        ON_DEMAND_TWO,
        ready=(2,),
        routing=on_demand(1, 2),
    ),
    Situation(
        "the default moves once its version is loaded",
        disk(1, 2, 3),
        [Route(on_demand(2, 3))],
        ON_DEMAND_TWO,
        ready=(2, 3),
        routing=on_demand(1, 2),
    ),
    Situation(
        "alias moves from a loaded version",
        disk(1, 2, 3, aliases={"a": 2}),
        [load(2)],
        ON_DEMAND,
        ready=(1,),
        routing=routing(3, aliases={"a": 1}, unloaded=frozenset({1, 3})),
    ),
    Situation(
        "alias moves from a version that is not loaded",
        disk(1, 2, 3, aliases={"a": 2}),
        [Route(routing(3, aliases={"a": 2}, unloaded=frozenset({2, 3})))],
        ON_DEMAND,
        routing=routing(3, aliases={"a": 1}, unloaded=frozenset({1, 3})),
    ),
    Situation(
        "canary moves from a loaded version",
        disk(1, 2, 3, traffic=Traffic(canary=TrafficSplit(2, 0.1))),
        [load(2)],
        ON_DEMAND,
        ready=(1,),
        routing=routing(3, traffic=CANARY, unloaded=frozenset({1, 3})),
    ),
    Situation(
        "removed model on demand",
        disk(),
        [Forget(1), Route(Routing()), Retire(1)],
        ON_DEMAND,
        ready=(1,),
        routing=on_demand(1),
    ),
]


@pytest.mark.parametrize(
    "situation", [*SELECTION, *FILES, *NAMES, *OPERATOR, *DEMAND], ids=lambda one: one.name
)
def test_plan(situation: Situation) -> None:
    assert plan(situation.desired, situation.observed) == situation.actions


def test_plan_changes_nothing_that_it_is_given() -> None:
    situation = next(one for one in FILES if one.name == "rejected version whose files changed")
    observed = situation.observed
    plan(situation.desired, observed)
    assert observed == situation.observed


def test_rejected_version_stays_desired_only_while_it_is_loaded() -> None:
    observed = Observed(disk(1, 2), attempts=failed(2))
    assert desired_versions(Desired(), observed) == [1]
    observed = Observed(disk(1, 2), frozenset({2}), attempts=failed(2))
    assert desired_versions(Desired(), observed) == [2]


def test_pauses_double_up_to_a_limit() -> None:
    attempt, pauses = None, []
    for _ in range(2000):
        attempt = Attempt.failed(attempt, files(1), TRANSIENT, now=100.0)
        assert attempt.retry_at is not None
        pauses.append(attempt.retry_at - 100.0)
    assert pauses[:4] == [5.0, 10.0, 20.0, 40.0]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    assert Attempt.failed(attempt, files(1), REASON, now=0.0).retry_at is None
