"""Every hostile file of the corpus between good ones, through the real extraction.

The extraction runs in a process of its own: a hang ends as a failed test, and the memory of its
workers can be told from that of other tests.
"""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hostile
import mediafiles
import numpy as np
import polars as pl
import pytest
from corpus import CUT, INNER, Case

from m3tr.features.media import Wanted, read
from m3tr.features.store import Features

pytestmark = pytest.mark.slow

SECONDS = 120  # of the processors, for the whole corpus
HANGS = 400  # of the wall: other tests may share the machine
MEMORY = 2_000_000_000  # of any worker at its peak
CONTENTS = 24  # different good neighbours; all neighbours differ in bytes
GROUPS = (
    "bomb", "cell", "cut", "garbage", "lies", "long", "mp4-box-size", "mp4-cut",
    "mp4-fragments-cut", "mp4-packets", "mp4-picture", "mp4-tables", "mp4-time", "name",
    "no-media", "renamed", "special", "still-alike", "still-bomb", "still-broken", "still-grey",
    "still-odd", "tags", "wav",
)  # fmt: skip
RUN = """
import json, resource, sys, time
from pathlib import Path
import polars as pl
from m3tr.features.extract import extract_to
from m3tr.features.settings import FeatureSettings
settings = FeatureSettings.model_validate({
    "visual": {"frames": 4}, "audio": {"segments": 2}, "workers": int(sys.argv[4]),
    "limits": {"max_seconds_decoding": 3},
})
videos, data, out = pl.read_parquet(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
cache = Path(sys.argv[5]) if len(sys.argv) > 5 else out.with_name(out.name + "-cache")
quarantine, _ = extract_to(out, videos, data, settings, cache_dir=cache)
quarantine.write_parquet(out.with_name(out.name + ".parquet"))
workers = resource.getrusage(resource.RUSAGE_CHILDREN)
used = time.process_time() + workers.ru_utime + workers.ru_stime
print(json.dumps({"seconds": used, "peak": 1024 * workers.ru_maxrss}))
"""


@dataclass
class Outcome:
    """What one run of the extraction said."""

    features: Features
    refused: dict[str, dict[str, Any]]
    seconds: float
    peak: int

    def of(self, video: str) -> str:
        row = self.features.ids.index(video)
        present = [m for m in ("visual", "audio") if self.features.present(m)[row]]
        return "".join(m[0] for m in present) or "-"


@dataclass
class World:
    """The corpus, its neighbours, and both extracted together and the neighbours alone."""

    data: Path
    cases: list[Case]
    together: Outcome
    alone: Outcome


def without_privileges() -> None:
    """Even root may then not read a file of mode 000 (Linux)."""
    import ctypes

    drop_from_bounding_set = 24
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)


def run(
    videos: pl.DataFrame, data: Path, work: Path, workers: int, cache: Path | None = None
) -> Outcome:
    work.mkdir()
    videos.write_parquet(work / "videos.parquet")
    arguments = [work / "videos.parquet", data, work / "out", workers, *([cache] if cache else [])]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)], timeout=HANGS, text=True,
        capture_output=True, preexec_fn=without_privileges,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, f"the extraction itself died:\n{done.stderr[-3000:]}"
    figures = json.loads(done.stdout.splitlines()[-1])
    quarantine = pl.read_parquet(work / "out.parquet")
    assert quarantine["video_id"].is_unique().all(), "one reason a file"
    refused = {row["video_id"]: row for row in quarantine.iter_rows(named=True)}
    return Outcome(Features.load(work / "out"), refused, **figures)


def neighbours(folder: Path, n: int) -> list[str]:
    """Small good videos with sound, of which every one has bytes of its own."""
    folder.mkdir()
    contents = []
    for i in range(CONTENTS):
        frames = mediafiles.plain((10 * i, 250 - 9 * i, 100), 3) + mediafiles.plain(
            (50, 9 * i, 0), 3
        )
        path = mediafiles.write(folder / "one.mp4", frames, mediafiles.tone(200 + 30 * i, 0.3))
        contents.append(path.read_bytes())
        path.unlink()
    names = []
    for i in range(n):
        tail = b"\0\0\0\x0cfree" + i.to_bytes(4, "big")
        (folder / f"{i}.mp4").write_bytes(contents[i % CONTENTS] + tail)
        names.append(f"good/{i}.mp4")
    return names


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    work = tmp_path_factory.mktemp("hostile")
    data = work / "data"
    cases = hostile.make(data)
    good = neighbours(data / "good", len(cases) + 1)
    ids, cells = [good[0]], [good[0]]
    for case, neighbour in zip(cases, good[1:], strict=True):
        ids += [case.name, neighbour]
        cells += [case.cell, neighbour]
    together = run(pl.DataFrame({"video_id": ids, "media": cells}), data, work / "together", 2)
    turned = pl.DataFrame({"video_id": good[::-1], "media": good[::-1]})
    return World(data, cases, together, run(turned, data, work / "alone", 1))


