"""The peers of the point process: their environment, their cache, the comparison with them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks import peers

    monkeypatch.setattr(peers, "FOLDER", tmp_path / "peers")
    monkeypatch.delenv(peers.VARIABLE, raising=False)
    return peers


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.parquet"
    path.write_bytes(b"the content of a dataset")
    return path


def test_a_python_without_easy_tpp_is_one_reason(peers, events, monkeypatch) -> None:
    monkeypatch.setenv(peers.VARIABLE, sys.executable)
    peer = peers.trained("NHP", events)
    assert peer.report is None
    assert peer.reason == f"{peers.VARIABLE}: {sys.executable} is no python that imports easy_tpp"


def test_a_failed_installation_is_one_reason_and_leaves_nothing(peers, events, monkeypatch) -> None:
    monkeypatch.setattr(peers, "NEEDS", ("./no-such-folder",))
    peer = peers.trained("NHP", events)
    assert peer.report is None
    assert peer.reason.startswith("easy-tpp could not be installed (")
    assert "\n" not in peer.reason
    assert not (peers.FOLDER / "easy-tpp").exists()


def test_quick_neither_trains_nor_installs(peers, events) -> None:
    assert peers.trained("NHP", events, cached_only=True).reason
    with pytest.raises(peers.PeerError, match="installs nothing"):
        peers.epoch_seconds("NHP", events, 1, 1, install=False)
    assert not peers.FOLDER.exists()


def test_a_result_is_kept_until_data_settings_or_script_change(
    peers, events, monkeypatch, tmp_path
) -> None:
    runs = []

    def run(model, events, settings):
        runs.append(model)
        return {"model": model, "run": len(runs)}

    monkeypatch.setattr(peers, "_run", run)
    assert peers.trained("NHP", events).report["run"] == 1
    assert peers.trained("NHP", events).report["run"] == 1
    assert peers.trained("NHP", events, cached_only=True).report["run"] == 1
    assert peers.trained("THP", events).report["run"] == 2
    assert peers.trained("NHP", events, retrain=True).report["run"] == 3
    monkeypatch.setitem(peers.SETTINGS, "NHP", ("--seed", "1"))
    assert peers.trained("NHP", events).report["run"] == 4
    events.write_bytes(b"another dataset")
    assert peers.trained("NHP", events).report["run"] == 5
    script = tmp_path / "script.py"
    script.write_text("another script")
    monkeypatch.setattr(peers, "SCRIPT", script)
    assert peers.trained("NHP", events).report["run"] == 6


def test_a_failing_script_is_one_reason(peers, events, monkeypatch, tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text("raise ValueError('no such column')\n")
    monkeypatch.setattr(peers, "SCRIPT", script)
    monkeypatch.setattr(peers, "python", lambda install: Path(sys.executable))
    peer = peers.trained("NHP", events)
    assert peer.reason == "easy-tpp NHP failed: ValueError: no such column"
    assert not (peers.FOLDER / "results").exists()


def test_an_unknown_peer_is_a_mistake(peers, events) -> None:
    from m3tr.errors import InputError

    with pytest.raises(InputError, match="name one of NHP"):
        peers.trained("RMTPP", events)


def test_the_difference_is_paired_and_weighted_by_events(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks.tpp_taxi import difference

    rng = np.random.default_rng(1)
    n = rng.integers(10, 50, 400).astype(float)
    rival = rng.normal(0, 100, 400)  # what varies between sequences cancels within a pair
    found, (low, high) = difference(rival - 0.1 * n, rival, n, 1000)
    assert found == pytest.approx(-0.1)
    assert (low, high) == pytest.approx((-0.1, -0.1))
    noise = rng.normal(0, 1, 400)
    found, (low, high) = difference(rival + noise, rival, n, 4000)
    se = np.std(noise - found * n, ddof=1) * 400**0.5 / n.sum()
    assert high - low == pytest.approx(2 * 1.96 * se, rel=0.1)
    assert low < found < high


def test_the_best_peer_is_the_rival(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks.tpp_taxi import OURS, Row, compared, table

    n = np.full(3, 2.0)
    rows = {
        "Poisson": Row(np.array([3.0, 3.0, 3.0]), 10),
        "NHP": Row(np.array([1.0, 2.0, 3.0]), 500, 2.0, 90),
        "THP": Row(np.array([2.0, 2.0, 3.0]), 400, 0.5, 200),
        OURS: Row(np.array([0.0, 1.0, 2.0]), 300, 1.0, 40),
    }
    figures = compared(rows, n, 100)
    assert figures["rival"] == "NHP"
    assert figures["margin"] == pytest.approx(-0.5)
    assert figures["margin_interval"] == pytest.approx([-0.5, -0.5])
    assert figures["NHP"]["difference"] is None
    assert "to NHP" in table(figures)
    alone = compared({k: v for k, v in rows.items() if k not in ("NHP", "THP")}, n, 100)
    assert (alone["rival"], alone["margin"], alone["margin_interval"]) == (None, None, None)
    assert "no peer" in table(alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tpp_taxi", "epoch"])
def test_they_end_with_their_figures_as_json(name: str, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks.workspaces import real_data

    if not (real_data() / "taxi").exists():
        pytest.skip("the taxi dataset is not part of the repository")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", name, "--quick"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    if name == "epoch":
        assert figures["ours_s"] > 0
        return
    from benchmarks.tpp_taxi import OURS

    assert figures[OURS]["nll"] < figures["Poisson"]["nll"]
    assert figures["Hawkes"]["nll"] < figures["Poisson"]["nll"]
