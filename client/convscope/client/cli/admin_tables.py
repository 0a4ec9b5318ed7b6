"""The tables of `convscope admin`: each version, what it does, and why it doesn't serve."""

from collections.abc import Iterator, Sequence

import typer
from rich.table import Table

from convscope.client._calls.admin_client import ModelStatus, VersionStatus
from convscope.client.cli.table_style import print_table

__all__ = ["print_status"]

# The states of the API, in the words of the tables.
_SHOWN_STATES = {"dormant": "on demand", "refused": "rejected"}


def print_status(models: Sequence[ModelStatus]) -> None:
    """Print a row for each version, and the problems of each model on the error output."""
    columns = ("model", "version", "state", "aliases", "traffic", "provider, or reason")
    table = Table(box=None, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    for model in models:
        for version in model.versions:
            names = [name for name, number in model.aliases.items() if number == version.version]
            note = f"{version.reason}: {version.message}" if version.reason else _runs_on(version)
            default = " (default)" if version.is_default else ""
            table.add_row(
                model.model,
                f"v{version.version}{default}",
                _SHOWN_STATES.get(version.state, version.state),
                ", ".join(sorted(names)),
                ", ".join(_splits_to(model, version.version)),
                note,
            )
        if not model.versions:
            table.add_row(model.model, "", "unloaded", "", "", "")
    if models:
        print_table(table)
    else:
        typer.echo("the server has found no model", err=True)
    for model in models:
        for problem in model.problems:
            typer.echo(f"{model.model}: {problem}", err=True)


def _splits_to(model: ModelStatus, version: int) -> Iterator[str]:
    """Yield the traffic splits of a version: "canary of champion: 5%"."""
    for kind, split in (("canary", model.canary), ("shadow", model.shadow)):
        if split and model.aliases.get(str(split.to), split.to) == version:
            of = f" of {split.of}" if split.of else ""
            yield f"{kind}{of}: {100 * split.share:.3g}%"


def _runs_on(version: VersionStatus) -> str:
    instead = f" instead of {version.fallback_from}" if version.fallback_from else ""
    explained = ", explained" if version.explained else ""
    return f"{version.provider}{instead}{explained}"
