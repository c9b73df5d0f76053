"""From matured videos to items of the memory bank: identity, keys and what is remembered."""

import warnings
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from m3tr.data.duplicates import IDENTITY
from m3tr.data.windows import growth_curves, labelled
from m3tr.errors import InputError
from m3tr.features.extract import extract
from m3tr.features.fingerprints import fingerprints
from m3tr.features.precomputed import COLUMNS
from m3tr.features.store import Features
from m3tr.memory.bank import Bank
from m3tr.memory.groups import names_of
from m3tr.memory.identity import digests
from m3tr.memory.keys import Keys
from m3tr.memory.manifest import Manifest
from m3tr.memory.numbers import NUMBERS, Numbers
from m3tr.model.queries import when_younger

if TYPE_CHECKING:
    from m3tr.hawkes.process import MambaHawkes
    from m3tr.model.forecaster import Forecaster

KEPT = ("video_id", "known_at", "published_at", "observed_at")


def as_digests(ids: pl.Series) -> np.ndarray:
    """A number for each video's id, shape (N,), uint64: that by which a bank knows it."""
    return digests(ids, 0)


def items_of(
    examples: pl.DataFrame, videos: pl.DataFrame, group_by: str | None = None
) -> pl.DataFrame:
    """Identity of the examples' videos: ids, times, what tells near-duplicates, and their group."""
    names = [c for c in ("video_id", *IDENTITY) if c in videos.columns]
    own = videos.select(names)
    if group_by in videos.columns and group_by not in (*KEPT, *IDENTITY):
        own = own.with_columns(names_of(videos[group_by]))
    return examples.select(KEPT).join(own, on="video_id", how="left", maintain_order="left")


def outcomes(examples: pl.DataFrame, feedback: pl.DataFrame, target: str) -> dict[str, np.ndarray]:
    """How the examples turned out: `increment` (N, H) and `curve` (N, points), log2 units."""
    return {
        "increment": np.array(examples["increment"].to_list(), float),
        "curve": growth_curves(feedback, examples, target),
    }


def content_of_keys(
    videos: pl.DataFrame, features: Features, numbers: Numbers | None
) -> dict[str, np.ndarray]:
    """What content keys are made of.

    Parameters
    ----------
    videos : DataFrame
        N rows of the videos table.
    features : Features
        Of these videos, in their order.
    numbers : Numbers, optional
        What makes the modality `numbers` of a bank that has it.

    Returns
    -------
    dict of str to ndarray, shapes (N, D_m)
        By modality; zeros where a video lacks it.
    """
    told = {} if numbers is None else {NUMBERS: numbers.transform(videos)}
    return features.embeddings() | told


def younger_representations(
    mhp: "MambaHawkes", feedback: pl.DataFrame, examples: pl.DataFrame, ages: list[float]
) -> Mapping[float, np.ndarray]:
    """X_s (N, D_s) of the examples at each of some younger ages, days."""
    n = examples.height
    return {age: when_younger(mhp, feedback, examples, np.full(n, age)) for age in ages}


class Items(NamedTuple):
    """What `Bank.append` takes."""

    items: pl.DataFrame
    keys: Keys
    values: Mapping[str, np.ndarray]


def matured(
    forecaster: "Forecaster",
    videos: pl.DataFrame,
    feedback: pl.DataFrame,
    features: Features | None = None,
    *,
    data_dir: Path | None = None,
    until: datetime | None = None,
    held_out: bool = False,
) -> Items:
    """New items for the bank of a trained forecaster: `forecaster.bank.append(*matured(...))`.

    Keys and tokens are made by the forecaster's own process and encoders. These videos were not in
    its fit, so what is remembered as their residual is their increment less the base forecast.

    Parameters
    ----------
    videos, feedback : DataFrame
        Clean tables; videos whose outcome is not known, or that the bank holds, are left out.
    features : Features, optional
        Of these videos; without them they are extracted (`content_of`).
    data_dir : Path, optional
        Folder of the media paths; without it the working directory.
    until : datetime, optional
        Up to when the feedback is complete; without it `ends`.
    held_out : bool
        Let videos of the forecaster's validation and test splits in; it can then no longer be
        evaluated on them.

    Raises
    ------
    InputError
        Where features come from another encoder than the bank's, the target never occurs, or a
        video that has matured is one of the validation or test split.
    """
    task, bank = forecaster.task, forecaster.bank
    if task.target not in feedback["kind"]:
        raise InputError(
            f"no feedback has the target kind {task.target!r}, so no outcome is known: add it"
        )
    examples, _ = labelled(videos, feedback, task, until or ends(feedback))
    examples = examples.filter(~bank.identities.contains(examples))
    if not held_out:
        refuse_held_out(examples.filter(forecaster.holds_out(examples)))
    own = examples.select("video_id").join(videos, on="video_id", maintain_order="left")
    if examples.is_empty():
        return _nothing(bank, items_of(examples, own, task.group_by))
    if features is None:
        features, unread = content_of(forecaster, own, data_dir or Path())
        tell_unread(unread)
    queries = forecaster.queries(own, feedback, features=features)
    younger = younger_representations(
        forecaster.mhp, feedback, examples, list(bank.manifest.younger)
    )
    keys = forecaster.key_maker.keys(queries.x_s, forecaster.compared(queries), younger)
    values = {"x_s": queries.x_s} | outcomes(examples, feedback, task.target)
    x = forecaster.covariates(queries)
    base = forecaster.base.predict(x)
    values["residual"] = values["increment"] - base
    tokens = forecaster.tokens(queries, x, base)
    for m in tokens.x:
        values |= {f"token.{m}": tokens.x[m], f"mask.{m}": tokens.mask[m]}
    return Items(items_of(examples, own, task.group_by), keys, _as_remembered(forecaster, values))


