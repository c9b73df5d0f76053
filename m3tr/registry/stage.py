"""What the register stage does: log, register, and promote on the same test data."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from m3tr.registry.payload import payload
from m3tr.registry.promotion import promote
from m3tr.registry.registries import register, save
from m3tr.registry.settings import RegistrySettings

if TYPE_CHECKING:
    from m3tr.features.store import Features


def register_model(
    folder: Path,
    videos: pl.DataFrame,
    feedback: pl.DataFrame,
    test: pl.DataFrame,
    features: "Features",
    settings: RegistrySettings,
    metrics: Mapping[str, float],
    tags: Mapping[str, Any],
) -> dict[str, Any]:
    """Register the forecaster in `folder` and promote it if it beats the champion.

    Parameters
    ----------
    folder : Path
        A saved forecaster.
    videos, feedback : DataFrame
        The clean tables.
    test : DataFrame
        Examples of the test split; both versions are scored on them.
    features : Features
        Content features of `test`.
    settings : RegistrySettings
    metrics, tags : mapping
        Kept on the version.

    Returns
    -------
    dict
        What `promote` tells, and the model's name and address.
    """
    request = payload(videos, feedback, test, features=features)
    uri = save(folder, request.head(2))
    version = register(uri, name=settings.model, metrics=metrics, tags=tags)
    truth = np.array(test["increment"].to_list())[:, -1]

    def score(model: Any) -> float:
        forecast = pl.from_pandas(model.predict(request))
        last = forecast.filter(pl.col("horizon") == pl.col("horizon").max())
        by_video = test.select("video_id").join(
            last, on="video_id", how="left", maintain_order="left"
        )
        error = by_video["increment"].to_numpy() - truth
        return float(np.mean(error**2) / np.var(truth))

    outcome = promote(settings.model, score, version=version)
    which = "champion" if outcome["promoted"] else "challenger"
    return outcome | {"model": settings.model, "address": f"models:/{settings.model}@{which}"}
