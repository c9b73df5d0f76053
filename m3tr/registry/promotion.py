"""When a challenger becomes the champion: only by being better on the same test data."""

import math
from collections.abc import Callable
from typing import Any

from m3tr.errors import InputError
from m3tr.registry.registries import CHALLENGER, CHAMPION, load, version_of


def promote(
    name: str,
    score: Callable[[Any], float],
    *,
    version: str | None = None,
    metric: str = "nmse",
) -> dict[str, Any]:
    """Move the alias `champion` to a version if it beats the present champion.

    Both versions are loaded from the registry and scored by the same function on the same data, so
    figures of different test sets are never compared. Lower is better; a tie keeps the champion.

    Parameters
    ----------
    name : str
        Name of the registered model.
    score : callable
        Takes a loaded pyfunc model and returns its metric on the test split. May raise where the
        model does not fit the data, for example because it knows other horizons or kinds.
    version : str, optional
        The challenger; by default the version with the alias `challenger`.
    metric : str
        Name of the tag that keeps the figure on the version.

    Returns
    -------
    dict
        `version` (the challenger), `promoted`, `reason` (a sentence), `champion_version` (the
        champion it met, None without one), `champion_metric`, `challenger_metric`.

    Raises
    ------
    InputError
        There is no challenger, or it cannot be loaded. What `score` raises on the challenger is
        passed on.
    """
    import mlflow

    client = mlflow.MlflowClient()
    challenger = load(name, version or CHALLENGER)
    number = version or version_of(name, CHALLENGER)
    assert number is not None
    champion = version_of(name, CHAMPION)
    mine = float(score(challenger))
    theirs: float | None = None
    if champion is not None and champion != number:
        theirs, failure = _score_champion(name, champion, score)
    else:
        failure = None
    better, reason = _decide(number, champion, mine, theirs, failure, metric)
    client.set_model_version_tag(name, number, metric, f"{mine:.6g}")
    if champion != number:
        client.set_model_version_tag(name, number, "promotion", reason)
    if better:
        client.set_registered_model_alias(name, CHAMPION, number)
    return {
        "version": number,
        "promoted": better,
        "reason": reason,
        "champion_version": champion,
        "champion_metric": theirs,
        "challenger_metric": mine,
    }


def appoint(name: str, version: str) -> None:
    """Move the alias `champion` to a version by decision, without any comparison.

    Raises
    ------
    InputError
        There is no such version.
    """
    import mlflow

    if version_of(name, version) is None:
        raise InputError(f"The registry has no version {version!r} of the model {name!r}.")
    mlflow.MlflowClient().set_registered_model_alias(name, CHAMPION, version)


def _decide(
    number: str,
    champion: str | None,
    mine: float,
    theirs: float | None,
    failure: str | None,
    metric: str,
) -> tuple[bool, str]:
    if champion == number:
        return False, f"Version {number} is the champion already."
    if not math.isfinite(mine):
        return False, f"The {metric} of version {number} is {mine}."
    if champion is None:
        return True, f"There was no champion; {metric} {mine:.4g}."
    if theirs is None:
        why = f"The champion, version {champion}, cannot be compared: {failure}"
        return False, f"{why} Decide by hand: `m3tr promote {number}`."
    if mine < theirs:
        return True, f"{metric} {mine:.4g} beats {theirs:.4g} of version {champion}."
    return False, f"{metric} {mine:.4g} does not beat {theirs:.4g} of version {champion}."


def _score_champion(
    name: str, champion: str, score: Callable[[Any], float]
) -> tuple[float | None, str | None]:
    """The champion's metric, or why there is none; an old model may fail in any way."""
    try:
        value = float(score(load(name, champion)))
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return None, first
    if not math.isfinite(value):
        return None, f"its metric is {value}."
    return value, None