def test_the_corpus_is_large_and_small(world: World) -> None:
    assert len({case.name for case in world.cases}) >= 70
    assert {case.group for case in world.cases} == set(GROUPS)
    used = sum(path.lstat().st_blocks * 512 for path in world.data.rglob("*"))
    assert used < 150_000_000, "bytes on the disk"


@pytest.mark.parametrize("group", GROUPS)
def test_every_file_comes_out_as_it_must(world: World, group: str) -> None:
    wrong = []
    for case in (c for c in world.cases if c.group == group):
        got = world.together.of(case.name)
        reason = world.together.refused.get(case.name, {}).get("reason", "")
        partly = "-" in case.wanted and got in ("v", "a") and bool(reason)
        if got not in case.wanted and not partly:
            wrong.append(f"{case.name} ({case.how}): {got}, not {case.wanted}; {reason}")
        elif (got == "-" or partly) and not re.search(
            f"{case.reason}|{CUT}", reason.removeprefix(f"{case.cell}: ")
        ):
            wrong.append(f"{case.name} ({case.how}): {reason!r} is not /{case.reason}|{CUT}/")
    assert not wrong, f"{len(wrong)} of {group}:\n" + "\n".join(wrong)


def test_what_gives_less_than_it_holds_is_listed(world: World) -> None:
    outcomes = {case.name: world.together.of(case.name) for case in world.cases}
    listed = set(world.together.refused)
    assert {name for name, outcome in outcomes.items() if outcome == "-"} <= listed
    assert "va" not in {outcomes[name] for name in listed}


def test_reasons_are_for_the_owner_of_the_file(world: World) -> None:
    wrong = []
    for case in world.cases:
        told = world.together.refused.get(case.name)
        if told is None:
            continue
        reason = told["reason"].removeprefix(case.cell)
        if str(world.data.parent) in reason + told["remedy"]:
            wrong.append(f"{case.name}: a path of this machine: {reason}")
        elif INNER.search(reason):
            wrong.append(f"{case.name}: an inner error: {reason}")
        elif len(reason) < 10 or len(reason) > 300 or len(told["remedy"]) < 10:
            wrong.append(f"{case.name}: {len(reason)} characters: {reason}; {told['remedy']}")
    assert not wrong, f"{len(wrong)} reasons:\n" + "\n".join(wrong)


def test_good_neighbours_are_as_if_alone(world: World) -> None:
    together, alone = world.together.features, world.alone.features
    assert not world.alone.refused
    assert not [name for name in world.together.refused if name.startswith("good/")]
    order = [together.ids.index(name) for name in alone.ids]
    for m in ("visual", "audio"):
        np.testing.assert_array_equal(together.mask[m][order], alone.mask[m])
        np.testing.assert_array_equal(together.tokens[m][order], alone.tokens[m])
        assert alone.present(m).all()
    assert len(np.unique(alone.tokens["visual"], axis=0)) == CONTENTS, "they can be told apart"


def test_tokens_of_hostile_files_are_numbers(world: World) -> None:
    for m, tokens in world.together.features.tokens.items():
        assert np.isfinite(tokens).all() and not tokens[~world.together.features.mask[m]].any()


def test_time_and_memory_are_bounded(world: World) -> None:
    print(
        f"{len(world.cases)} files: {world.together.seconds:.1f} s, {world.together.peak:,} bytes"
    )
    assert world.together.seconds < SECONDS
    assert world.together.peak < MEMORY


@pytest.mark.parametrize("group, plain", [("still-alike", "plain.png"), ("still-grey", "grey.png")])
def test_a_still_looks_alike_in_every_encoding(world: World, group: str, plain: str) -> None:
    def look(path: Path) -> np.ndarray:
        frame = read(path, Wanted(frames=4)).frames[0]
        return frame.astype(float)

    wanted, wrong = look(world.data / group / plain), []
    for path in sorted((world.data / group).iterdir()):
        picture = look(path)
        if picture.shape != wanted.shape or np.abs(picture - wanted).mean() > 8:
            wrong.append(
                f"{path.name}: {picture.shape}, {picture.mean():.0f} not {wanted.mean():.0f}"
            )
    assert not wrong, "\n".join(wrong)


def test_a_cache_changes_no_outcome(world: World, tmp_path: Path) -> None:
    cases = [c for c in world.cases if c.group in ("special", "no-media", "tags")]
    videos = pl.DataFrame({"video_id": [c.name for c in cases], "media": [c.cell for c in cases]})
    for work in ("first", "again"):
        seen = run(videos, world.data, tmp_path / work, 1, tmp_path / "cache")
        for case in cases:
            assert seen.of(case.name) == world.together.of(case.name), case.name
            told = seen.refused.get(case.name, {}).get("reason")
            assert told == world.together.refused.get(case.name, {}).get("reason")


def test_a_pipe_is_not_waited_for(world: World) -> None:
    from m3tr.features.media import MediaError, locate
    from m3tr.features.settings import LimitSettings

    start = time.monotonic()
    with pytest.raises(MediaError, match="regular"):
        locate(world.data, "special/fifo.mp4", LimitSettings())
    assert time.monotonic() - start < 1
