"""Classify a folder, a bucket or a Parquet file of images with Ray Data.

python -m deploy.ray.bulk SOURCE --models DIR --model NAME --output FILE.parquet
"""

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from convscope._commands import PlainCommand
from convscope._usage_errors import usage_errors
from convscope.client.cli.options import check_selector
from convscope.client.cli.outputs.output_file import FileChoice
from convscope.client.cli.runs import reporting_failure
from deploy.ray.data.interruption import reporting_interruption

__all__ = ["main"]

INSTALL = "a bulk run needs Ray ({missing} is missing); in a clone run: pip install '.[ray]'"
PARQUET_SUFFIXES = (".parquet", ".pq")


class _BulkCommand(PlainCommand):
    """A command that is not in a group, with the exit codes and messages of those that are."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the arguments."""
        with usage_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with usage_errors():
            return super().invoke(ctx)


app = typer.Typer(
    rich_markup_mode=None,  # its tables cut names off
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command(cls=_BulkCommand)
def bulk(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder, a pattern, a URL such as s3://BUCKET/photos, or a Parquet file.",
        ),
    ],
    models: Annotated[
        str,
        typer.Option(metavar="DIR|URL", help="The repository, as for convscope-server."),
    ],
    model: Annotated[str, typer.Option(metavar="NAME", help="The model's name.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The Parquet file of the results. It appears when all images are done.",
        ),
    ],
    version: Annotated[
        int | None,
        typer.Option(min=1, help="The model's version.", show_default="the server's default"),
    ] = None,
    alias: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="An alias of the model's version, such as champion.",
            show_default="the server's default",
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many classes an image gets.")] = 5,
    embeddings: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER",
            help="Add the mean of each channel of this feature map; last is the last one.",
            show_default="no embeddings",
        ),
    ] = None,
    names: Annotated[
        str,
        typer.Option(metavar="COLUMN", help="The column of a Parquet file with the images' names."),
    ] = "path",
    actors: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that classify.",
            show_default="as many as the cluster has room for",
        ),
    ] = None,
    cpus_per_actor: Annotated[int, typer.Option(min=1, help="Cores that an actor uses.")] = 1,
    gpus_per_actor: Annotated[float, typer.Option(min=0, help="GPUs that an actor gets.")] = 0,
    provider: Annotated[
        str, typer.Option(metavar="NAME", help="Execution providers, as for convscope-server.")
    ] = "cpu",
    batch_size: Annotated[int, typer.Option(min=1, help="Images of one call of an actor.")] = 64,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Add to --output the images that it lacks, such as after an interruption.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only errors, and no progress.")
    ] = False,
) -> None:
    """Classify any number of images on all cores, or on the machines of a Ray cluster.

    Each actor loads the bundle once and classifies as a server does. A bad image does not stop
    the others. It is reported, and the output leaves it out.

    It starts Ray on this machine, unless RAY_ADDRESS names a cluster. All its machines must reach
    the images and the models by the same paths or URLs.

    To continue an interrupted run, repeat the command with --resume. It tries failed
    images again.

    Examples:
      python -m deploy.ray.bulk photos --models models --model digits -o classes.parquet
      python -m deploy.ray.bulk s3://bucket/photos --models s3://bucket/models --model digits \\
        -o classes.parquet --embeddings last
      python -m deploy.ray.bulk rows.parquet --names id --models models --model digits \\
        -o classes.parquet --resume

    Columns of a Parquet file as the source:
      bytes, image    the encoded images; image may also have the fields bytes and path
      path            their names, or without such a column, paths and URLs to read them from

    Columns of the output:
      those of convscope classify -o classes.parquet, and with --embeddings: embedding

    Exit codes:
      0    all images are classified
      1    no image is classified, or the run failed
      2    some images failed, or the run stopped early
      64   the command line is wrong, or it names no image
      130  Ctrl-C
    """
    check_selector(version, alias)
    if output.suffix.lower() not in PARQUET_SUFFIXES:
        raise typer.BadParameter(f"--output {str(output)!r} is no Parquet file; use *.parquet")
    if resume and overwrite:
        raise typer.BadParameter("--resume and --overwrite contradict each other; choose one")
    choice = FileChoice(output, "parquet", resume, overwrite)
    with (
        reporting_failure((), prints_json=False),
        reporting_interruption(output, quiet=quiet),
    ):
        from deploy.ray.data.inputs import find_images
        from deploy.ray.data.job import plan_job
        from deploy.ray.data.run import run
        from deploy.ray.data.workers import Workers

        images = find_images(source, names)
        job = plan_job(
            models,
            model,
            version=version,
            alias=alias,
            top_k=top_k,
            layer=embeddings,
            settings={"provider": provider, "cores": cpus_per_actor},
        )
        workers = Workers(actors, cpus_per_actor, gpus_per_actor, batch_size)
        run(images, job, choice, workers, quiet=quiet)


def main() -> None:
    """Run the command; its --help describes its exit codes."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        app(prog_name="python -m deploy.ray.bulk")
    except ModuleNotFoundError as error:
        sys.exit(INSTALL.format(missing=error.name))


if __name__ == "__main__":
    main()
