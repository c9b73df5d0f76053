"""Everything M3TR learns: from the training split, with choices and calibration on validation."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl

from m3tr.data.covariates import ContentCovariates, FeedbackCovariates
from m3tr.data.ridge import BaseForecast, fold_groups, out_of_fold
from m3tr.data.settings import TaskSettings
from m3tr.errors import InputError
from m3tr.features.settings import FeatureSettings
from m3tr.hawkes.histories import Histories
from m3tr.hawkes.latent import LatentClasses
from m3tr.hawkes.process import MambaHawkes
from m3tr.memory.bank import Bank
from m3tr.memory.keys import KeyMaker
from m3tr.memory.settings import BankSettings
from m3tr.model.classes import ClassCovariates
from m3tr.model.forecaster import Forecaster
from m3tr.model.inputs import Tokens
from m3tr.model.queries import Queries
from m3tr.model.remember import as_digests
from m3tr.model.tokens import Tokeniser
from m3tr.threads import one_thread
from m3tr.training.classes import lower
from m3tr.training.heads import age_weights, fit_boosted, fit_forests
from m3tr.training.loop import train_network
from m3tr.training.settings import TrainSettings


def fit(
    train: Queries,
    validation: Queries,
    bank: Bank,
    key_maker: KeyMaker,
    mhp: MambaHawkes,
    kinds: list[str],
    task: TaskSettings,
    bank_settings: BankSettings,
    feature_settings: FeatureSettings,
    settings: TrainSettings,
    seed: int,
    held_out: Iterable[str] = (),
    also: Sequence[Queries] = (),
    latent: tuple[LatentClasses, Histories] | None = None,
) -> tuple[Forecaster, dict[str, Any]]:
    """Fit a forecaster (docs/model.md, section 5).

    Parameters
    ----------
    train, validation : Queries
        Their `examples` carry the labels.
    bank : Bank
        The training videos.
    key_maker : KeyMaker
        What made the bank's keys.
    mhp : MambaHawkes
        What made X_s.
    kinds : list of str
        Feedback kinds.
    settings : TrainSettings
    seed : int
    held_out : iterable of str
        Ids of the videos that no bank may hold while the forecaster is evaluated: those of the
        test split; those of validation always count as such.
    also : sequence of Queries
        Training videos at other ages, with labels (`ages.at_other_ages`).
    latent : (LatentClasses, Histories), optional
        Classes fitted on training videos (`classes.fit_classes`), and the histories of all of
        `train`, in their order, up to the last horizon.

    Returns
    -------
    forecaster : Forecaster
    figures : dict
        Errors on validation, best epochs, breaches of the information contract (all 0).

    Raises
    ------
    InputError
        Where the bank does not know the groups that the split keeps whole.
    """
    if task.group_by not in (None, *bank.items.columns):
        raise InputError(
            f"the memory bank is of an earlier version and does not know {task.group_by!r}, the "
            "groups of task.group_by: run the stage `bank`"
        )
    y, y_validation = labels(train), labels(validation)
    feedback = FeedbackCovariates(kinds).fit(train.observed, train.examples)
    content = ContentCovariates().fit(train.videos, train.features)
    forecaster = Forecaster(
        task, bank_settings, feature_settings, feedback, content, Tokeniser(), key_maker,
        BaseForecast(), mhp, bank,
    )  # fmt: skip
    apart = {*held_out, *validation.examples["video_id"]}
    forecaster.fitted = np.sort(as_digests(train.examples["video_id"]))
    forecaster.held_out = np.sort(as_digests(pl.Series([*apart], dtype=pl.String)))
    ages = fit_base(forecaster, [train, *also], latent, seed)
    X, _, held_out_base = ages[0]
    split = np.cumsum([len(feedback.names), len(content.names)])
    by_feedback, metadata, x_s = np.split(X, split, axis=1)
    temporal = np.hstack([by_feedback, x_s, held_out_base])
    forecaster.tokeniser.fit(train.features, metadata, temporal)
    tokens = forecaster.tokeniser.tokens(train.features, metadata, temporal)
    forecaster.bank = remembering(bank, train, tokens, y - held_out_base)

    found, found_validation = forecaster.retrieve(train), forecaster.retrieve(validation)
    unscaled = forecaster.inputs(train, found, X, held_out_base)
    forecaster.tokeniser.fit_summary(unscaled.summary)
    inputs = forecaster.inputs(train, found, X, held_out_base)
    inputs_validation = forecaster.inputs(validation, found_validation)
    history: dict[str, Any] = {}
    if settings.members:
        with one_thread():
            network, history = train_network(
                inputs, y, inputs_validation, y_validation, settings, seed
            )
        # one that never beat the mean says the mean: a blend of others is better without
        if history["best_epoch"] or not (settings.boosted or settings.trees):
            forecaster.network = network
    if settings.boosted:
        forecaster.boosted = fit_boosted(
            inputs, ages, inputs_validation, y_validation, split[1], settings, seed
        )
    if settings.trees:
        forecaster.forests = fit_forests(inputs, y, settings.trees, seed)
    base = inputs_validation.base
    with one_thread():
        parts = forecaster.corrections(inputs_validation)
        require_finite([*parts.values()])
        forecaster.blend.fit([*parts.values()], y_validation - base)
        forecast = forecaster.forecast_inputs(inputs_validation)
    forecaster.intervals.fit(
        (inputs.everything, inputs.base, y - inputs.base),
        (inputs_validation.everything, forecast, y_validation - forecast),
        settings.coverage,
    )
    lo, hi = forecaster.intervals.interval(inputs_validation.everything, forecast)
    figures = {
        "validation_mse": float(np.mean((forecast - y_validation) ** 2)),
        "validation_mse_base": float(np.mean((base - y_validation) ** 2)),
        "blend": dict(zip(parts, forecaster.blend.arrays["weights"].tolist(), strict=True)),
        "best_epoch": history.get("best_epoch"),
        "interval_width": (hi - lo).mean(0).tolist(),
        "retrieved": float(found.found.sum(1).mean()),
        "classes": len(forecaster.classes.process),
        "contract": forecaster.breaches(train, found, apart),
    }
    return forecaster, figures


def fit_base(
    forecaster: Forecaster,
    rows: Sequence[Queries],
    latent: tuple[LatentClasses, Histories] | None,
    seed: int,
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Fit the forecaster's base forecast, and its latent classes where they lower its error.

    `rows` are the training videos, first at the task's own age, then at others.

    Returns
    -------
    list of (X, y, base)
        By age: covariates (N, D), labels (N, H) and out-of-fold base forecasts (N, H).
    """
    column, at_own_age = forecaster.task.kept_whole, slice(len(rows[0].x_s))
    if latent is not None and len(latent[0]):
        forecaster.classes, said = fit_class_covariates(forecaster, rows, latent, seed)
        X = [forecaster.covariates(part, own) for part, own in zip(rows, said, strict=True)]
    else:
        X = [forecaster.covariates(part) for part in rows]
    y = [labels(part) for part in rows]
    y_all, weight = np.vstack(y), age_weights(y)
    groups = fold_groups(pl.concat([part.videos for part in rows]), column)
    base = out_of_fold(np.vstack(X), y_all, groups, seed, weight)
    if told := forecaster.classes.width(y_all.shape[1]):
        # by the training split alone: classes that tell nothing new are only noise
        less = [x[:, :-told] for x in X]
        without = out_of_fold(np.vstack(less), y_all, groups, seed, weight)
        error, other = ((y_all - each)[at_own_age, -1] for each in (base, without))
        if not lower(error, other, groups[at_own_age]):
            forecaster.classes, X, base = ClassCovariates(), less, without
    forecaster.base.fit(np.vstack(X), y_all, weight)
    parts = np.split(base, np.cumsum([len(part) for part in y])[:-1])
    return list(zip(X, y, parts, strict=True))


