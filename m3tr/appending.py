"""More items for the bank of a saved forecaster, from a folder of tables and media."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from m3tr.errors import InputError
from m3tr.workspace import MODEL, read_time

if TYPE_CHECKING:
    from m3tr.memory.bank import Bank

if TYPE_CHECKING:
    pass


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
        Let videos of the validation and test splits that the model was trained with in.

    Raises
    ------
    InputError
        Data that cannot be read, no model, the workspace's own model, held-out videos.
    """
    from m3tr.data.windows import labelled
    from m3tr.memory.bank import Bank
    from m3tr.model.forecaster import Forecaster
    from m3tr.model.remember import content_of, ends, matured, refuse_held_out

    _refuse_own(model, workspace)
    new = not model.exists() or (model.is_dir() and not any(model.iterdir()))
    whole, feedback, figures = _read(data)
    forecaster = Forecaster.load(workspace / MODEL if new else model)
    there = forecaster.bank.identities.contains(whole)
    figures["left_out_already_in_the_bank"] = int(there.sum())
    others = _namesakes(forecaster.bank, whole.filter(there))
    if others:
        figures["warning"] = (
            f"{others} of these have another title than the item of their id: if they are other "
            "videos, give them ids and media paths of their own"
        )
    ripe, items, end = whole.clear(), None, None
    if feedback.height:
        end = read_time("--observed-until", until) if until else ends(feedback)
        examples, reasons = labelled(whole.filter(~there), feedback, forecaster.task, end)
        ripe = whole.join(examples, on="video_id", how="semi", maintain_order="left")
        figures |= reasons
    if not held_out:
        forbidden = ripe.filter(forecaster.holds_out(ripe))
        refuse_held_out(forbidden, f"{data / 'videos.parquet'}: ")
    if ripe.height:
        features, unread = content_of(forecaster, ripe, data)
        figures["media_or_texts_not_readable"] = unread.height
        items = matured(forecaster, ripe, feedback, features, until=end, held_out=True)
    with _target(model, workspace / MODEL if new else None) as folder:
        bank = Bank.open(folder / "bank", {"mhp": forecaster.mhp.fingerprint()})
        before = len(bank)
        if items is not None:
            bank = bank.append(*items, provenance={"data": str(data), "until": f"{end:%Y-%m-%d}"})
        figures["appended"] = len(bank) - before
        figures["items_in_the_bank"] = len(bank)
    return figures | {"model": str(model)}


def _namesakes(bank: "Bank", videos: pl.DataFrame) -> int:
    """How many videos have the id of an item but another title."""
    own = bank.items
    if "title" not in own.columns or "title" not in videos.columns:
        return 0
    both = videos.select("video_id", "title").join(
        own.select("video_id", theirs="title"), on="video_id"
    )
    return both.filter(pl.col("title").ne_missing(pl.col("theirs"))).height


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


def _refuse_own(model: Path, workspace: Path) -> None:
    """A pipeline's own model is made by the pipeline alone."""
    folder = model.resolve()
    other = folder.parts[-2:] == Path(MODEL).parts and (folder.parents[1] / "params.yaml").exists()
    if other or folder == (workspace / MODEL).resolve():
        raise InputError(
            f"{model} belongs to a pipeline, which would undo the append when it runs again: name "
            "another folder with --model, which is made as a copy of it"
        )


@contextmanager
def _target(model: Path, source: Path | None) -> Iterator[Path]:
    """The folder to append in: `model`, or a copy of `source` that becomes it when all is well."""
    if source is None:
        yield model
        return
    model = model.resolve()  # `.` has no name
    model.parent.mkdir(parents=True, exist_ok=True)
    # another append may be making the same folder
    partial = Path(tempfile.mkdtemp(prefix=f"{model.name}.", suffix=".partial", dir=model.parent))
    try:
        shutil.copytree(source, partial, copy_function=shutil.copyfile, dirs_exist_ok=True)
        yield partial
        _put(partial, model)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _put(partial: Path, model: Path) -> None:
    """Put a whole model where there is none yet."""
    try:
        if not model.exists():
            os.rename(partial, model)
            return
        # an empty folder may be somebody's working directory: it stays, what tells a model is last
        # and the first to move the first folder has won
        parts = sorted(partial.iterdir(), key=lambda p: (p.is_file(), p.suffix == ".json", p.name))
        for part in parts:
            os.rename(part, model / part.name)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise InputError(
                f"{model} was made by another append in the meantime: run the same command again, "
                "which appends to it"
            ) from None
        raise
