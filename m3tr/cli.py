"""The command line: m3tr <verb>. Every command of dvc.yaml is one of these."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from m3tr.errors import InputError


class InOrder(TyperGroup):
    """Commands in the order of the pipeline; typer would name the group `bank` first."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Names of all commands."""
        names = list(self.commands)
        names.remove("bank")
        names.insert(names.index("train"), "bank")
        return names


app = typer.Typer(
    cls=InOrder,
    help="Forecast how popular a micro-video will become (M3TR).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

bank_app = typer.Typer(no_args_is_help=False)
app.add_typer(
    bank_app,
    name="bank",
    help="Build the memory bank; or look into one, or add to one.",
    rich_help_panel="Stages",
    invoke_without_command=True,
)

Workspace = Annotated[
    Path, typer.Option("--workspace", "-w", help="Folder with data/ and params.yaml.")
]
HERE = Path()
Model = Annotated[
    Path | None, typer.Option(help="Folder of a saved forecaster; else the workspace's own.")
]
REMEDY = "check that the path is right, that you may write there and that the disk is not full"


def _run_stage(name: str, workspace: Path) -> None:
    from m3tr.stages import STAGES

    report = STAGES[name](workspace)
    print(f"{name}: {report.rows} rows; figures in {workspace / 'reports' / name}.json")


def _stage(name: str, summary: str) -> None:
    def run(workspace: Workspace = HERE) -> None:
        _run_stage(name, workspace)

    app.command(name, help=summary, rich_help_panel="Stages")(run)


for _name, _summary in {
    "ingest": "Read, type and clean the tables; cut windows, labels and splits.",
    "validate": "Check the clean tables with Great Expectations.",
    "features": "Embed pictures, sound and text.",
    "trajectories": "Fit the Mamba-Hawkes process; represent every trajectory.",
    "train": "Train the forecaster.",
    "evaluate": "Measure it beside the baselines.",
    "register": "Register it; promote it if it beats the champion.",
}.items():
    _stage(_name, _summary)


@bank_app.callback()
def bank(ctx: typer.Context, workspace: Workspace = HERE) -> None:
    """Build the memory bank; or look into one, or add to one."""
    if ctx.invoked_subcommand is None:
        _run_stage("bank", workspace)
    else:  # `m3tr bank -w X info` means what `m3tr bank info -w X` does
        ctx.default_map = {ctx.invoked_subcommand: {"workspace": workspace}}


@bank_app.command()
def info(workspace: Workspace = HERE, model: Model = None) -> None:
    """What a bank holds, and what it was made with."""
    from m3tr.enquiries import bank_info

    _tell(bank_info(workspace, model))


@bank_app.command()
def search(
    video_id: Annotated[list[str], typer.Argument(help="Videos of the workspace.")],
    workspace: Workspace = HERE,
    model: Model = None,
    k: Annotated[int | None, typer.Option(min=1, help="Neighbours; else the model's.")] = None,
    eta: Annotated[
        float | None, typer.Option(help="Weight of the trajectory, 0 to 1; else the bank's.")
    ] = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="Weight of a modality, as text=2; else the bank's.")
    ] = None,
    known_by: Annotated[
        str | None, typer.Option(help="Only outcomes known by this time; else by the contract.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The neighbours of videos of the workspace."""
    from m3tr.enquiries import search_bank, search_in_words

    table, leads = search_bank(
        workspace, video_id, k=k, eta=eta, weights=weight or [], known_by=known_by, model=model
    )
    if as_json:
        import json

        from m3tr.evaluation.explained import records

        print(json.dumps(records(table), ensure_ascii=False, indent=1))
    else:
        print(search_in_words(table, leads, video_id))


@bank_app.command()
def append(
    data: Annotated[Path, typer.Argument(help="Folder of the tables and media (docs/data.md).")],
    model: Annotated[
        Path, typer.Option(help="Saved forecaster; made as a copy of the workspace's if missing.")
    ],
    workspace: Workspace = HERE,
    observed_until: Annotated[
        str | None, typer.Option(help="End of the feedback; else its last row.")
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Let validation and test videos in.")
    ] = False,
) -> None:
    """Add videos whose outcome is known to the bank of a saved forecaster."""
    from m3tr.appending import append_to_bank

    _tell(append_to_bank(data, model, workspace, until=observed_until, held_out=held_out))


@app.command(rich_help_panel="Pipeline")
def explain(
    video_id: Annotated[str, typer.Argument(help="A video of the workspace.")],
    workspace: Workspace = HERE,
    model: Model = None,
    observed_at: Annotated[
        str | None, typer.Option(help="Another clock than the task's, as 2021-05-02T12:00Z.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The page to write; else in reports/explain/.")
    ] = None,
) -> None:
    """Show what was retrieved for a video and why: a table, and a page with its picture."""
    from m3tr.enquiries import explain_video

    print(explain_video(workspace, video_id, observed_at, out, model))


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
