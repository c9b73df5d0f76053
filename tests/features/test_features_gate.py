"""What the gate lets through: features that break each expectation, and some that do not."""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from partfiles import WIDTHS, draw, names, write

from m3tr.data.settings import QualitySettings
from m3tr.features import drift
from m3tr.features.gate import judge

ROOT = Path(__file__).resolve().parents[2]
N = 60
ENCODERS = {m: f"{m}01" for m in WIDTHS}
SETTINGS = QualitySettings(
    min_coverage={"visual": 0.5, "audio": 0.5, "text": 0.5}, max_norm=100, max_constant=0.4
)

Features = dict[str, list]
Change = Callable[[Features], Any]


def told(folder: Path, drawn: Features, **arguments: Any) -> dict[str, Any]:
    ids = arguments.pop("ids", None)
    settings = arguments.pop("settings", SETTINGS)
    paths = write(folder / "features", drawn, ids=ids, parts=2)
    figures, _ = judge(paths, names(N), settings, folder / "docs", **arguments)
    json.dumps(figures)
    assert figures["failed_critical"] == len(figures["failed"])
    return figures


def each(drawn: Features, m: str) -> list[np.ndarray]:
    return [row for row in drawn[m] if row is not None]


def lose(m: str, share: float) -> Change:
    def change(drawn: Features) -> None:
        for i in range(round(share * N)):
            drawn[m][i] = None

    return change


def fill(m: str, dimensions: int, value: float = 0.5) -> Change:
    def change(drawn: Features) -> None:
        for row in each(drawn, m):
            row[:, :dimensions] = value

    return change


def put(m: str, value: float) -> Change:
    def change(drawn: Features) -> None:
        each(drawn, m)[0][0, 0] = value

    return change


def copy_first(m: str, share: float) -> Change:
    def change(drawn: Features) -> None:
        for i in range(round(share * N)):
            drawn[m][i] = np.ones((1, WIDTHS[m]), np.float32)

    return change


# what breaks, what is still tolerated, the suite and the words that tell it, whether it stops
BREAKS: dict[str, tuple[Change, Change | None, str, str, str]] = {
    "coverage": (lose("audio", 0.7), lose("audio", 0.3), "features", "audio_coverage", "failed"),
    "NaN": (put("visual", np.nan), put("visual", 0), "features", "visual_non_finite", "failed"),
    "infinity": (put("text", np.inf), None, "features", "text_non_finite", "failed"),
    "length": (put("audio", 101), put("audio", 90), "features", "audio_norm_max", "failed"),
    "zeros": (fill("text", 5, 0.0), fill("text", 2, 0.0), "features", "text_norm_mean", "failed"),
    "nothing but constants": (
        lambda drawn: [fill(m, width)(drawn) for m, width in WIDTHS.items()],
        None,
        "features",
        "constant maximum value",
        "failed",
    ),
    "many constant": (fill("text", 3), fill("text", 2), "features_text", "constant", "warnings"),
    "all sounds the same": (fill("audio", 4), None, "features_audio", "constant", "warnings"),
    "twins": (
        copy_first("text", 0.7),
        copy_first("text", 0.3),
        "features",
        "text_duplicates",
        "warnings",
    ),
}


@pytest.mark.parametrize(
    ("bad", "good", "suite", "words", "kind"), BREAKS.values(), ids=BREAKS.keys()
)
def test_each_expectation_can_fail(
    tmp_path: Path, bad: Change, good: Change | None, suite: str, words: str, kind: str
) -> None:
    drawn = draw(N, seed=1)
    bad(drawn)
    figures = told(tmp_path, drawn)
    found = [t for t in figures[kind] if t.startswith(f"{suite}: ") and words in t]
    assert found and "remedy: " in found[0]
    if kind == "warnings":
        assert figures["failed"] == []
    tolerated = draw(N, seed=1)
    (good or (lambda _: None))(tolerated)
    figures = told(tmp_path, tolerated)
    assert figures["failed"] == [] and figures["warnings"] == []


