"""Both models side by side on perturbed videos: figures, and a small run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SECTIONS = ["cold start", "first minutes", "missing at test", "fakes at test"]


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks.contenders import compare

    return compare


def test_figures_are_those_of_the_definition(compare) -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=400)
    clean = rng.exponential(size=(400, 2))
    errors = clean * [1.5, 1.2]
    figures = compare(errors, y, clean, 200, 1)
    assert figures["m3tr"] == pytest.approx(errors[:, 0].mean() / y.var())
    assert figures["lightgbm"] == pytest.approx(errors[:, 1].mean() / y.var())
    assert figures["ratio"] == pytest.approx(figures["m3tr"] / figures["lightgbm"])
    assert figures["rise_m3tr"] == pytest.approx(0.5)
    assert figures["rise_lightgbm"] == pytest.approx(0.2)
    assert figures["ratio_lo"] < figures["ratio"] < figures["ratio_hi"]


def test_the_interval_of_the_ratio_is_paired(compare) -> None:
    rng = np.random.default_rng(2)
    errors = rng.exponential(size=(400, 1)) ** 3 * [0.9, 1.0]
    figures = compare(errors, rng.normal(size=400), None, 200, 1)
    # one is always nine tenths of the other, whichever videos are drawn
    assert (figures["ratio_lo"], figures["ratio_hi"]) == pytest.approx((0.9, 0.9))
    assert "rise_m3tr" not in figures


def test_the_interval_covers_the_true_ratio(compare) -> None:
    rng = np.random.default_rng(3)
    covered = []
    for seed in range(60):
        errors = rng.exponential(size=(150, 1)) + rng.exponential(size=(150, 2))
        figures = compare(errors, rng.normal(size=150), None, 200, seed)
        covered.append(figures["ratio_lo"] <= 1 <= figures["ratio_hi"])
    assert np.mean(covered) > 0.85  # of 0.95, less three standard deviations of sixty draws


@pytest.mark.slow
def test_a_quick_run_ends_with_all_sections_as_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "robustness", "--quick"],
        cwd=REPOSITORY,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])["sample"]
    assert list(figures) == SECTIONS
    for rows in figures.values():
        for row in rows.values():
            assert row["ratio_lo"] <= row["ratio"] <= row["ratio_hi"]
    for section, whole in (("missing at test", "nothing"), ("fakes at test", "none")):
        rows = figures[section]
        assert rows[whole]["rise_m3tr"] == rows[whole]["rise_lightgbm"] == 0
        others = [row for name, row in rows.items() if name != whole]
        # every perturbation reaches both models
        assert all(row["rise_m3tr"] and row["rise_lightgbm"] for row in others)
        assert rows[whole]["m3tr"] == figures["fakes at test"]["none"]["m3tr"]
    # what is known of a video counts: less of it, larger errors
    known = figures["missing at test"]
    assert known["nothing"]["m3tr"] < known["all content"]["m3tr"]
    assert known["nothing"]["m3tr"] < figures["cold start"]["at publication"]["m3tr"]
