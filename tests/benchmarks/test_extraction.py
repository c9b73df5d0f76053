"""The benchmarks of extraction: their corpus, and each of them on a few tiny clips."""

import argparse
import hashlib
import json
from pathlib import Path

import av
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPOSITORY))
        from benchmarks import clips

        webm = clips.Clip("tiny", 96, 160, 31, gop=16, codec="libvpx-vp9", bits=100_000)
        return clips.encode(tmp_path_factory.mktemp("masters"), [*clips.SMALL, webm])


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_clips_are_what_they_say(masters: list[Path]) -> None:
    from benchmarks import clips

    for clip, path in zip(clips.SMALL, masters, strict=False):
        pictures = decoded(path)
        assert len(pictures) == clip.frames
        assert pictures[0].shape == (clip.height, clip.width, 3)
        # it moves, and no frame is flat
        assert np.abs(pictures[30].astype(int) - pictures[0]).mean() > 3
        assert min(picture.std() for picture in pictures) > 15
        with av.open(str(path)) as container:
            seconds = clip.frames / clips.FPS
            assert float(container.streams.video[0].average_rate) == clips.FPS
            assert container.duration / av.time_base == pytest.approx(seconds, abs=0.1)
            keys = [p.is_keyframe for p in container.demux(video=0) if p.pts is not None]
            assert [i for i, key in enumerate(keys) if key] == list(range(0, clip.frames, clip.gop))
            container.seek(0)
            heard = sum(frame.samples for frame in container.decode(audio=0))
            assert heard / 44_100 == pytest.approx(seconds, abs=0.1)
    with av.open(str(masters[-1])) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["vp9", "opus"]


def test_copies_differ_in_their_bytes_alone(masters: list[Path], tmp_path: Path) -> None:
    from benchmarks import clips

    made = clips.copies(masters, tmp_path / "some", 6)
    made += clips.copies(masters, tmp_path / "some", 2, start=6)
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in made}) == 8
    for number, path in enumerate(made):
        master = masters[number % len(masters)]
        assert path.suffix == master.suffix
        assert np.array_equal(decoded(path), decoded(master))


def test_the_floor_reads_every_frame(masters: list[Path]) -> None:
    from benchmarks import floor

    assert floor.over(floor.everything, masters, 1) == sum(len(decoded(p)) for p in masters)
    assert floor.over(floor.sampled, masters, 1) == 6 * len(masters)
    assert floor.over(floor.sampled_and_sound, masters, 1) == 6 * len(masters)


def test_extraction_is_timed_beside_the_floors(masters: list[Path]) -> None:
    from benchmarks.decode_floor import costs, ratios
    from m3tr.features.settings import FeatureSettings

    found = costs(masters, FeatureSettings(workers=1), 1)
    assert all(cost.wall > 0 and cost.cpu > 0 for cost in found.values())
    figures = ratios(found)
    assert figures["ratio"] == pytest.approx(
        found["extract"].wall / found["decode all"].wall, abs=1e-3
    )


def test_a_grown_dataset_decodes_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import clips, extract_warm

    monkeypatch.setattr(extract_warm, "SETTLED_SECONDS", 0.0)
    runs = extract_warm.grow(tmp_path, clips.SMALL, 4)
    decoded = {name: run.report["media_decoded"] for name, run in runs.items()}
    assert decoded == {"cold": 4, "1 % more": 1, "unchanged": 0, "other texts": 0}
    assert runs["other texts"].report["texts_encoded"] == 5
    for run in runs.values():
        assert 0 < run.import_s < run.seconds
        assert 0 < run.extract_s < run.seconds


def test_peaks_are_those_of_the_process_and_its_workers(tmp_path: Path) -> None:
    from benchmarks import extract_memory

    found = extract_memory.peaks(tmp_path, 6, processes=1)
    assert 30 < found.main_mb < 2_000
    assert 30 < found.workers_mb < 2_000
    assert max(found.main_mb, found.workers_mb) <= found.total_mb
    assert found.polled_mb > 0
    assert found.total_mb <= found.main_mb + found.workers_mb


def test_memory_ends_with_its_figures(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from benchmarks import extract_memory

    monkeypatch.setattr(extract_memory, "QUICK_VIDEOS", (2, 4))
    figures = extract_memory.run(argparse.Namespace(quick=True, workers=1))
    # how near to 1 is for the benchmark to say: polling may miss a peak
    assert 0 < json.loads(json.dumps(figures))["ratio"] < 100
    assert "together" in capsys.readouterr().out


def test_both_usual_ways_give_the_same_tokens(masters: list[Path], tmp_path: Path) -> None:
    from benchmarks import extract

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    checkpoint = extract.vit(tmp_path / "vit", **sizes, intermediate_size=64)
    report, seeking = extract.usual(checkpoint, masters[:2], "seek")
    _, through = extract.usual(checkpoint, masters[:2], "through")
    assert report["load_s"] < report["seconds"]
    assert [tokens.shape for tokens in seeking] == [(6, 32), (6, 32)]
    assert extract.relative_difference(seeking, through) == 0
    changed = [2 * seeking[0], seeking[1]]
    assert extract.relative_difference(changed, seeking) == pytest.approx(1)
    with pytest.raises(RuntimeError, match="tokens"):
        extract.relative_difference([seeking[0][:5], seeking[1]], seeking)


def test_ours_reads_the_frames_of_the_usual_way(
    masters: list[Path], tmp_path: Path, capsys
) -> None:
    from benchmarks import extract

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    checkpoint = extract.vit(tmp_path / "vit", **sizes, intermediate_size=64)
    figures = extract.compare(checkpoint, masters[:2], 1)
    assert figures["max_relative_difference"] < 1e-3
    assert figures["speedup"] > 0 and figures["speedup_cpu"] > 0
    assert "videos/s" in capsys.readouterr().out
