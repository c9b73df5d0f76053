"""The suites: clean tables pass, each fault is told, the pages are there."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from m3tr.data.quality import validate
from m3tr.data.settings import QualitySettings, TaskSettings
from m3tr.data.suites import CRITICAL, Suite, all_but, critical, run
from m3tr.data.windows import make_examples

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def tables():
    ids = [f"v{i:02d}" for i in range(40)]
    videos = pl.DataFrame(
        {
            "video_id": ids,
            "published_at": [START + i * 24 * HOUR for i in range(40)],
            "title": [f"film {i}" for i in range(40)],
            "media": [f"media/{i}.mp4" for i in ids],
        }
    )
    rows = [
        (v, START + (i * 24 + s) * HOUR, "view", 1 + i)
        for i, v in enumerate(ids)
        for s in range(0, 48, 3)
    ]
    feedback = pl.DataFrame(rows, schema=["video_id", "time", "kind", "count"], orient="row")
    cast = pl.col(pl.Datetime).cast(pl.Datetime("us", "UTC"))
    videos, feedback = videos.with_columns(cast), feedback.with_columns(cast)
    task = TaskSettings(observe={"age": "6h"}, horizons=["12h", "1d"])
    return videos, feedback, make_examples(videos, feedback, task)[0]


def test_clean_tables_pass_and_the_pages_are_written(tables, tmp_path):
    docs = tmp_path / "reports" / "data_docs"
    (docs / "validations").mkdir(parents=True)
    (docs / "validations" / "old.html").write_text("an earlier run")
    told = validate(*tables, QualitySettings(min_examples=30), docs)
    assert told["failed"] == [] and told["warnings"] == []
    assert told["examples"]["splits"] == {"train": 28, "validation": 4, "test": 8}
    assert told["feedback"]["kinds"]["view"]["rows"] == 640
    json.dumps(told)
    assert (docs / "index.html").is_file()
    pages = [p.relative_to(docs).parts[1] for p in docs.glob("validations/**/*.html")]
    assert sorted(pages) == ["examples", "feedback", "videos"]


def test_every_fault_is_told(tables, tmp_path):
    videos, feedback, examples = tables
    told = validate(
        pl.concat([videos, videos.head(1)]).with_columns(title=pl.lit(" ")),
        pl.concat(
            [
                feedback,
                feedback.head(1).with_columns(video_id=pl.lit("z"), count=pl.lit(0, pl.Int64)),
            ]
        ),
        examples.filter(pl.col("split") != "test").with_columns(increment=pl.lit([0.0, 0.0])),
        QualitySettings(min_examples=39),
        tmp_path / "docs",
        media_root=tmp_path,
    )
    for sentence in [
        "videos: video_id values must be unique; found: ",
        "videos: media_found values must belong to this set: True, at least ",
        "feedback: known_video values must belong to this set: True; found: ",
        "feedback: smallest_count values must be greater than or equal to 1; found: ",
        "examples: must have greater than or equal to 39 rows; found: 32",
        "examples: split distinct values must match this set: "
        "train validation test; found: no test",
        "examples: increment_last standard deviation must be greater than 0; found: 0",
    ]:
        assert any(t.startswith(sentence) for t in told["failed"]), (sentence, told["failed"])
    (warning,) = told["warnings"]
    assert warning.startswith("videos: title values must not be null, at least 50 % of the time")
    assert told["videos"]["missing_media"] == 41
    assert len(told["failed"]) == 7


def test_what_does_not_hold_is_told_in_words(tmp_path):
    import great_expectations.expectations as gxe

    frame = pl.DataFrame(
        {
            "id": ["p", "q", "r", "s"],
            "part": ["train", "validation", "train", "other"],
            "there": [None, True, False, True],
            "a": [1.0, 2.0, 3.0, 4.0],
            "b": [2.0, 1.0, 1.0, 1.0],
        }
    )
    of_set = gxe.ExpectColumnValuesToBeInSet
    expectations = [
        gxe.ExpectColumnDistinctValuesToEqualSet(
            column="part", value_set=["train", "test", "validation"], **CRITICAL
        ),
        of_set(column="there", value_set=[True], mostly=all_but(0.0), **CRITICAL),
        of_set(column="there", value_set=[False], mostly=all_but(0.05), **CRITICAL),
        gxe.ExpectColumnValuesToNotBeNull(column="there", mostly=all_but(0.1), **CRITICAL),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A="a", column_B="b", **CRITICAL),
        gxe.ExpectColumnMaxToBeBetween(column="absent", min_value=0, **critical("have it")),
        gxe.ExpectTableRowCountToBeBetween(min_value=9, **CRITICAL),
    ]
    deviation = gxe.ExpectColumnStdevToBeBetween(
        column="a", min_value=0, strict_min=True, **CRITICAL
    )
    suites = {
        "many": Suite(frame, expectations, "id"),
        "one": Suite(frame.head(1), [deviation], "id"),
    }
    failed = [text for outcome in run(suites, tmp_path).values() for text in outcome.failed]
    assert sorted(failed) == sorted(
        [
            "many: part distinct values must match this set: train test validation; "
            "found: no test; also other",
            "many: there values must belong to this set: True; "
            "found: 33.33 % break it, the first at id r (False)",
            "many: there values must belong to this set: False, at least 95 % of the time; "
            "found: 66.67 % break it, the first at id q (True)",
            "many: there values must not be null, at least 90 % of the time; "
            "found: 25.00 % break it, the first at id p (None)",
            "many: values in a must always be greater than those in b; "
            "found: 25.00 % break it, the first at id p",
            "many: absent maximum value must be greater than or equal to 0; "
            'found: Error: The column "absent" in BatchData does not exist.; remedy: have it',
            "many: must have greater than or equal to 9 rows; found: 4",
            "one: a standard deviation must be greater than 0; found: nothing",
        ]
    )


def test_the_room_imports_nothing_heavy():
    code = (
        "import sys, m3tr.data.quality, m3tr.data.importing, m3tr.data.windows;"
        "print([m for m in ('great_expectations', 'pandas', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
