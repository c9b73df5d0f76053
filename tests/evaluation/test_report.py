"""The page is self-contained, escapes what it is given and is well formed."""

import re
from html.parser import HTMLParser

import pytest

from m3tr.evaluation.markdown import Header
from m3tr.evaluation.report import Neighbour, Neighbourhood, render, write_report
from m3tr.evaluation.table import results

HOSTILE = "<script>alert('x')</script><img src=http://evil.example/x> $\\frac{"
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Balance(HTMLParser):
    """Collects tags, and complains where they do not close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(predictions, examples):
    scores = results(predictions, examples, bootstrap=50)
    neighbour = Neighbour("b1", 0.9, 0.2, 1.0, [0.5, 1, 2], [1, 5, 9], title=HOSTILE)
    hoods = [Neighbourhood("v1", HOSTILE, [0.5, 1, 2], [1, 4, 8], 1.0, [neighbour] * 6)] * 10
    return render(scores, predictions, Header(HOSTILE, "view"), hoods, {"made by": HOSTILE})


def test_nothing_is_loaded_from_elsewhere(page):
    parser = Balance()
    parser.feed(page)
    for tag, attributes in parser.seen:
        assert tag not in {"script", "link", "iframe", "object", "embed", "img", "base"}
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert attributes.get(name, "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?([^)]*)", page))


def test_tags_close(page):
    parser = Balance()
    parser.feed(page)
    assert parser.open == []


def test_hostile_text_is_shown_and_not_run(page):
    assert "<script>" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page


def test_charts_follow_the_theme_and_are_drawn_for_both_labels(page):
    assert page.count("<svg") == 2 * 2 + 8  # scatter and horizons a label; eight neighbourhoods
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
