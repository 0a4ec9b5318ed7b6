"""Some minutes of varied load: calm, a second model, a rush with failures, calm again."""

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from convscope.client import Client
from convscope.client.errors import ConvscopeError

__all__ = ["PHASES", "Phase", "apply_load"]

_DATA = Path(__file__).resolve().parents[3] / "tests" / "data"
_EFFICIENTNET, _DIGITS = "efficientnet_lite0", "digits"


@dataclass(frozen=True, slots=True)
class Phase:
    """What the callers do for a while.

    Args:
        seconds: How long.
        digits: Callers of the small network, each with a pause between its calls.
        photos: Callers of the large one, likewise.
        hurried: Callers of the large one, likewise, whose deadline is short.
        mistaken: Callers that send text instead of an image, or name no model of ours.
    """

    seconds: float
    digits: int = 2
    photos: int = 2
    hurried: int = 0
    mistaken: int = 1


PHASES = (Phase(50), Phase(40, digits=8, photos=4), Phase(45, hurried=6), Phase(50))

_Call = Callable[[Client, int], object]


def apply_load(target: str, phases: Sequence[Phase], after_first: Callable[[], None]) -> None:
    """Send the phases' requests to a server, and do something else after the first."""
    photo, digits = _photo(), [path.read_bytes() for path in sorted(_DATA.glob("digits/*.png"))]

    def of_digits(client: Client, turn: int) -> object:
        return client.classify(digits[turn % len(digits)], model=_DIGITS)

    def of_photos(client: Client, turn: int) -> object:
        return client.classify(photo, model=_EFFICIENTNET)

    def hurried(client: Client, turn: int) -> object:
        return client.classify(photo, model=_EFFICIENTNET, timeout_seconds=0.3)

    def mistaken(client: Client, turn: int) -> object:
        return client.classify(b"text", model=_DIGITS if turn % 2 else "unknown")

    for index, phase in enumerate(phases):
        ends_at = time.monotonic() + phase.seconds
        callers: list[tuple[_Call, float]] = [
            *[(of_digits, 0.05)] * phase.digits,
            *[(of_photos, 0.25)] * phase.photos,
            *[(hurried, 0.15)] * phase.hurried,
            *[(mistaken, 1.0)] * phase.mistaken,
        ]
        with ThreadPoolExecutor(len(callers)) as pool:
            runs = [pool.submit(_call_until, ends_at, target, *caller) for caller in callers]
        for run in runs:
            run.result()
        if index == 0:
            after_first()


def _call_until(ends_at: float, target: str, call: _Call, pause_seconds: float) -> None:
    with Client(target) as client:
        turn = 0
        while time.monotonic() < ends_at:
            with contextlib.suppress(ConvscopeError):  # failing is a part of the load
                call(client, turn)
            turn += 1
            time.sleep(pause_seconds)


def _photo() -> bytes:
    """A JPEG as a web page has it."""
    out = io.BytesIO()
    Image.open(_DATA / "coffee.png").convert("RGB").save(out, "JPEG", quality=90)
    return out.getvalue()
