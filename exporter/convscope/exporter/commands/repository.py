"""`publish`, `versions`, `diff` and `prune`: which versions a repository has.

What they need is imported inside them, so that `--help` answers at once.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from convscope.exporter.commands.console import errors_as_sentences, make_console
from convscope.exporter.commands.options import ModelInRepository, Quiet, RepositoryPlace
from convscope.exporter.commands.tables import print_table

if TYPE_CHECKING:
    from convscope.bundle.pruning import Pruned

__all__ = ["register"]

Argument, Option = typer.Argument, typer.Option
Json = Annotated[bool, Option("--json", help="Print JSON instead of a table.")]
_BUNDLE = "like models/MODEL/1 or s3://BUCKET/models/MODEL/1."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (publish, versions, diff, prune):
        app.command()(command)


def publish(
    bundle: Annotated[str, Argument(metavar="BUNDLE", help=f"The bundle, {_BUNDLE}")],
    target: Annotated[
        str, Argument(metavar="REPOSITORY", help="The path or URL of the other repository.")
    ],
    version: Annotated[
        int | None,
        Option(min=1, help="Its number there.", show_default="the bundle's own number"),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Verify a bundle, and copy it into another repository.

    Examples:
      convscope-exporter publish models/digits/1 s3://BUCKET/models
      convscope-exporter publish models/digits/1 ../other/models --version 7
    """
    with errors_as_sentences():
        from convscope.bundle.opening import find_bundle, open_repository
        from convscope.bundle.publishing import prepare
        from convscope.bundle.publishing import publish as run
        from convscope.exporter.bundles.reader import open_bundle
        from convscope.exporter.bundles.verify import verify

        console = make_console(quiet)
        repository = open_repository(target)
        with find_bundle(bundle).on_disk() as directory:
            with console.status("Verifying"):
                checks = [check.name for check in verify(directory)]
            console.print(f"verified  {', '.join(checks)}")
            opened = open_bundle(directory)
            is_signed = opened.read_signature() is not None
            new = prepare(opened, version)
            with _copying(new.size_bytes, quiet) as on_bytes:
                copied = run(repository, new, on_bytes)
        place = repository.place(new.manifest.model, new.manifest.version)
        if copied:
            size = sum(file.size_bytes for file in new.manifest.files)
            console.print(f"[green]published[/] {escape(place)} ({decimal(size)})")
            if is_signed and new.signature is None:
                console.print(
                    f"[yellow]not signed[/] {escape(place)}; the signature covers the old number, "
                    "so sign this version with convscope-exporter sign"
                )
        else:
            console.print(f"{place} exists already and is the same; nothing to do", markup=False)


def versions(
    model: Annotated[
        str | None,
        Argument(
            metavar="MODEL", help="Only this model's versions.", show_default="those of all models"
        ),
    ] = None,
    repository: RepositoryPlace = "models",
    as_json: Json = False,
) -> None:
    """List the versions in a repository.

    Examples:
      convscope-exporter versions
      convscope-exporter versions digits --repository s3://BUCKET/models --json
    """
    with errors_as_sentences():
        from convscope.bundle.opening import existing_repository
        from convscope.bundle.versions import list_versions

        rows = list(list_versions(existing_repository(repository), model))
        if as_json:
            typer.echo(json.dumps([row.as_json() for row in rows], indent=2))
            return
        from convscope.exporter.repositories.tables import version_tables

        console = make_console(False)
        for table in version_tables(rows):
            print_table(table, console)
        for row in rows:
            if row.problem:
                console.print(row.problem, markup=False)


def diff(
    bundle_a: Annotated[str, Argument(metavar="BUNDLE_A", help=f"One bundle, {_BUNDLE}")],
    bundle_b: Annotated[str, Argument(metavar="BUNDLE_B", help="The other one.")],
    images: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            help="Run both on every image of a folder, and compare.",
            show_default="compare only the manifests",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two bundles: manifests, figures and, on images, their predictions.

    Examples:
      convscope-exporter diff models/digits/1 models/digits/2
      convscope-exporter diff models/digits/1 models/digits/2 --images photos
    """
    with errors_as_sentences():
        from convscope.exporter.repositories.comparing import compare_bundles

        found = compare_bundles(bundle_a, bundle_b, images)
        if as_json:
            typer.echo(json.dumps(found.as_json(), indent=2))
            return
        console = make_console(False)
        for part in found.report():
            if isinstance(part, Table):
                print_table(part, console)
            else:
                console.print(part, markup=False)


def prune(
    model: ModelInRepository,
    keep: Annotated[
        int, Option(min=1, help="How many of the latest versions to keep, at least one.")
    ],
    repository: RepositoryPlace = "models",
    dry_run: Annotated[bool, Option("--dry-run", help="Only print what would be removed.")] = False,
) -> None:
    """Remove a model's earlier versions, except those that an alias or traffic split names.

    Examples:
      convscope-exporter prune digits --keep 3 --dry-run
      convscope-exporter prune digits --keep 3
    """
    with errors_as_sentences():
        from convscope.bundle.opening import existing_repository
        from convscope.bundle.pruning import prune as run

        pruned = run(existing_repository(repository), model, keep, dry_run=dry_run)
        _report_pruned(model, pruned, keep, dry_run)


def _report_pruned(model: str, pruned: "Pruned", keep: int, dry_run: bool) -> None:
    done, freed = ("would remove", "would free") if dry_run else ("removed", "freed")
    for version, size in pruned.removed.items():
        typer.echo(f"{done} {model} v{version} ({decimal(size)})")
    for version, names in pruned.kept.items():
        latest = "the latest" if keep == 1 else f"one of the latest {keep}"
        why = f"named by {', '.join(names)}" if names else latest
        typer.echo(f"kept {model} v{version}: {why}")
    typer.echo(f"{freed} {decimal(pruned.freed_bytes)}")


@contextmanager
def _copying(total_bytes: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show how much of a copy is done, on a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("Copying"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as progress:
        task = progress.add_task("", total=total_bytes)
        yield lambda count: progress.advance(task, count)
