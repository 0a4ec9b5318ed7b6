"""Finds the fastest of the providers and precisions that pass the golden gate.

Each is opened, replays the golden inputs, and is measured in turn with the others: images per
second in small batches, one on each core. The first one computes in the precision of the graph;
another one must be clearly faster to replace it. Only the fastest is then tuned.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import Any

import onnxruntime as ort
import structlog

from convscope.server.errors import BundleRejectedError
from convscope.server.runtime.choices import Choice, Choices
from convscope.server.runtime.execution import Execution
from convscope.server.runtime.golden import GoldenGate
from convscope.server.runtime.measurement import WORTHWHILE, throughputs
from convscope.server.runtime.model import Model, OpenSession
from convscope.server.runtime.providers import ProviderPolicy
from convscope.server.runtime.providers.names import AUTO
from convscope.server.runtime.providers.session import open_session
from convscope.server.runtime.tuning import Tuner
from convscope.server.runtime.validated import ValidatedBundle
from convscope.server.runtime.versions import Candidate, ImagePreprocessor, LoadedVersion

__all__ = ["Opened", "Placement", "ProviderSelector"]

log = structlog.get_logger(__name__)

TRIAL = "a trial"
COMPARISON = "for a comparison of providers"


class Opened:
    """A version on the providers of a policy; each of its sessions is opened once.

    Args:
        validated: Its files.
        preprocessor: Converts an image to its input; None for tensors.
        policy: Which providers its sessions may use.
    """

    def __init__(
        self,
        validated: ValidatedBundle,
        preprocessor: ImagePreprocessor | None,
        policy: ProviderPolicy,
    ) -> None:
        self.policy = policy
        self.open_plain: OpenSession = cache(partial(open_session, validated.plain_graph, policy))
        self._validated = validated
        self._preprocessor = preprocessor

    def trial(self, threads: int) -> LoadedVersion:
        """Open it with a number of threads, to be measured.

        Raises:
            BundleRejectedError: The graph can't run.
        """
        return self.run_as(Execution(1, threads, threads, 1, TRIAL))

    def run_as(self, execution: Execution) -> LoadedVersion:
        """Open it as it would serve.

        Raises:
            BundleRejectedError: The graph can't run.
        """
        model = Model(self._validated, self.policy, self.open_plain, execution)
        return LoadedVersion(model, self._preprocessor)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a version runs, and how.

    Args:
        opened: The version on its provider.
        execution: How it is run.
        candidates: What its provider was chosen from, the chosen one first; empty if nothing was
            measured for where it runs.
        fallback_from: The provider that was chosen before, if it doesn't pass now.
    """

    opened: Opened
    execution: Execution
    candidates: Sequence[Candidate] = ()
    fallback_from: str = ""


