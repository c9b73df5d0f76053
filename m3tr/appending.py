"""More items for the bank of a saved forecaster, from a folder of tables and media."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from m3tr.errors import InputError
from m3tr.workspace import MODEL, TABLES, read_time


def append_to_bank(
    data: Path,
    model: Path,
    workspace: Path,
    *,
    until: str | None = None,
    held_out: bool = False,
) -> dict[str, Any]:
    """Remember the videos of `data` whose outcome is known; what became of how many.

    The forecaster itself stays as it is. Nothing is changed where anything is wrong.

    Parameters
    ----------
    data : Path
        Folder with `videos.parquet`, `feedback.parquet` and media (docs/data.md).
    model : Path
        A saved forecaster; made as a copy of the workspace's where there is none.
    until : str, optional
        Up to when the feedback is complete; without it, its last row.
    held_out : bool
        Let videos of the workspace's validation and test splits in.

    Raises
    ------
    InputError
        Data that cannot be read, no model, the workspace's own model, held-out videos.
    """
    from m3tr.data.windows import labelled
    from m3tr.memory.bank import Bank
    from m3tr.model.forecaster import Forecaster
    from m3tr.model.remember import content_of, ends, matured

    _refuse_own(model, workspace)
    new = not model.exists() or (model.is_dir() and not any(model.iterdir()))
    whole, feedback, figures = _read(data)
    forecaster = Forecaster.load(workspace / MODEL if new else model)
    there = forecaster.bank.identities.contains(whole)
    figures["left_out_already_in_the_bank"] = int(there.sum())
    ripe, items, end = whole.clear(), None, None
    if feedback.height:
        end = read_time("--observed-until", until) if until else ends(forecaster, feedback)
        examples, reasons = labelled(whole.filter(~there), feedback, forecaster.task, end)
        ripe = whole.join(examples, on="video_id", how="semi", maintain_order="left")
        figures |= reasons
    held = _held_out(workspace)
    if held is None:
        figures["note"] = f"{workspace} has no examples, so no video was looked for in its splits"
    elif not held_out:
        _refuse_held_out(ripe, held, data, workspace)
    if ripe.height:
        features, unread = content_of(forecaster, ripe, data)
        figures["media_or_texts_not_readable"] = unread.height
        items = matured(forecaster, ripe, feedback, features, until=end)
    with _target(model, workspace / MODEL if new else None) as folder:
        bank = Bank.open(folder / "bank", {"mhp": forecaster.mhp.fingerprint()})
        before = len(bank)
        if items is not None:
            bank = bank.append(*items, provenance={"data": str(data), "until": f"{end:%Y-%m-%d}"})
        figures["appended"] = len(bank) - before
        figures["items_in_the_bank"] = len(bank)
    return figures | {"model": str(model)}


def _read(data: Path) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Videos without any broken row, the feedback, and how many videos there were."""
    from m3tr.data import quarantine, tables

    raw = tables.read_videos(data / "videos.parquet")
    videos, feedback, rejected = quarantine.clean(
        raw, tables.read_feedback(data / "feedback.parquet")
    )
    # also where only feedback is broken: what is left of it would be too low an outcome
    whole = videos.join(rejected, on="video_id", how="anti", maintain_order="left")
    figures: dict[str, Any] = {"videos": raw.height, "appended": 0}
    figures["left_out_broken_rows"] = raw.height - whole.height
    if rejected.height:
        first = rejected.row(0, named=True)
        figures["first_broken_row"] = (
            f"{data / (first['table'] + '.parquet')} row {first['row']}: {first['reason']}: "
            f"{first['remedy']}"
        )
    return whole, feedback, figures


def _refuse_held_out(ripe: pl.DataFrame, held: set[str], data: Path, workspace: Path) -> None:
    forbidden = [video for video in ripe["video_id"] if video in held]
    if forbidden:
        raise InputError(
            f"{data / 'videos.parquet'}: {len(forbidden)} videos, the first {forbidden[0]}, are in "
            f"the validation or test split of {workspace}, which the evaluation may not find in a "
            "bank: leave them out, or append them with --held-out to a model that is not evaluated"
        )


def _refuse_own(model: Path, workspace: Path) -> None:
    """A pipeline's own model is made by the pipeline alone."""
    folder = model.resolve()
    other = folder.parts[-2:] == Path(MODEL).parts and (folder.parents[1] / "params.yaml").exists()
    if other or folder == (workspace / MODEL).resolve():
        raise InputError(
            f"{model} belongs to a pipeline, which would undo the append when it runs again: name "
            "another folder with --model, which is made as a copy of it"
        )


def _held_out(workspace: Path) -> set[str] | None:
    """Videos of the validation and test splits; None where there is no such workspace."""
    path = workspace / TABLES / "examples.parquet"
    if not path.exists():
        return None
    examples = pl.read_parquet(path, columns=["video_id", "split"], glob=False)
    return set(examples.filter(pl.col("split") != "train")["video_id"])


@contextmanager
def _target(model: Path, source: Path | None) -> Iterator[Path]:
    """The folder to append in: `model`, or a copy of `source` that becomes it when all is well."""
    if source is None:
        yield model
        return
    partial = model.with_name(model.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(source, partial, copy_function=shutil.copyfile)
        yield partial
        os.replace(partial, model)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
