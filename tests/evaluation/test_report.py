"""The page is self-contained, escapes what it is given and is well formed."""

import re

import pytest

from m3tr.evaluation.markdown import Header
from m3tr.evaluation.report import render, write_report
from m3tr.evaluation.table import results


@pytest.fixture(scope="module")
def page(predictions, examples, explained, hostile):
    scores = results(predictions, examples, bootstrap=50)
    shown = [explained(hostile, hostile)] * 10
    return render(scores, predictions, Header(hostile, "view"), shown, {"made by": hostile})


def test_the_page_is_whole_and_stands_alone(page, stands_alone):
    stands_alone(page)


def test_hostile_text_is_shown_and_not_run(page):
    assert "<script>" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page


def test_charts_follow_the_theme_and_are_drawn_for_both_labels(page):
    assert (
        page.count("<svg") == 2 * 3 + 8
    )  # scatter, horizons and coverage a label; eight explanations
    assert "var(--accent)" in page
    assert "#0102" not in page
    ids = re.findall(r'<clipPath id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_same_input_gives_the_same_page(predictions, examples, tmp_path):
    scores = results(predictions, examples, bootstrap=20)
    header = Header("toy", "view", split="random")
    for name in ("a", "b"):
        write_report(tmp_path / "sub" / f"{name}.html", scores, predictions, header)
    first, second = ((tmp_path / "sub" / f"{n}.html").read_text() for n in "ab")
    assert first == second
    assert "Random split." in first
    assert len(first) < 2 * 2**20
