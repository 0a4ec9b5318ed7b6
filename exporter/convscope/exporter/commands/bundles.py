"""`verify`, `describe` and `explain`: what a bundle is, and what can be added to it.

What they need is imported inside them, so that `--help` answers at once.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convscope.bundle.errors import BundleError
from convscope.exporter.commands import options
from convscope.exporter.commands.console import (
    errors_as_sentences,
    make_console,
    report_bundle,
    shape_text,
    working,
)
from convscope.exporter.commands.options import Quiet, Version
from convscope.exporter.commands.tables import print_table
from convscope.exporter.errors import ExporterError

if TYPE_CHECKING:
    from convscope.exporter.bundles.describe import Heat, Level, Pyramid

__all__ = ["register"]

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A directory like models/NAME/1.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Draw the pyramid into a picture file.", show_default="no picture"
    ),
]
Photo = Annotated[
    Path | None,
    typer.Option(
        help="With --plot, the photo to draw receptive fields on.",
        show_default="the first golden input",
    ),
]


_ASSUMED = "assumed, publish it again with --preprocess, or --mean, --std and --resize to change it"
# Both include everything from the input to the feature map.
_SUMS = ("parameters\nso far", "multiply-adds\nso far")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(verify)
    app.command()(describe)
    app.command()(explain)


def verify(
    bundle: Bundle,
    signature_key: options.SignatureKey = None,
    signature_authority: options.SignatureAuthority = None,
    signature_identity: options.SignatureIdentity = None,
    signature_issuer: options.SignatureIssuer = None,
    quiet: Quiet = False,
) -> None:
    """Repeat a bundle's checks: manifest, hashes, graph, golden inputs, batches.

    With a key, an authority or an identity, its signature is checked first.

    Examples:
      convscope-exporter verify models/digits/1
      convscope-exporter verify models/digits/1 --signature-key signing.pub
    """
    if bool(signature_identity) != bool(signature_issuer):
        raise typer.BadParameter("--signature-identity and --signature-issuer go together")
    with errors_as_sentences():
        console = make_console(quiet)
        from convscope.bundle.signatures import TrustedSigners
        from convscope.exporter.bundles.verify import CHECKS
        from convscope.exporter.bundles.verify import verify as run

        if not bundle.is_dir():
            raise ExporterError(
                f"there is no folder {str(bundle)!r}; name a bundle like models/MODEL/VERSION"
            )
        for file in (signature_key, signature_authority):
            if file is not None and not file.exists():
                raise ExporterError(f"there is no file {str(file)!r}")
        signers = (signature_key, signature_authority, signature_identity, signature_issuer)
        trusted = TrustedSigners(*signers) if any(signers) else None
        done = 0
        try:
            for check in run(bundle, trusted):
                console.print(f"[green]✓[/] {check.name:<9} {escape(check.detail)}")
                done += 1
        except (BundleError, ExporterError):
            console.print(f"[red]✗[/] {CHECKS[done]}")
            for name in CHECKS[done + 1 :]:
                console.print(f"[dim]- {name:<9} not checked[/]")
            raise


def describe(
    bundle: Bundle, as_json: AsJson = False, plot: Plot = None, photo: Photo = None
) -> None:
    """Print a bundle's pyramid: each feature map's shape, receptive field and cost.

    Examples:
      convscope-exporter describe models/efficientnet_lite0/1
      convscope-exporter describe models/efficientnet_lite0/1 --plot pyramid.png
    """
    with errors_as_sentences():
        from convscope.exporter.bundles.describe import read_photo, read_pyramid

        pyramid = read_pyramid(bundle)
        if plot is not None:
            from convscope.exporter.bundles.plot import plot_pyramid

            plot_pyramid(pyramid, plot, read_photo(bundle, photo))
        if as_json:
            typer.echo(json.dumps(pyramid.as_json(), indent=2))
        else:
            console = make_console(False)
            _print_facts(pyramid, console)
            print_table(_table(pyramid), console)
        if plot is not None:
            # Beside what is printed, which may be JSON for another program.
            typer.echo(f"saved     {plot}", err=True)


def explain(bundle: Bundle, version: Version = None, quiet: Quiet = False) -> None:
    """Publish a new version of a bundle that can explain its classes by heat.

    It doesn't need PyTorch. The heat is compared with central differences.

    Examples:
      convscope-exporter explain models/digits/1
    """
    with errors_as_sentences():
        console = make_console(quiet)
        with console.status("Reading the bundle"):
            from convscope.exporter.bundles.explain import check_explainable, explain_bundle

            check_explainable(bundle, version)
        with working("Differentiating the graph and comparing with central differences", console):
            explained = explain_bundle(bundle, version)
        console.print(f"heat      {explained.summary}", markup=False)
        report_bundle(explained.directory, console)


def _print_facts(pyramid: "Pyramid", console: Console) -> None:
    """Print the name of a bundle, and what concerns all of it."""
    console.print(f"[bold]{escape(pyramid.model)} v{pyramid.version}[/]")
    assumed = f"; {_ASSUMED}" if pyramid.assumed else ""
    facts = {
        "preprocessing": f"{pyramid.preprocessing}{assumed}",
        "precision": pyramid.precision,
        "parameters": _parameters_line(pyramid),
        "not finite": pyramid.nonfinite,
        "explanations": "" if pyramid.explanation is None else _heat_line(pyramid.explanation),
    }
    for name, line in facts.items():
        if line:
            console.print(f"{name:<13}  {line}", markup=False)


def _parameters_line(pyramid: "Pyramid") -> str:
    """Return the network's parameters; a graph may have fewer, and banks of filters none."""
    in_graph = max((level.parameters for level in pyramid.levels), default=0)
    if not pyramid.parameters or pyramid.parameters == in_graph:
        return f"{in_graph:,}"
    return (
        f"{pyramid.parameters:,} in the network, {in_graph:,} in the graph, where batch "
        "normalization is part of the convolutions"
        if in_graph < pyramid.parameters
        else f"{pyramid.parameters:,} in the network, {in_graph:,} in the graph"
    )


def _heat_line(heat: "Heat") -> str:
    _, *positions = heat.shape
    rest = ", and adds up to the logit but for a constant" if heat.linear else ""
    return (
        f"heat of {shape_text(tuple(positions))} for each class, by the gradient at the graph's "
        f"tensor {heat.tensor!r}{rest}"
    )


def _table(pyramid: "Pyramid") -> Table:
    table = Table("feature map", box=None, header_style="dim", pad_edge=False)
    for column in ("shape", "stride", "receptive field", *_SUMS):
        table.add_column(column, justify="right")
    # Most feature maps of a PyTorch network are named after their module.
    has_sources = any(level.source not in ("", level.name) for level in pyramid.levels)
    if has_sources:
        table.add_column("tensor or module")
    table.add_row("[dim]input[/]", shape_text(_channels_first(pyramid)))
    for level in pyramid.levels:
        # A name may contain what looks like markup.
        cells = (level.name, *_cells(level), *([level.source] if has_sources else []))
        table.add_row(*map(escape, cells))
    return table


def _cells(level: "Level") -> tuple[str, ...]:
    field = level.receptive_field
    return (
        shape_text(level.shape),
        "" if level.stride is None else f"{level.stride:g}",
        "whole input" if field is None else f"{field:,}",
        f"{level.parameters:,}",
        f"{level.multiply_adds:,}",
    )


def _channels_first(pyramid: "Pyramid") -> tuple[int, ...]:
    sizes = pyramid.input
    return (sizes[-1], *sizes[:-1]) if pyramid.is_image else sizes
