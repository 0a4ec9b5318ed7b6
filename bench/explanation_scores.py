"""Deletion and insertion scores of the methods of explanation.

All heat and all probabilities come from a convscope-server, through the client.
Docs: docs/explanations.md, "Deletion and insertion scores".
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bench.bundles import LITE0
from bench.context import BASE
from bench.explained_photos import found, missing
from bench.masking import Masking, area, center_heat, random_heat
from bench.report import RESULTS
from bench.servers import serving
from convscope.client import Client, Explain, Explanation
from convscope.client.types import ExplanationMethod

__all__ = ["main"]

OURS: Final = "grad-cam"
METHODS: tuple[ExplanationMethod, ...] = (OURS, "eigen-cam", "occlusion")
CONTROLS = ("center", "random")
RANDOM_ORDERS = 2
# Larger photos are scaled down first. The network sees 224 × 224 pixels of them.
MAX_SIDE = 640
RESAMPLES = 10_000
# A longer table of single photos would show nothing that its means do not.
MAX_ROWS = 20

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one method for one photo, as shares of the photo's own probability.

    Args:
        deletion: Less is better: the class vanishes early.
        insertion: More is better: the class appears early.
    """

    deletion: float
    insertion: float

    @property
    def difference(self) -> float:
        """Insertion minus deletion."""
        return self.insertion - self.deletion


@dataclass(frozen=True, slots=True)
class ScoredPhoto:
    """A photo, its most probable class, and the scores of each method."""

    name: str
    label: str
    probability: float
    scores: Mapping[str, Scores]


def main() -> int:
    """Run the command."""
    arguments = _parse()
    photos = arguments.photos or found()
    with TemporaryDirectory(prefix="scores-") as scratch:
        root = Path(scratch)
        shutil.copytree(arguments.models / LITE0 / "1", root / "models" / LITE0 / "1")
        with (
            serving(root / "models", tuning_cache=root / "tuning.json") as server,
            Client(server.target, timeout_seconds=120) as client,
        ):
            scored = [_score(client, photo) for photo in photos]
    page = "\n".join(_lines(scored)) + "\n"
    arguments.write.write_text(page)
    print(f"\n{page}\nwritten to {arguments.write}")
    if not arguments.photos and (more := missing()):
        print(f"these packages would add photos: {', '.join(more)}")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.explanation_scores", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "photos",
        nargs="*",
        type=Path,
        metavar="PHOTO",
        help="photos of objects; by default those of the repository and of installed packages",
    )
    parser.add_argument(
        "--models", type=Path, default=BASE, metavar="DIR", help=f"the repository with {LITE0}"
    )
    parser.add_argument(
        "--write",
        type=Path,
        default=RESULTS / "explanation_scores.md",
        metavar="FILE",
        help="where to write the tables, in Markdown",
    )
    return parser.parse_args()


def _score(client: Client, path: Path) -> ScoredPhoto:
    """Score all methods for the most probable class of a photo."""
    photo = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    photo.thumbnail((MAX_SIDE, MAX_SIDE))
    result = client.classify(
        np.asarray(photo), model=LITE0, explain=[Explain(method=method) for method in METHODS]
    )
    explanations = dict(zip(METHODS, result.explanations, strict=True))
    best = explanations[OURS].target
    masking = Masking(photo, _box(explanations[OURS], photo))

    def score(heat: Floats) -> Scores:
        sides = (masking.deleted(heat), masking.inserted(heat))
        return Scores(
            *(area(_probabilities(client, s, best.index), best.probability) for s in sides)
        )

    scores: dict[str, Scores] = {name: score(one.array) for name, one in explanations.items()}
    scores["center"] = score(center_heat())
    random = np.random.default_rng(0)
    orders = [score(random_heat(random)) for _ in range(RANDOM_ORDERS)]
    scores["random"] = Scores(
        float(np.mean([one.deletion for one in orders])),
        float(np.mean([one.insertion for one in orders])),
    )
    scored = ScoredPhoto(path.name, best.label, best.probability, scores)
    print(f"{scored.name}: {scored.label} {scored.probability:.0%}", file=sys.stderr)
    return scored


def _box(explanation: Explanation, photo: Image.Image) -> tuple[int, int, int, int]:
    if explanation.crop is None:
        raise RuntimeError("the server reports no crop")
    left, top, right, bottom = explanation.crop.box(*photo.size)
    return round(left), round(top), round(right), round(bottom)


def _probabilities(client: Client, images: Iterator[NDArray[np.uint8]], index: int) -> list[float]:
    """Return the probability of a class in each image, which an explanation of it states."""
    results = client.classify_many(images, model=LITE0, top_k=1, explain=[index])
    return [result.explanations[0].probability for result in results]


def _lines(scored: Sequence[ScoredPhoto]) -> Iterator[str]:
    """Yield the lines of the tables, in Markdown."""
    count = len(scored)
    yield f"Means over {count} photos, with the 95% interval of a bootstrap over the photos:\n"
    yield (
        "| method | deletion, less is better | insertion, more is better | insertion − deletion "
        "| grad-cam's lead | photos where grad-cam leads |"
    )
    yield "|---|---|---|---|---|---|"
    for name in (*METHODS, *CONTROLS):
        cells = [
            _mean(scored, name, lambda one: one.deletion),
            _mean(scored, name, lambda one: one.insertion),
            _mean(scored, name, lambda one: one.difference),
        ]
        leads = np.array([p.scores[OURS].difference - p.scores[name].difference for p in scored])
        lead = "" if name == OURS else _interval(leads)
        wins = "" if name == OURS else f"{int((leads > 0).sum())} of {count}"
        yield f"| {name} | {' | '.join(cells)} | {lead} | {wins} |"
    if count > MAX_ROWS:
        return
    yield "\nInsertion − deletion of each photo:\n"
    yield f"| photo | class | {' | '.join((*METHODS, *CONTROLS))} |"
    yield "|---|---|" + "---|" * len((*METHODS, *CONTROLS))
    for photo in scored:
        differences = [photo.scores[name].difference for name in (*METHODS, *CONTROLS)]
        best = max(differences)
        cells = [f"**{d:.2f}**" if d == best else f"{d:.2f}" for d in differences]
        yield f"| {photo.name} | {photo.label}, {photo.probability:.0%} | {' | '.join(cells)} |"


def _mean(scored: Sequence[ScoredPhoto], name: str, value: Callable[[Scores], float]) -> str:
    return f"{np.mean([value(photo.scores[name]) for photo in scored]):.2f}"


def _interval(values: NDArray[np.float64]) -> str:
    """Return the mean and the interval that holds 95% of the means of resampled photos."""
    random = np.random.default_rng(0)
    means = random.choice(values, (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{values.mean():+.2f} ({low:+.2f} to {high:+.2f})"


if __name__ == "__main__":
    sys.exit(main())
