"""The pages: links lead somewhere, and the table of settings is that of the code."""

import re
from pathlib import Path

import pytest

from m3tr.data.settings import MinCoverage, QualitySettings
from m3tr.hawkes.settings import HawkesSettings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return re.sub(r"^    .*$", "", text, flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The names that headings get, as on the usual hosts."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings)
    return set(plain)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_to_a_file_and_a_heading(page):
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


def test_every_setting_of_the_process_has_a_row():
    rows = [r for r in (ROOT / "docs/own-data.md").read_text().splitlines() if "`hawkes." in r]
    named = set()
    for row in rows:
        named |= set(re.findall(r"`(?:hawkes)?\.(\w+)`", row.split("|")[1]))
    assert named == set(HawkesSettings.model_fields)


def test_every_threshold_of_quality_has_a_row_with_its_default():
    rows = [r for r in (ROOT / "docs/own-data.md").read_text().splitlines() if "`quality." in r]
    told = {}
    for row in rows:
        key, default = row.split("|")[1:3]
        told[re.findall(r"`quality\.(\w+)", key)[0]] = float(default)
        if "min_coverage" in key:
            assert set(re.findall(r"\.(\w+)`", key)) == set(MinCoverage.model_fields)
    plain = {k: f.default for k, f in QualitySettings.model_fields.items() if k != "min_coverage"}
    assert told == plain | {"min_coverage": 0}
    assert not any(QualitySettings().min_coverage.model_dump().values())
