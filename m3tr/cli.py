"""The command line: m3tr <verb>. Every command of dvc.yaml is one of these."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from m3tr.errors import InputError

app = typer.Typer(
    help="Forecast how popular a micro-video will become (M3TR).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Workspace = Annotated[
    Path, typer.Option("--workspace", "-w", help="Folder with data/ and params.yaml.")
]
HERE = Path()
REMEDY = "check that the path is right, that you may write there and that the disk is not full"


def _stage(name: str, summary: str) -> None:
    def run(workspace: Workspace = HERE) -> None:
        from m3tr.stages import STAGES

        report = STAGES[name](workspace)
        print(f"{name}: {report.rows} rows; figures in {workspace / 'reports' / name}.json")

    app.command(name, help=summary, rich_help_panel="Stages")(run)


for _name, _summary in {
    "ingest": "Read, type and clean the tables; cut windows, labels and splits.",
    "validate": "Check the clean tables with Great Expectations.",
    "features": "Embed pictures, sound and text.",
    "trajectories": "Fit the Mamba-Hawkes process; represent every trajectory.",
    "bank": "Build the memory bank.",
    "train": "Train the forecaster.",
    "evaluate": "Measure it beside the baselines.",
    "register": "Register it; promote it if it beats the champion.",
}.items():
    _stage(_name, _summary)


@app.command(rich_help_panel="Data")
def simulate(
    out: Annotated[Path, typer.Option(help="Workspace to write data/ to.")],
    videos: Annotated[int, typer.Option(min=1, help="Number of videos.")] = 400,
    seed: Annotated[int, typer.Option(min=0)] = 7,
    media: Annotated[bool, typer.Option(help="Write media files.")] = True,
) -> None:
    """Simulate a world with a known truth: media files, texts, creators, feedback."""
    from m3tr.stages import simulate_data

    _tell(simulate_data(out, videos=videos, seed=seed, media=media))


@app.command("import", rich_help_panel="Data")
def import_(
    source: Annotated[str, typer.Option(help="parquet, snapshots, own-data or microlens.")],
    src: Annotated[Path, typer.Option("--from", help="Folder of the source's tables.")],
    workspace: Workspace = HERE,
    drop: Annotated[list[str] | None, typer.Option(help="Column to leave out.")] = None,
    target: Annotated[str, typer.Option(help="Kind a video's counters must have.")] = "view",
    force: Annotated[bool, typer.Option("--force", help="Replace existing data.")] = False,
    link: Annotated[
        bool, typer.Option("--link", help="Hard links to the media files instead of copies.")
    ] = False,
) -> None:
    """Turn a source into data/ of a workspace."""
    from m3tr.stages import import_data

    _tell(import_data(source, src, workspace, drop or [], target=target, force=force, link=link))


@app.command(rich_help_panel="Pipeline")
def run(
    workspace: Workspace = HERE,
    stage: Annotated[str | None, typer.Option(help="Only up to this stage.")] = None,
) -> None:
    """Run all stages on a workspace, as far as something changed."""
    from m3tr.pipeline import run_pipeline

    status = run_pipeline(workspace, stage)
    if status == 0 and stage is None:
        results(workspace)
    raise typer.Exit(status)


@app.command(rich_help_panel="Pipeline")
def results(workspace: Workspace = HERE) -> None:
    """Print the results table and where report, run and model are."""
    from m3tr import pipeline

    print(pipeline.results(workspace))


@app.command(rich_help_panel="Pipeline")
def promote(version: str, workspace: Workspace = HERE) -> None:
    """Make a registered version the champion, whatever its figures."""
    from m3tr.stages import promote_version

    print(promote_version(workspace, version))


def _tell(figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        print(f"{name}: {value}")


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit status 1."""
    try:
        app()
    except InputError as error:
        sentence = " ".join(str(error).split())
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # the reader of a pipe, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"error: {what}: {REMEDY}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
