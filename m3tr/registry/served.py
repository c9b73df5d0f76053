"""The served model: a request in, one row a video and horizon out (docs/mlflow.md).

MLflow keeps this file with every version (models from code) and runs it when a version is loaded;
it reads the type of `model_input` there, so pandas is imported outright.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel

from m3tr.errors import InputError
from m3tr.registry.payload import Request, tables

# name of the artifact that is the saved Forecaster's folder
ARTIFACT = "forecaster"


class Served(PythonModel):
    """A saved `Forecaster` behind MLflow's `predict(frame) -> frame`."""

    forecaster: Any = None

    def load_context(self, context: Any) -> None:
        """Load the forecaster from the version's own folder."""
        self.forecaster = self.load(Path(context.artifacts[ARTIFACT]))

    def load(self, folder: Path) -> Any:
        """The forecaster saved in `folder`; heavy imports happen here, not with this file."""
        from m3tr.model.forecaster import Forecaster

        return Forecaster.load(folder)

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Predict every video of a request.

        Parameters
        ----------
        model_input : pandas DataFrame
            N rows, one a video (`m3tr.registry.payload.tables`).

        Returns
        -------
        pandas DataFrame
            N times the number of horizons rows: `video_id`, `horizon` (from 0), `horizon_days`,
            `increment` and `total` (log2 units), `increment_lo`, `increment_hi`; in the order
            of the request, a missing bound as None.

        Raises
        ------
        MlflowException
            With one sentence about what is wrong in the request; status 400 over HTTP.
        """
        try:
            request = tables(model_input)
            predictions = self._predict(request)
        except InputError as error:
            raise _refused(str(error)) from None
        except pl.exceptions.PolarsError as error:
            first = str(error).strip().splitlines()[0]
            raise _refused(f"A column has another type than in training: {first}.") from None
        return _to_pandas(predictions)

    def _predict(self, request: Request) -> pl.DataFrame:
        groups: dict[datetime | None, list[str]] = {}
        for video, clock in zip(request.videos["video_id"], request.observed_at, strict=True):
            groups.setdefault(clock, []).append(video)
        parts = []
        for clock, ids in groups.items():
            features = request.features
            part = self.forecaster.predict(
                request.videos.filter(pl.col("video_id").is_in(ids)),
                request.feedback.filter(pl.col("video_id").is_in(ids)),
                observed_at=clock,
                features=None if features is None else features.select(ids),
            )
            parts.append(part)
        order = request.videos.select("video_id").with_row_index("row")
        return pl.concat(parts).join(order, on="video_id").sort("row", "horizon").drop("row")


def _refused(sentence: str) -> MlflowException:
    return MlflowException(sentence, error_code=INVALID_PARAMETER_VALUE)


def _to_pandas(predictions: pl.DataFrame) -> pd.DataFrame:
    # None and not NaN where a bound is missing: NaN is no JSON
    columns = {
        s.name: pd.Series(s.to_list(), dtype=object) if s.null_count() else s.to_list()
        for s in predictions
    }
    return pd.DataFrame(columns)


set_model(Served())
