"""`visattn train`: the tasks from a terminal.

Progress goes to stderr, results to stdout.  Exit status: 0 trained; 2 a mistake of the user's; 130 (^C) or 143
(SIGTERM) interrupted, with everything kept.
"""

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

train = typer.Typer(name="train", no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
                    help="Train a small network from random weights, and see what it learned.")


@train.callback()
def tasks() -> None:
    """Train a small network from random weights, and see what it learned."""


@train.command()
def classify(
    model: Annotated[Literal["cnn", "vit", "stn"], typer.Option(
        help="A gated residual CNN, a vision transformer, or a spatial transformer.")] = "cnn",
    data: Annotated[Literal["digits", "mnist5k", "scattered"], typer.Option(
        help="8 × 8 digits, 28 × 28 digits (extra: mnist), or digits moved about on a canvas.")] = "digits",
    gate: Annotated[Literal["none", "squeeze_excite", "cbam"], typer.Option(
        help="What ends each block of the CNN.")] = "none",
    seed: Annotated[int, typer.Option(help="All randomness comes from it: the same seed, the same weights.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training set; by default what the model needs.",
                                               show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(
        help="Folder for weights, result and figure; by default runs/ and a name that says what was trained.",
        show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")] = False,
) -> None:
    """Train a network to say which digit it is.

    ^C stops it with nothing lost: the same command goes on where it was, and ends with the same weights, bit for bit.

    Example: [bold]visattn train classify --model cnn --gate squeeze_excite --seed 3[/bold]
    """
    from visattn.tasks import classify as task

    config = task.configure(model, data, gate, seed, epochs)
    folder = out or Path("runs") / "-".join([data, model, *([gate] if gate != "none" else []), f"seed{seed}"])
    try:
        with progress_bar(config.epochs) as progress:
            result = task.train(model, data, gate, seed, epochs, out=folder, progress=progress)
    except task.Interrupted as stop:
        print(f"visattn: {stop}; all of it is in {folder}: the same command goes on from there", file=sys.stderr)
        raise SystemExit(stop.status) from None
    if as_json:
        print(json.dumps(task.summary(result), indent=2))
        return
    print(f"{result.accuracy:.2%} of the held-out {data} are right, by {result.parameters:,} weights after "
          f"{config.epochs} epochs in {result.seconds:.1f} s")
    for what, path in result.files.items():
        print(f"{what:8} {path}")


@contextmanager
def progress_bar(epochs: int) -> Any:
    """progress(state, steps) for `train`, drawn on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("epoch {task.fields[epoch]} of " + str(epochs)), BarColumn(), TimeElapsedColumn(),
               TimeRemainingColumn(), TextColumn("[dim]{task.fields[said]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("training", total=None, epoch=1, said="")

        def progress(state: Any, steps: int) -> None:
            last = state.curve[-1] if state.curve else None
            bar.update(task, total=epochs * steps, completed=state.epoch * steps + state.step,
                       epoch=min(state.epoch + 1, epochs),
                       said=f"loss {last['loss']:.3f}, held out {last['accuracy']:.1%}" if last else "")

        yield progress
