"""Mutated files end as media or as a `MediaError`; arbitrary cells as a path inside or as one."""

import json
import os
import tempfile
from collections import Counter
from pathlib import Path

import mediafiles
import numpy as np
import pytest
from fuzzing import Attempt, attempt, mutate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from m3tr.features.media import MediaError, locate
from m3tr.features.pool import Failure, run
from m3tr.features.settings import LimitSettings

MUTANTS = 400  # of every file
SECONDS = 300.0  # wall time of one mutant; it may use 2 s of the processor, others the rest
CRASHES = 0.01  # share of mutants that may kill the decoder: it is not ours, the pool bears it
FILES = (
    ("plain.mp4", "libx264", "aac", "yuv420p", {}),
    ("fast.mp4", "libx264", "aac", "yuv420p", {"movflags": "faststart"}),
    ("frag.mp4", "libx264", "aac", "yuv420p", {"movflags": "frag_keyframe+empty_moov"}),
    ("a.webm", "libvpx-vp9", "libopus", "yuv420p", {}),
    ("a.mkv", "mpeg4", "flac", "yuv420p", {}),
    ("a.avi", "mjpeg", "mp2", "yuvj420p", {}),
    ("a.ts", "libx264", "mp2", "yuv420p", {}),
    ("a.flv", "flv1", "aac", "yuv420p", {}),
    ("a.gif", "gif", None, "rgb8", {}),
    ("a.mp3", None, "libmp3lame", "", {}),
    ("a.ogg", None, "libopus", "", {}),
    ("a.flac", None, "flac", "", {}),
    ("a.wav", None, "pcm_s16le", "", {}),
    ("a.aac", None, "aac", "", {}),
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One small good file of each kind."""
    folder = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(2)
    frames = [rng.integers(0, 255, (32, 48, 3), np.uint8) for _ in range(6)]
    paths = []
    for name, picture, sound, pixels, options in FILES:
        rate = 44_100 if name == "a.flv" else 48_000
        path = mediafiles.write(
            folder / name, frames if picture else None,
            mediafiles.tone(440, 0.6, rate) if sound else None, codec=picture or "",
            sound_codec=sound or "", sound_rate=rate, pixels=pixels,
            options={"fflags": "bitexact", **options},
        )  # fmt: skip
        paths.append(path)
    for form in ("JPEG", "PNG", "WEBP"):
        paths.append(folder / f"a.{form.lower()}")
        Image.fromarray(frames[0]).save(paths[-1], form)
    return paths


@pytest.mark.slow
def test_mutated_files_end_as_media_or_as_a_media_error(good: list[Path]) -> None:
    tasks = [Attempt(path, seed) for seed in range(MUTANTS) for path in good]
    ends: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    raised, died = [], []
    for index, result in run(attempt, tasks, workers=2, seconds=SECONDS, retries=0):
        who = f"{tasks[index].path.name} seed {tasks[index].seed}"
        if not isinstance(result, Failure):
            ends[result[0]] += 1
            reasons[result[1].split(":")[0].split(" (")[0]] += result[0] == "refused"
        elif result.kind == "raised":
            raised.append(f"{who}: {result.message}")
        else:
            ends[result.kind] += 1
            died.append(f"{who}: {result.kind}, {result.message}")
    print(json.dumps(ends), json.dumps(reasons.most_common(8)), *died, sep="\n")
    assert not raised, f"{len(raised)} other exceptions:\n" + "\n".join(raised[:20])
    assert len(died) <= CRASHES * len(tasks), "\n".join(died)
    assert not ends["hung"], "the time limit of the decoder does not hold:\n" + "\n".join(died)
    assert ends["media"] > 50 and ends["refused"] > 50, "the mutants are neither too mild nor wild"


def test_mutants_are_those_of_their_seed(good: list[Path]) -> None:
    content = good[0].read_bytes()
    assert mutate(content, 3) == mutate(content, 3) != mutate(content, 4)
    assert sum(mutate(content, seed) != content for seed in range(50)) > 45


# what a cell of a table can hold: any text but lone surrogates
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
PARTS = st.sampled_from(
    ["..", ".", "", "/", "\\", "~", "media", "a.mp4", "none", "up", "loop", "pipe", "\0", "\n", " ",
     "C:", "file:", "http://", "%2e", "etc", "passwd", "x" * 300]
)  # fmt: skip
CELLS = WORDS | st.lists(PARTS | WORDS, max_size=8).map("/".join) | st.lists(PARTS).map("".join)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with ways out of it."""
    data = tmp_path_factory.mktemp("located") / "data"
    (data / "media").mkdir(parents=True)
    for path in (data / "a.mp4", data / "media/a.mp4", data.parent / "a.mp4"):
        path.write_bytes(b"x")
    (data / "up").symlink_to("..")
    (data / "loop").symlink_to("loop")
    os.mkfifo(data / "pipe")
    return data


@settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cell=CELLS)
def test_any_cell_is_a_file_inside_or_a_media_error(data: Path, cell: str) -> None:
    try:
        path = locate(data, cell, LimitSettings())
    except MediaError as error:
        assert error.reason and error.remedy
        told = error.reason + error.remedy
        assert tempfile.gettempdir() not in told and str(data) not in told, "a path of this machine"
    else:
        assert path.is_relative_to(data.resolve()) and path.is_file() and not path.is_symlink()