def test_sound_features_pass_and_the_pages_name_the_suites(tmp_path: Path) -> None:
    old = tmp_path / "docs/validations/old.html"
    old.parent.mkdir(parents=True)
    old.write_text("an earlier run")
    figures = told(tmp_path, draw(N, seed=1))
    assert figures["failed"] == figures["warnings"] == [] and figures["drift"] == {}
    suites = ["features", "features_audio", "features_text", "features_visual"]
    assert sorted(figures["suites"]) == suites
    pages = [p.relative_to(tmp_path / "docs").parts[1]
             for p in (tmp_path / "docs").glob("validations/**/*.html")]  # fmt: skip
    assert sorted(pages) == suites
    index = (tmp_path / "docs/index.html").read_text()
    assert all(name in index for name in suites)
    assert set(figures["statistics"]["visual"]["tokens"]) == {"min", "mean", "max"}


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([*names(N - 1), "v0"], ["repeated", "missing", "in_order"]),
        ([*names(N - 1), "stranger"], ["unknown", "missing", "in_order"]),
        (names(N)[::-1], ["in_order"]),
    ],
)
def test_ids_must_be_those_of_the_videos(tmp_path: Path, ids: list[str], words: list[str]) -> None:
    failed = told(tmp_path, draw(N, seed=1), ids=ids)["failed"]
    assert len(failed) == len(words)
    assert all(any(f"features: {word} " in text for text in failed) for word in words)


def test_data_without_media_are_legitimate(tmp_path: Path) -> None:
    text = {"text": draw(N, seed=1)["text"]}
    figures = told(tmp_path, text, settings=QualitySettings())
    assert figures["failed"] == []
    assert [c["value"] for c in figures["coverage"][:2]] == [0, 0]
    assert all(c["ok"] for c in figures["coverage"])
    demanded = QualitySettings(min_coverage={"visual": 0.1})
    figures = told(tmp_path, text, settings=demanded)
    assert [c["ok"] for c in figures["coverage"]] == [False, True, True]
    (failed,) = figures["failed"]
    assert "features: visual_coverage " in failed and "lower quality.min_coverage.visual" in failed


def test_constants_of_few_videos_are_no_fault(tmp_path: Path) -> None:
    few = draw(N, seed=1)
    fill("audio", 4)(few)
    lose("audio", 1)(few)
    few["audio"][5] = np.zeros((1, 4), np.float32)
    loose = QualitySettings()
    figures = told(tmp_path, few, settings=loose)
    assert figures["failed"] == [] and figures["warnings"] == []
    everything = {"text": draw(N, seed=1)["text"]}
    fill("text", 5)(everything)
    assert told(tmp_path, everything, settings=loose)["failed"] != []
    accepted = QualitySettings(max_constant=1, max_duplicates=1)
    assert told(tmp_path, everything, settings=accepted)["failed"] == []


def test_drift_is_a_warning(tmp_path: Path) -> None:
    paths = write(tmp_path / "old", draw(N, seed=1))
    _, summary = judge(paths, names(N), SETTINGS, tmp_path / "docs", encoders=ENCODERS)
    drift.remember(tmp_path, summary, ENCODERS)
    kept: dict[str, Any] = {"encoders": ENCODERS, "kept_in": tmp_path}
    figures = told(tmp_path, draw(N, seed=2), **kept)
    assert figures["warnings"] == [] and set(figures["drift"]) == set(WIDTHS)
    shifted = draw(N, seed=2)
    for row in each(shifted, "visual"):
        row[:, 3] += 4
    lose("audio", 0.4)(shifted)
    figures = told(tmp_path, shifted, **kept)
    assert figures["failed"] == []
    first, second = sorted(figures["warnings"])
    assert "audio_coverage_change " in first
    assert second.startswith("features_visual: ") and "the first at dimension 3" in second
    assert figures["drift"]["visual"]["moved"] == pytest.approx(1 / 6)
    # another encoder: nothing to compare
    kept["encoders"] = dict.fromkeys(ENCODERS, "another")
    assert told(tmp_path, shifted, **kept)["warnings"] == []


def test_what_the_gate_reads_is_watched() -> None:
    """A threshold that DVC does not know of would leave an old verdict standing."""
    tree = ast.parse((ROOT / "m3tr/features/gate.py").read_text())
    read = {
        f"quality.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "settings"
    }
    watched = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["features"]["params"]
    assert read and read <= set(watched)
