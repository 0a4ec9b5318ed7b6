"""The pages that are made while the site is built, and the files of the root that it shows."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import typer

from scripts.reference.commands import command_page
from scripts.reference.errors import errors_page
from scripts.reference.logs import logs_page
from scripts.reference.metrics import metrics_page
from scripts.reference.protocols import protocol_page
from scripts.reference.python_api import python_page
from scripts.reference.settings import settings_page

__all__ = ["GENERATED", "ROOT", "SHOWN", "with_links_of_the_site"]

ROOT = Path(__file__).resolve().parents[2]
_PROTO = ROOT / "proto"
_V1 = _PROTO / "convscope" / "v1"


def _client_page() -> str:
    from convscope.client.cli import app

    introduction = (
        "The commands of a caller, made from `--help`. "
        "[The command line](../guides/command-line.md) shows them at work."
    )
    return command_page("convscope", introduction, "convscope", typer.main.get_command(app))


def _exporter_page() -> str:
    from convscope.exporter.cli import app

    introduction = (
        "The commands that train, convert and publish, made from `--help`. "
        "[Your own network](../guides/own-network.md) and "
        "[Repositories](../guides/repositories.md) show them at work."
    )
    command = typer.main.get_command(app)
    return command_page("convscope-exporter", introduction, "convscope-exporter", command)


def _manifest_page() -> str:
    introduction = (
        "`manifest.json` describes a bundle: `ModelManifest` as JSON, with the names of the "
        "fields below and of the enums' values. Integers of 64 bits are strings, as in every JSON "
        "of protobuf. Made from the comments of `proto/convscope/v1/manifest.proto`. "
        "[The bundle](../concepts/bundle.md) explains the files."
    )
    return protocol_page("The manifest", introduction, _V1 / "manifest.proto")


def _wire_page() -> str:
    introduction = (
        "The messages of gRPC on the server's port, package `convscope.v1`, made from the comments "
        "of `proto/convscope/v1/`. `AdminService` has a listener of its own. Fields of "
        "[the manifest](manifest.md) are on a page of their own."
    )
    files = (_V1 / "inference.proto", _V1 / "admin.proto")
    return protocol_page("The wire format", introduction, *files)


def _open_inference_page() -> str:
    introduction = (
        "The part of the Open Inference Protocol that the server implements, made from the "
        "comments of `proto/inference/open_inference.proto`. "
        "[The guide](../guides/open-inference.md) shows its clients."
    )
    path = _PROTO / "inference" / "open_inference.proto"
    return protocol_page("Open Inference Protocol", introduction, path)


GENERATED: Mapping[str, Callable[[], str]] = {
    "reference/python.md": python_page,
    "reference/cli.md": _client_page,
    "reference/exporter.md": _exporter_page,
    "reference/settings.md": settings_page,
    "reference/metrics.md": metrics_page,
    "reference/logs.md": lambda: logs_page(ROOT / "server" / "convscope" / "server"),
    "reference/errors.md": errors_page,
    "reference/manifest.md": _manifest_page,
    "reference/wire.md": _wire_page,
    "reference/open-inference.md": _open_inference_page,
}
# Files outside docs/ that are pages of the site, by their names there.
SHOWN: Mapping[str, str] = {
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
    "bench.md": "bench/README.md",
    "explanation-scores.md": "bench/results/explanation_scores.md",
    "images/bench.png": "bench/results/latest.png",
}


def with_links_of_the_site(markdown: str, page: str) -> str:
    """Return a page whose links lead to pages of the site.

    A link to a file of the repository that is no page becomes its text, because the site
    doesn't know where the repository is published.

    Args:
        markdown: The page.
        page: Its path within the repository, such as docs/web.md.
    """
    shown = {source: f"docs/{name}" for name, source in SHOWN.items()}
    # Where the page is on the site, which is not where it is in the repository for SHOWN.
    folder = Path(shown.get(page, page)).parent

    def link(found: re.Match[str]) -> str:
        mark, text, target, anchor = found[1], found[2], found[3], found[4] or ""
        if "://" in target or not target or target.startswith("mailto:"):
            return found[0]
        place = _normal(Path(page).parent / target)
        place = shown.get(place, place)
        # The list of the reference stands for its pages where these don't exist.
        if (
            place == "docs/reference/index.md"
            and (name := f"reference/{anchor[1:]}.md") in GENERATED
        ):
            place, anchor = f"docs/{name}", ""
        if not place.startswith("docs/"):
            return found[0] if mark else text
        relative = _relative(place, folder.as_posix())
        return f"{mark}[{text}]({relative}{anchor})"

    return re.sub(
        r"(!?)\[((?:[^\[\]]|\[[^\]]*\]\([^)]*\))*)\]\(([^)#\s]*)(#[^)]*)?\)", link, markdown
    )


def _normal(path: Path) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def _relative(target: str, folder: str) -> str:
    """Return the relative path of a file from a folder."""
    up = Path(folder).parts
    down = Path(target).parts
    shared = 0
    while shared < min(len(up), len(down) - 1) and up[shared] == down[shared]:
        shared += 1
    return "/".join([*[".."] * (len(up) - shared), *down[shared:]])