def fit_class_covariates(
    forecaster: Forecaster,
    rows: Sequence[Queries],
    latent: tuple[LatentClasses, Histories],
    seed: int,
) -> tuple[ClassCovariates, list[np.ndarray]]:
    """Covariates of the latent classes, and what content says of them (N, 1 + C), out of fold,
    by age of `rows`."""
    process, whole = latent
    train, classes = rows[0], ClassCovariates(process)
    content = forecaster.content.transform(train.videos, train.features)
    groups = fold_groups(train.videos, forecaster.task.kept_whole)
    said = classes.fit(whole, content, groups, seed)
    place = {video: i for i, video in enumerate(train.examples["video_id"])}
    return classes, [said[[place[v] for v in part.examples["video_id"]]] for part in rows]


def remembering(bank: Bank, train: Queries, tokens: Tokens, residual: np.ndarray) -> Bank:
    """The bank with tokens and out-of-fold residuals (N, H) of its items, the training videos."""
    place = {video: i for i, video in enumerate(train.examples["video_id"])}
    order = np.array([place[video] for video in bank.items["video_id"]])
    remembered = {"residual": residual[order]}
    for m in tokens.x:
        remembered |= {f"token.{m}": tokens.x[m][order], f"mask.{m}": tokens.mask[m][order]}
    return bank.with_values(remembered)


def require_finite(parts: Sequence[np.ndarray]) -> None:
    """InputError where a head's corrections (N, H) are not finite."""
    if not all(np.isfinite(part).all() for part in parts):
        raise InputError(
            "params.yaml: forecasts of the validation split are not finite: lower "
            "train.learning_rate"
        )


def labels(queries: Queries) -> np.ndarray:
    """Increment labels (N, H), log2 units."""
    return np.array(queries.examples["increment"].to_list(), float)
