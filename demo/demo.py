"""The whole workflow: train, export, serve, classify, look inside.

The demo runs the commands that a user would type, and prints each of them.
Bundles stay in models/ and pictures in demo-output/. The server is stopped at
the end.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO, Any, NoReturn

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent
MODELS = Path("models")
OUTPUT = Path("demo-output")
COFFEE = "tests/data/coffee.png"
DIGITS = "tests/data/digits/*.png"  # the client finds the files
THREE = "tests/data/digits/3.png"
STAGES = ("decode", "queue", "infer", "encode")
MIN_ESPRESSO = 0.90
# Events of the server's log that the demo doesn't show, and keys of those that it does.
QUIET = ("loading", "tuned")
HIDDEN = ("event", "level", "logger", "timestamp")

console = Console(highlight=False, soft_wrap=True)


def main() -> None:
    """Run the demo; exit with 1 at the first unexpected result."""
    step("1. Two networks become bundles")
    make_bundle("efficientnet_lite0", "export", "efficientnet_lite0")
    make_bundle("digits", "train", "digits")

    step("2. A server loads them, and verifies their results on the golden inputs")
    with running_server() as metrics_url:
        step("3. What is in this photo?")
        classify_coffee()

        step("4. What does the network see in it?")
        look_inside(COFFEE, "efficientnet_lite0", "blocks.0", "blocks.2", "blocks.6")

        step("5. Which parts of the photo speak for espresso, and which for cup?")
        explain_coffee()

        step("6. Which digits are these?")
        classify_digits()
        look_inside(THREE, "digits", "conv1", "conv2")

        step("7. How long did it take?")
        show_metrics(metrics_url)

    console.print(f"\nDone. Look at the pictures in [bold]{OUTPUT}/[/].")
    console.print(
        f"[bold]make serve[/] starts a server that stays. Then, from another terminal:\n"
        f"  .venv/bin/convscope classify {COFFEE} --model efficientnet_lite0\n"
        f"  curl -s http://127.0.0.1:8002/metrics | grep convscope_stage_seconds"
    )


def make_bundle(model: str, *command: str) -> None:
    """Make version 1 of a model, unless an earlier run of the demo did."""
    if (MODELS / model / "1" / "manifest.json").exists():
        console.print(f"{MODELS}/{model}/1 already exists; `make clean` removes it")
        return
    run("convscope-exporter", *command, "--repository", str(MODELS), "--version", "1")


@contextmanager
def running_server() -> Iterator[str]:
    """Run a server on free ports, yield the URL of its metrics, and always stop it.

    Commands find it by the environment.
    """
    command = ["convscope-server", "--models", str(MODELS), "--drain-seconds", "0.5"]
    announce(command)
    free = ["--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"]
    process = subprocess.Popen(
        [BIN / command[0], *command[1:], *free], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    log = process.stderr
    if log is None:
        fail("the server has no log")
    try:
        ports = wait_until_serving(log)
        Thread(target=log.read, daemon=True).start()  # a full pipe would stop the server
        os.environ["CONVSCOPE_SERVER"] = f"127.0.0.1:{ports['grpc_port']}"
        announce(["export", f"CONVSCOPE_SERVER={os.environ['CONVSCOPE_SERVER']}"])
        yield f"http://127.0.0.1:{ports['metrics_port']}/metrics"
    finally:
        process.terminate()
        code = process.wait(timeout=40)
    console.print(f"\n[dim]the server stopped with exit code {code}[/]")
    if code != 0:
        fail(f"the server's exit code is {code}")


def wait_until_serving(log: IO[str]) -> dict[str, int]:
    """Read the server's log until the server is ready, and return its ports."""
    for line in log:
        event: dict[str, Any] = (
            json.loads(line) if line.startswith("{") else {"event": line.rstrip()}
        )
        if event["event"] == "model ready":
            console.print(
                f"  {event['model']} v{event['version']} is ready on {event['provider']} "
                f"after {event['seconds']:.2f} s"
            )
        elif event["event"] == "serving":
            return {key: event[key] for key in ("grpc_port", "metrics_port")}
        elif event["event"] not in QUIET:
            details = ", ".join(f"{key} {event[key]}" for key in event if key not in HIDDEN)
            line = (
                f"{event['event']}: {event.get('message') or details}"
                if details
                else event["event"]
            )
            console.print(f"  {line}", style="dim", markup=False)
    return fail("the server stopped before it was ready")


