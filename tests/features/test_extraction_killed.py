"""Kills of the stage, of its workers, and two stages on one cache: the same features in the end."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import mediafiles
import numpy as np
import polars as pl
import pytest

from m3tr.features.extract import extract
from m3tr.features.settings import FeatureSettings
from m3tr.features.store import Features

FILES = 60
CODE = """
import sys
from pathlib import Path
import polars as pl
from m3tr.features.extract import extract_to
from m3tr.features.settings import FeatureSettings
root, out = Path(sys.argv[1]), Path(sys.argv[2])
frame = pl.read_parquet(root / "videos.parquet")
quarantine, report = extract_to(out, frame, root / "data", FeatureSettings(workers=2),
                                cache_dir=root / sys.argv[3])
print(report["media_from_cache"], report["media_decoded"], len(quarantine))
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty clips whose extraction takes about a second."""
    root = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    names = [f"{i}.mp4" for i in range(FILES)]
    for name in names:
        frames = [rng.integers(0, 255, (96, 96, 3), np.uint8) for _ in range(12)]
        mediafiles.write(root / "data" / name, frames, mediafiles.tone(rng.uniform(200, 900)))
    titles = [f"clip number {i}" for i in range(FILES)]
    frame = pl.DataFrame({"video_id": names, "media": names, "title": titles})
    frame.write_parquet(root / "videos.parquet")
    return root


def start(world: Path, out: Path, cache: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CODE, str(world), str(out), cache]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def same(folder: Path, wanted: Features) -> None:
    found = Features.load(folder)
    assert found.ids == wanted.ids
    for m in wanted.tokens:
        np.testing.assert_array_equal(found.tokens[m], wanted.tokens[m])
        np.testing.assert_array_equal(found.mask[m], wanted.mask[m])


@pytest.fixture(scope="module")
def wanted(world: Path) -> Features:
    frame = pl.read_parquet(world / "videos.parquet")
    features, quarantine, _ = extract(frame, world / "data", FeatureSettings())
    assert len(quarantine) == 0 and features.present("audio").all()
    return features


@pytest.mark.slow
def test_killed_at_twenty_random_moments(world: Path, wanted: Features, tmp_path: Path) -> None:
    begin = time.monotonic()
    process = start(world, tmp_path / "whole", "whole")
    assert process.communicate(timeout=120)[0].split() == ["0", str(FILES), "0"]
    whole = time.monotonic() - begin
    rng = np.random.default_rng(1)
    kept = []
    for _ in range(20):
        process = start(world, tmp_path / "killed", "killed")
        time.sleep(rng.uniform(0.3, 1.0) * whole)
        process.kill()  # SIGKILL: no chance to tidy up
        process.communicate()
        kept.append(sum(1 for _ in (world / "killed").rglob("shard-*.parquet")))
    output = start(world, tmp_path / "killed", "killed").communicate(timeout=120)[0]
    from_cache, decoded, broken = map(int, output.split())
    assert from_cache + decoded == FILES and broken == 0
    assert from_cache > 0, "work done before a kill is kept"
    same(tmp_path / "killed", wanted)
    output = start(world, tmp_path / "again", "killed").communicate(timeout=120)[0]
    assert output.split() == [str(FILES), "0", "0"]
    same(tmp_path / "again", wanted)


def test_two_stages_on_one_cache(world: Path, wanted: Features, tmp_path: Path) -> None:
    both = [start(world, tmp_path / name, "shared") for name in "ab"]
    for process in both:
        from_cache, decoded, broken = map(int, process.communicate(timeout=120)[0].split())
        assert from_cache + decoded == FILES and broken == 0
    same(tmp_path / "a", wanted)
    same(tmp_path / "b", wanted)


def test_workers_killed_during_the_extraction_lose_nothing(
    world: Path, wanted: Features, tmp_path: Path
) -> None:
    process = start(world, tmp_path / "out", "workers")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    killed = 0
    while process.poll() is None and killed < 2:
        pids = children.read_text().split()
        if pids:
            with suppress(ProcessLookupError):
                os.kill(int(pids[-1]), signal.SIGKILL)
                killed += 1
            time.sleep(0.4)
    output, _ = process.communicate(timeout=120)
    assert killed == 2 and output.split() == ["0", str(FILES), "0"]
    same(tmp_path / "out", wanted)