@dataclass(frozen=True, slots=True)
class ProviderSelector:
    """Selects the provider and the precision of versions.

    Args:
        tuner: Tunes each candidate, and stores the choice.
        choices: The choices so far.
    """

    tuner: Tuner
    choices: Choices

    def select(
        self,
        open_on: Callable[[ProviderPolicy], Opened],
        golden: GoldenGate,
        policy: ProviderPolicy,
        *,
        hot: bool,
        like: Execution | None,
    ) -> Placement:
        """Return the fastest placement that passes.

        Args:
            open_on: Opens the version on the providers of a policy.
            golden: Its golden inputs.
            policy: The policy of its model, whose preference is "auto".
            hot: Whether the server serves requests; then nothing is measured, nor if other
                workers have chosen.
            like: What an unmeasured version then uses.

        Raises:
            BundleRejectedError: None passes.
        """
        manifest = golden.manifest
        # What shows the inside of a network is computed in full precision.
        alternatives = policy.alternatives(
            ort.get_available_providers(), reduced=golden.has_classes
        )
        if not alternatives:
            raise BundleRejectedError(
                "provider",
                f"no provider that is available here can be told to compute in {policy.precision}; "
                "install OpenVINO, or choose --precision auto",
            )
        may_measure = self.choices.may_measure and not hot
        stored = self._stored(golden, policy)
        known = stored or (None if may_measure else self.choices.last(manifest.model))
        first = [one for one in alternatives if known is not None and known.made(one)]
        if not first:
            known = None
        if known is None and may_measure:
            return self._measure(list(map(open_on, alternatives)), golden, policy)
        rest = [one for one in alternatives if one not in first]
        passing, rejected = _passing(map(open_on, [*first, *rest]), golden, enough=1)
        opened = passing[0]
        if known is None or known.made(opened.policy):
            candidates = stored.candidates if stored is not None else ()
            placement = self._placed(opened, golden, candidates, hot=hot, like=like)
            self._remember(golden, policy, placement)
            return placement
        # The stored choice is kept: what it needs, such as a GPU's memory, may be there next time.
        log.warning(
            "chosen provider rejected",
            model=manifest.model,
            version=manifest.version,
            provider=known.provider,
            precision=known.precision,
            reason=rejected[0].problem,
        )
        if may_measure:
            placement = self._measure(list(map(open_on, rest)), golden, policy, keep=False)
        else:
            placement = self._placed(opened, golden, hot=hot, like=like)
        serves = placement.opened.policy.wanted
        return replace(placement, fallback_from="" if serves == known.provider else known.provider)

    def _measure(
        self,
        alternatives: Sequence[Opened],
        golden: GoldenGate,
        policy: ProviderPolicy,
        *,
        keep: bool = True,
    ) -> Placement:
        manifest = golden.manifest
        passing, rejected = _passing(alternatives, golden)
        versions = [one.run_as(self.tuner.defaults(one.trial, COMPARISON)) for one in passing]
        speeds = throughputs(versions, self.tuner.rehearse)
        best = 0
        for index, speed in enumerate(speeds):
            if speeds[best] < WORTHWHILE * speed:
                best = index
        measured = [
            Candidate(one.model.provider, one.model.compute_precision, speed, speed / speeds[0])
            for one, speed in zip(versions, speeds, strict=True)
        ]
        candidates = (measured[best], *(o for o in measured if o is not measured[best]), *rejected)
        log.info(
            "provider chosen",
            model=manifest.model,
            version=manifest.version,
            provider=measured[best].provider,
            compute_precision=measured[best].precision,
            relative_speed=round(measured[best].relative_speed, 2),
            candidates=[_shown(one) for one in candidates],
        )
        placement = self._placed(passing[best], golden, candidates)
        choice = self._remember(golden, policy, placement)
        if keep and self.tuner.is_settled(manifest, placement.opened.policy):
            self.tuner.measurements.store_choice(manifest, policy, asdict(choice))
        return placement

    def _placed(
        self,
        opened: Opened,
        golden: GoldenGate,
        candidates: Sequence[Candidate] = (),
        *,
        hot: bool = False,
        like: Execution | None = None,
    ) -> Placement:
        execution = self.tuner.choose(
            golden.manifest, opened.trial, policy=opened.policy, hot=hot, like=like
        )
        return Placement(opened, execution, candidates)

    def _remember(self, golden: GoldenGate, policy: ProviderPolicy, placement: Placement) -> Choice:
        chosen, manifest = placement.opened.policy, golden.manifest
        candidates = tuple(placement.candidates)
        choice = Choice(manifest.model, chosen.wanted, chosen.precision, candidates)
        self.choices.remember(self.tuner.measurements.key(manifest, policy), choice)
        return choice

    def _stored(self, golden: GoldenGate, policy: ProviderPolicy) -> Choice | None:
        """Return what other workers chose for a version; otherwise what an earlier start did."""
        measurements = self.tuner.measurements
        shared = self.choices.shared(measurements.key(golden.manifest, policy))
        if shared is not None:
            return shared
        stored = measurements.known_choice(golden.manifest, policy)
        try:
            return None if stored is None else Choice.parse(stored)
        except (TypeError, KeyError):
            return None  # then it is measured again


def _passing(
    alternatives: "Sequence[Opened] | map[Opened]", golden: GoldenGate, enough: int | None = None
) -> tuple[list[Opened], list[Candidate]]:
    """Return those that pass the gate, and the others with their problems.

    Args:
        alternatives: Versions on providers.
        golden: The golden inputs.
        enough: So many that pass are enough.

    Raises:
        BundleRejectedError: None passes.
    """
    passing: list[Opened] = []
    rejected: list[Candidate] = []
    for one in alternatives:
        if len(passing) == enough:
            break
        try:
            golden.check(one.trial(1).model, feature_maps=not golden.has_classes)
        except BundleRejectedError as error:
            policy, problem = one.policy, error.message
            log.info(
                "provider rejected",
                model=golden.manifest.model,
                version=golden.manifest.version,
                provider=policy.wanted,
                precision=policy.precision,
                reason=problem,
            )
            asked = "" if policy.precision == AUTO else policy.precision
            rejected.append(Candidate(policy.wanted, asked, problem=problem))
        else:
            passing.append(one)
    if not passing:
        problems = "; ".join(f"{one.provider}: {one.problem}" for one in rejected)
        raise BundleRejectedError("provider", f"no provider passes: {problems}")
    return passing, rejected


def _shown(candidate: Candidate) -> dict[str, Any]:
    name = {"provider": candidate.provider, "precision": candidate.precision}
    if candidate.problem:
        return {**name, "problem": candidate.problem}
    speed, relative = candidate.images_per_second, candidate.relative_speed
    return {**name, "images_per_second": round(speed, 1), "relative_speed": round(relative, 2)}
