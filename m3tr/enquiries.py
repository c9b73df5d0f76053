"""What can be asked of a finished workspace: why a forecast is what it is, what the bank holds.

Nothing here is a stage: no artifact of the pipeline is written.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from m3tr.data.settings import SECONDS_A_DAY, format_duration
from m3tr.errors import InputError
from m3tr.workspace import BANK, FEATURES, MODEL, TABLES, read_encoders, read_table, read_time

if TYPE_CHECKING:
    import numpy as np

    from m3tr.memory.bank import Bank
    from m3tr.memory.manifest import Manifest
    from m3tr.memory.neighbours import Neighbours
    from m3tr.memory.segment import Segment
    from m3tr.model.forecaster import Forecaster
    from m3tr.model.queries import Queries

EXPLANATIONS = "reports/explain"
HARMLESS = re.compile(r"[^A-Za-z0-9_-]+")
LONGEST = 80  # of a file's name
NOBODY = (
    "It has no permitted neighbour: but for itself, its near-duplicates and its group, no outcome "
    "in the bank was known by its clock, which --known-by replaces."
)


def explain_video(
    workspace: Path,
    video: str,
    observed_at: str | None = None,
    out: Path | None = None,
    model: Path | None = None,
) -> str:
    """Write the page that explains a video's forecast; the table and the page's path as text.

    Parameters
    ----------
    observed_at : str, optional
        Another clock than the task's own, ISO 8601.
    out : Path, optional
        File, or an existing folder, for the page; without it `reports/explain/` of the workspace.
    model : Path, optional
        Folder of a saved forecaster; without it the workspace's.

    Raises
    ------
    InputError
        No such video, no model yet, a model of other encoders than the workspace's features, a
        clock before publication, nothing that may be shown, or an `out` that is no page.
    """
    from m3tr.evaluation.explained import lines, notes, write_page
    from m3tr.evaluation.explanation import explain

    page = out or workspace / EXPLANATIONS
    if out is None or out.is_dir():
        page = page / f"{file_name(video)}.html"
    if page.exists() and not page.is_file():
        raise InputError(f"--out {page} is no ordinary file: name one for the page, or a folder")
    videos, feedback, forecaster = _read(workspace, model)
    queries = _queries(workspace, model, forecaster, videos, feedback, [video], observed_at)
    found = forecaster.retrieve(queries)
    if not found.found.any():
        raise InputError(_nobody(forecaster.bank, queries))
    told = explain(forecaster, queries, found, videos, feedback, workspace / "data")[0]
    write_page(page, told)
    head = f"{video}  {told.title}".strip()
    own = [("forecast", told.forecast), ("outcome", told.outcome or [])]
    gains = [f"{name}: {_gains(told.leads, values)}" for name, values in own if values]
    return "\n".join(
        [head, *notes(told), *gains, "", lines(told.table, told.leads), "", f"page: {page}"]
    )


def search_bank(
    workspace: Path,
    ids: Sequence[str],
    *,
    k: int | None = None,
    eta: float | None = None,
    weights: Sequence[str] = (),
    known_by: str | None = None,
    model: Path | None = None,
) -> tuple[pl.DataFrame, list[float]]:
    """Neighbours of videos of the workspace, as `Bank.explain` tells them; leads of the horizons.

    Parameters
    ----------
    k, eta : optional
        Without them those of the model. There are never more neighbours than items.
    weights : sequence of str
        Such as `text=2`; modalities that are not named keep the bank's weight.
    known_by : str, optional
        Only items whose outcome was known by then; without it by the contract.
    model : Path, optional
        Folder of a saved forecaster; without it the workspace's.

    Returns
    -------
    table : DataFrame
        One row a neighbour, best first within each video; a video that has none has no row.
    leads : list of float
        Horizons, days after the clock: those of the lists in the column `increment`.

    Raises
    ------
    InputError
        No such video, no model yet, a model of other encoders than the workspace's features, or an
        option out of its range.
    """
    import numpy as np

    from m3tr.evaluation.explanation import leads

    videos, feedback, forecaster = _read(workspace, model)
    queries = _queries(workspace, model, forecaster, videos, feedback, ids, None)
    bank, causal = forecaster.bank, forecaster.task.split == "temporal"
    keys, ages = forecaster.keys(queries)
    clocks = queries.examples["observed_at"].to_numpy() if causal else None
    if known_by is not None:
        then = np.datetime64(read_time("--known-by", known_by).replace(tzinfo=None), "us")
        clocks = np.full(len(keys), then)
    found: Neighbours = bank.search(
        keys,
        min(forecaster.bank_settings.k if k is None else k, max(len(bank), 1)),
        eta,
        dict(map(_weight, weights)),
        known_by=clocks,
        exclude=forecaster.withheld(queries),
        age=ages,
    )
    return bank.explain(queries.examples["video_id"].to_list(), found), leads(forecaster.task)


def search_in_words(table: pl.DataFrame, leads: Sequence[float], ids: Sequence[str]) -> str:
    """What a search found, a table a video, for a terminal."""
    from m3tr.evaluation.explained import lines

    blocks = []
    for video in dict.fromkeys(ids):
        own = table.filter(pl.col("video") == video)
        blocks.append(f"{video}\n{lines(own, leads) if own.height else NOBODY}")
    return "\n\n".join(blocks)


def bank_info(workspace: Path, model: Path | None = None) -> dict[str, str]:
    """What a bank is and holds, line by line: that of a saved forecaster, or of the workspace.

    Parameters
    ----------
    model : Path, optional
        Folder of a saved forecaster, or of a bank alone; without it the workspace's model, or its
        bank where there is no model yet.

    Raises
    ------
    InputError
        No bank there, or one that is damaged or of another version.
    """
    from m3tr.memory.bank import Bank

    folder = _bank_folder(workspace, model)
    bank = Bank.open(folder)
    told = {"bank": str(folder), "items": str(len(bank))}
    for entry, segment in zip(bank.manifest.segments, bank.segments, strict=True):
        told[entry["name"]] = _segment(segment)
    told |= _made(bank.manifest) | {"remembered": ", ".join(bank.remembered)}
    for i, source in enumerate(bank.manifest.provenance, 1):
        told[f"provenance {i}"] = ", ".join(f"{name} {value}" for name, value in source.items())
    known = _known(bank)
    if known is not None:
        told["outcomes known"] = f"{known[0]} to {known[1]} UTC"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return told | {"size": f"{size / 1e6:.2f} MB"}


def _segment(segment: "Segment") -> str:
    """Its items, and the index that it has."""
    told = f"{len(segment)} items"
    if segment.index is None:
        return f"{told}, no index"
    f = segment.index.facts
    return (
        f"{told}, index {f['kind']} ({f['factory']}), recall {f['recall']:.3g}, "
        f"{f['bytes'] / 1e6:.2f} MB"
    )


def _made(m: "Manifest") -> dict[str, str]:
    """What the keys are, how they are weighed, and what made them."""

    def how(what: str) -> str:
        if not m.learned:
            return " (set)"
        if "of" not in m.learned:  # an earlier version did not say which of the two was learned
            return ""
        return " (learned)" if what in m.learned["of"] else " (set)"

    ages = [format_duration(timedelta(seconds=round(age * SECONDS_A_DAY))) for age in m.younger]
    told = {
        "dimensions": ", ".join(f"{part} {width}" for part, width in m.layout.items()),
        "ages": ", ".join([*ages, "the task's own"]),
        "eta": f"{m.eta:.3g}{how('eta')}",
        "weights": ", ".join(f"{part} {w:.3g}" for part, w in m.weights.items()) + how("weights"),
        "fingerprints": ", ".join(f"{n} {digest[:12]}" for n, digest in m.fingerprints.items()),
    }
    if m.learned.get("tried"):
        told["learned"] = f"from {len(m.learned['tried'])} choices, judged on validation"
    return told


def file_name(video: str) -> str:
    """A name for a file about a video, whatever characters its id has."""
    plain = HARMLESS.sub("_", video)
    if video and plain == video and len(plain) <= LONGEST:
        return plain
    # two ids that look alike now must not share a file
    digest = hashlib.blake2b(video.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{plain[: LONGEST - 9]}-{digest}"


def _read(workspace: Path, model: Path | None) -> tuple[pl.DataFrame, pl.DataFrame, "Forecaster"]:
    from m3tr.model.forecaster import Forecaster

    videos, feedback = (read_table(workspace, name) for name in ("videos", "feedback"))
    return videos, feedback, Forecaster.load(model or workspace / MODEL)


def _queries(
    workspace: Path,
    model: Path | None,
    forecaster: "Forecaster",
    videos: pl.DataFrame,
    feedback: pl.DataFrame,
    ids: Sequence[str],
    observed_at: str | None,
) -> "Queries":
    """Queries for videos of the workspace, with the features that its stage has made."""
    from m3tr.features.store import Features
    from m3tr.model.remember import require_encoders

    for video in ids:
        if not video.isascii() and video != video.encode(errors="replace").decode():
            raise InputError(_unknown(workspace, video, videos["video_id"].to_list()))
    wanted = pl.DataFrame({"video_id": list(dict.fromkeys(ids))}, schema={"video_id": pl.String})
    unknown = wanted.join(videos, on="video_id", how="anti", maintain_order="left")
    if unknown.height:
        raise InputError(_unknown(workspace, unknown["video_id"][0], videos["video_id"].to_list()))
    rows = wanted.join(videos, on="video_id", maintain_order="left")
    at = None if observed_at is None else read_time("--observed-at", observed_at)
    require_encoders(
        forecaster.bank.manifest,
        read_encoders(workspace),
        f"in {workspace / FEATURES} come",
        str(model or workspace / MODEL),
    )
    features = Features.load(workspace / FEATURES)
    own = feedback.join(wanted, on="video_id", how="semi")
    return forecaster.queries(rows, own, at, features.select(wanted["video_id"].to_list()))


def _unknown(workspace: Path, video: str, ids: list[str]) -> str:
    rejected = workspace / TABLES / "rejected.parquet"
    if rejected.exists():
        aside = pl.read_parquet(rejected, glob=False).filter(pl.col("video_id") == video)
        if aside.height:
            why = aside.row(0, named=True)
            return f"video {video} was set aside by the import ({why['reason']}): {why['remedy']}"
    close = get_close_matches(video, ids, n=3, cutoff=0.6)
    like = f"its ids are such as {ids[0]}" if ids else "it is empty"
    told = f"did you mean {', '.join(close)}?" if close else like
    return f"{workspace / TABLES / 'videos.parquet'} has no video {video!r}: {told}"


def _nobody(bank: "Bank", queries: "Queries") -> str:
    """Why a query has no neighbour."""
    asked = queries.examples.row(0, named=True)
    known = _known(bank)
    if known is None:
        return f"video {asked['video_id']} has no permitted neighbour: the bank has no items"
    first, _ = known
    return (
        f"video {asked['video_id']} has no permitted neighbour at "
        f"{asked['observed_at']:%Y-%m-%d %H:%M}: the first outcome in the bank was known at "
        f"{first}, and no video is shown itself, its near-duplicates or its group; ask for a later "
        "--observed-at"
    )


def _bank_folder(workspace: Path, model: Path | None) -> Path:
    if model is not None:
        return model / "bank" if (model / "bank").is_dir() else model
    own = workspace / MODEL / "bank"
    return own if own.is_dir() else workspace / BANK


def _weight(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"--weight {text}: write a modality and a number, as in text=2")
    return name.strip(), number


def _known(bank: "Bank") -> tuple[str, str] | None:
    """When the first and the last outcome in a bank became known; None where it has no items."""
    known = [segment.known_at for segment in bank.segments if len(segment)]
    if not known:
        return None
    return _minute(min(each[0] for each in known)), _minute(max(each[-1] for each in known))


def _minute(time: "np.datetime64") -> str:
    return f"{time.astype('M8[m]').item():%Y-%m-%d %H:%M}"


def _gains(leads: Sequence[float], log2: Sequence[float]) -> str:
    return ", ".join(
        f"+{2**value - 1:,.0f} in {lead:.3g} d" for lead, value in zip(leads, log2, strict=True)
    )