def ends(feedback: pl.DataFrame) -> datetime:
    """Up to when feedback counts as complete: its last row.

    `task.observed_until` is not asked: it is about the data of the training, not about these.
    """
    return feedback["time"].max()  # type: ignore[return-value]


def refuse_held_out(forbidden: pl.DataFrame, where: str = "") -> None:
    """InputError if there is any; `where` says which table they are of."""
    if forbidden.height:
        raise InputError(
            f"{where}{forbidden.height} videos, the first {forbidden['video_id'][0]}, are in the "
            "validation or test split that the model was trained with, which its evaluation may "
            "not find in a bank: leave them out, or append them (--held-out, or held_out=True) to "
            "a model that is not evaluated"
        )


def content_of(
    forecaster: "Forecaster", videos: pl.DataFrame, data_dir: Path, *, trusted: bool = False
) -> tuple[Features, pl.DataFrame]:
    """Content features of new videos, by the encoders that the bank was made with.

    Parameters
    ----------
    videos : DataFrame
        N rows of the videos table.
    data_dir : Path
        Folder of the media paths.
    trusted : bool
        Whether embeddings that the table brings count as made by the bank's encoders.

    Returns
    -------
    features : Features
        Of these videos, in their order: by modality tokens (N, T, D) and which there are (N, T).
    broken : DataFrame
        Media and texts that could not be read, one row each.

    Raises
    ------
    InputError
        Where the encoders are others by now.
    """
    here = forecaster.feature_settings.model_copy(update={"engine": "local"})
    given = {m for m, column in COLUMNS.items() if column in videos.columns}
    given = {m for m in given if videos[COLUMNS[m]].is_not_null().any()}
    own = {} if trusted else dict.fromkeys(given, "precomputed")
    own |= fingerprints(here, [m for m in COLUMNS if m not in given])
    require_encoders(forecaster.bank.manifest, own, "would come")
    features, broken, _ = extract(videos, data_dir, here)
    return features, broken


def tell_unread(broken: pl.DataFrame) -> None:
    """Warn of media and texts that could not be read, rows of `content_of`."""
    if broken.height:
        first = broken.row(0, named=True)
        warnings.warn(
            f"{broken.height} media or texts could not be read and count as missing, the first of "
            f"video {first['video_id']}: {first['reason']}: {first['remedy']}",
            stacklevel=3,
        )


def require_encoders(
    manifest: Manifest, own: Mapping[str, str], come: str, of: str = "the bank"
) -> None:
    """InputError where a modality of a bank was made by another encoder than features were.

    Parameters
    ----------
    own : mapping of str to str
        Fingerprint of the encoder of each modality of the features.
    come, of : str
        Where the features `come` from, and the name `of` the bank, for the sentence.
    """
    for m in manifest.modalities:
        here, there = own.get(m), manifest.fingerprints.get(m)
        if here and there and here != there:
            raise InputError(
                f"the {m} features {come} from another encoder ({here[:12]}) than those of {of} "
                f"({there[:12]}), so they cannot be compared: use the encoder and version of m3tr "
                "that the model was trained with, or train it anew"
            )


def _nothing(bank: Bank, items: pl.DataFrame) -> Items:
    """No items, in the form of the bank's."""
    width = {part: np.zeros((0, n), np.float32) for part, n in bank.manifest.layout.items()}
    trajectory = width.pop("trajectory")
    forms = bank.segments[0].table.shapes
    values = {name: np.zeros((0, *shape), dtype) for name, (dtype, shape) in forms.items()}
    return Items(
        items, Keys(trajectory, width, dict.fromkeys(bank.manifest.younger, trajectory)), values
    )


def _as_remembered(
    forecaster: "Forecaster", values: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Values in the types and lengths that the bank keeps; missing tokens are masked."""
    forms = forecaster.bank.segments[0].table.shapes
    out = {}
    for name, (dtype, shape) in forms.items():
        array = values[name]
        if name.startswith(("token.", "mask.")) and array.shape[1:] != shape:
            padded = np.zeros((len(array), *shape), dtype)
            padded[:, : array.shape[1]] = array[:, : shape[0]]
            array = padded
        out[name] = array.astype(dtype)
    return out
