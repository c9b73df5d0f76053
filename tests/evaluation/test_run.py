"""What is scored is what a user of the forecaster gets."""

import numpy as np
import polars as pl

from m3tr.evaluation.run import forecasts, split_data


def test_forecasts_that_are_scored_are_those_of_predict(tiny_forecaster):
    t = tiny_forecaster
    test = split_data(t.forecaster, t.videos, t.feedback, t.examples, t.features, "test")
    own = t.features.select(test.examples["video_id"].to_list())
    scored, breaches = forecasts(t.forecaster, test, t.feedback, own, t.examples)
    given = t.predict(videos=test.videos)
    assert not any(breaches.values())
    by = ["video_id", "horizon"]
    for label, columns in {
        "increment": {"y_hat": "increment", "lo": "increment_lo", "hi": "increment_hi"},
        "total": {"y_hat": "total"},
    }.items():
        both = scored.filter(pl.col("label") == label).join(given, on=by, how="inner")
        assert both.height == given.height > 0
        for mine, its in columns.items():
            its = f"{its}_right" if f"{its}_right" in both.columns else its
            assert np.allclose(both[mine], both[its], atol=1e-6), mine