def classify_coffee() -> None:
    """Classify a photo, and check its first class."""
    label, probability = classify("efficientnet_lite0", COFFEE)[0]
    if label != "espresso" or probability < MIN_ESPRESSO:
        fail(f"the coffee was classified as {label} ({probability:.2f})")


def classify_digits() -> None:
    """Classify one picture of each digit, and check the classes."""
    found = [label for label, _ in classify("digits", DIGITS, "--top-k", "1")]
    if found != [str(digit) for digit in range(10)]:
        fail(f"the digits 0 to 9 were classified as {', '.join(found)}")
    console.print("all ten are correct")


def classify(model: str, *arguments: str) -> list[tuple[str, float]]:
    """Print the table of some images, and return the classes and probabilities in it.

    A label of several words is shortened to its last one.
    """
    command = ("convscope", "classify", *arguments, "--model", model)
    announce(command)
    terminal = {"COLUMNS": str(console.width)} | ({"FORCE_COLOR": "1"} if colored() else {})
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=ROOT,
        env=os.environ | terminal,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, end="", flush=True)
    if done.returncode != 0:
        print(done.stderr, end="", flush=True)
        fail(f"{command[0]} ended with exit code {done.returncode}")
    plain = Text.from_ansi(done.stdout).plain
    return [(label, float(value)) for label, value in re.findall(r"(\S+)\s+([01]\.\d{4})\b", plain)]


def colored() -> bool:
    """Report whether the demo's output is colored."""
    return console.is_terminal and not console.no_color


def look_inside(image: str, model: str, *feature_maps: str) -> None:
    """Save the feature maps of an image as pictures."""
    names = ",".join(feature_maps)
    options = ["--feature-maps", names, "--save", str(OUTPUT)]
    run("convscope", "classify", image, "--model", model, *options)
    for name in feature_maps:
        if not list((ROOT / OUTPUT).glob(f"*{name}*.png")):
            fail(f"{OUTPUT}/ has no picture of {name}")


def explain_coffee() -> None:
    """Save pictures of what speaks for the two best classes of a photo."""
    options = ["--model", "efficientnet_lite0", "--save", str(OUTPUT)]
    run("convscope", "explain", COFFEE, *options)
    if not list((ROOT / OUTPUT).glob("*espresso-not-cup.png")):
        fail(f"{OUTPUT}/ has no picture that contrasts the two best classes")


def show_metrics(url: str) -> None:
    """Print a few of the metrics that Prometheus would scrape, as a table."""
    console.print(f"Requests, and the mean time of each stage, from the metrics at {url}:")
    with urllib.request.urlopen(url, timeout=5) as reply:
        scraped = reply.read().decode()
    figures: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(scraped):
        for sample in family.samples:
            key = tuple(sample.labels.get(name, "") for name in ("model", "stage", "code"))
            figures[sample.name, *key] = sample.value
    table = Table("model", "requests", *STAGES, box=None, header_style="dim", padding=(0, 3, 0, 0))
    for model in ("digits", "efficientnet_lite0"):
        requests = figures["convscope_requests_total", model, "", "OK"]
        means = (
            figures["convscope_stage_seconds_sum", model, stage, ""]
            / figures["convscope_stage_seconds_count", model, stage, ""]
            for stage in STAGES
        )
        table.add_row(model, f"{requests:.0f} OK", *(f"{1000 * mean:.1f} ms" for mean in means))
    console.print(table)
    console.print("A request can hold several images.", style="dim")


def step(title: str) -> None:
    """Print a heading."""
    console.print()
    console.print(Rule(f"[bold]{title}[/]", align="left"))


def run(*command: str) -> None:
    """Print a command, run it from the repository's root, and fail if it fails."""
    announce(command)
    code = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, check=False).returncode
    if code != 0:
        fail(f"{command[0]} ended with exit code {code}")


def announce(command: list[str] | tuple[str, ...]) -> None:
    """Print a command as a user would type it, on as many lines as the terminal needs."""
    # An option and its value stay together: a character that isn't a space separates them.
    text = re.sub(r"( --[\w-]+) (?!-)", "\\1\0", shlex.join(command))
    lines = textwrap.wrap(
        text,
        console.width - 4,
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    console.print(Text("$", "bold green"), " \\\n".join(lines).replace("\0", " "), markup=False)


def fail(reason: str) -> NoReturn:
    """End the demo."""
    console.print(f"[bold red]The demo failed:[/] {reason}")
    sys.exit(1)


if __name__ == "__main__":
    main()
