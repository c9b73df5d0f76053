"""The pictures are those of decoding everything, to the bit, whatever the encoder did."""

from pathlib import Path

import av
import mediafiles
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from m3tr.features import frames as frames_module
from m3tr.features import packets
from m3tr.features.media import Wanted, read

SIZE = 64


def moving(n: int, seed: int = 0, side: int = SIZE) -> list[np.ndarray]:
    """Frames that all differ, with motion, noise and a cut."""
    rng = np.random.default_rng(seed)
    scenes = rng.integers(0, 255, (2, 2 * side, 2 * side, 3), np.uint8)
    scenes = scenes[:, ::8, ::8].repeat(8, 1).repeat(8, 2)
    out = []
    for i in range(n):
        x, y = i % side, (2 * i) % side
        frame = scenes[i * 2 // n][y : y + side, x : x + side].astype(int)
        out.append((frame + rng.integers(-8, 9, frame.shape)).clip(0, 255).astype(np.uint8))
    return out


def reference(path: Path, n: int) -> list[np.ndarray]:
    """Decode everything, then pick what is on screen; by count where a frame has no time."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        shown = []
        for packet in container.demux(stream):
            try:
                shown += packet.decode()
            except av.InvalidDataError:
                continue
        pictures = [
            frame.reformat(format="rgb24", interpolation="BICUBIC", threads=1).to_ndarray()
            for frame in shown
        ]
        if any(frame.pts is None for frame in shown):
            places = sorted({int((i + 0.5) / n * len(shown)) for i in range(n)})
            return [pictures[i] for i in places]
        order = sorted(range(len(shown)), key=lambda i: shown[i].pts)
        times = [shown[i].pts for i in order]
        lasting = shown[order[-1]].duration
        if not lasting:
            earlier = [t for t in times if t < times[-1]]
            rate = float(stream.average_rate or 25) * float(stream.time_base)
            lasting = times[-1] - earlier[-1] if earlier else 1 / rate
        span = times[-1] - times[0] + lasting
        places = []
        for i in range(n):
            wanted = times[0] + (i + 0.5) / n * span
            places.append(max(k for k, t in enumerate(times) if t <= wanted))
        return [pictures[order[k]] for k in sorted(set(places))]


def check(path: Path, counts: tuple[int, ...] = (1, 3, 6, 13)) -> None:
    for n in counts:
        wanted = reference(path, n)
        got = read(path, Wanted(frames=n, side=None, sample_rate=0)).frames
        assert len(got) == len(wanted), (path.name, n)
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=f"{path.name}, {n} frames")


X264 = {
    "plain": {},
    "no b": {"bf": "0", "g": "12"},
    "pyramid": {"x264-params": "bframes=5:b-pyramid=normal:keyint=24:b-adapt=0"},
    "strict": {"x264-params": "bframes=7:b-pyramid=strict:keyint=17:b-adapt=0:ref=4"},
    "open": {"x264-params": "open-gop=1:keyint=15:bframes=3:b-adapt=0:min-keyint=2:scenecut=0"},
    "long": {"g": "1000", "preset": "ultrafast"},
    "refresh": {"x264-params": "intra-refresh=1:keyint=20:bframes=0"},
    "refresh b": {"x264-params": "intra-refresh=1:keyint=20:bframes=2"},
    "intra": {"g": "1"},
    "interlaced": {"x264-params": "interlaced=1:keyint=20:tff=1"},
    "weighted": {"x264-params": "weightp=2:keyint=30:bframes=4:ref=8"},
    "slices": {"x264-params": "slices=4:keyint=30:bframes=2"},
    "cqp0": {"qp": "0", "g": "20"},
}
X265 = {
    "plain": {},
    "closed": {"x265-params": "open-gop=0:keyint=16:log-level=none"},
    "open": {"x265-params": "open-gop=1:keyint=16:bframes=4:b-adapt=0:log-level=none"},
    "radl": {"x265-params": "open-gop=0:radl=2:keyint=20:min-keyint=20:scenecut=0:log-level=none"},
    "layers": {"x265-params": "temporal-layers=3:keyint=24:bframes=7:log-level=none"},
}


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "h264", "avi", "flv"])
@pytest.mark.parametrize("kind", X264)
def test_h264(tmp_path: Path, kind: str, suffix: str) -> None:
    path = mediafiles.write(tmp_path / f"a.{suffix}", moving(70), codec_options=X264[kind])
    check(path)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "hevc"])
@pytest.mark.parametrize("kind", X265)
def test_hevc(tmp_path: Path, kind: str, suffix: str) -> None:
    path = mediafiles.write(
        tmp_path / f"a.{suffix}", moving(60), codec="libx265", codec_options=X265[kind]
    )
    check(path)


OTHERS = [
    ("a.webm", "libvpx-vp9", "yuv420p", {"g": "16", "lag-in-frames": "12", "auto-alt-ref": "1"}),
    ("b.webm", "libvpx-vp9", "yuv420p", {"g": "200", "deadline": "realtime", "cpu-used": "8"}),
    ("c.webm", "libvpx", "yuv420p", {"g": "16", "lag-in-frames": "12", "auto-alt-ref": "1"}),
    ("d.webm", "libvpx", "yuv420p", {"g": "100", "error-resilient": "1"}),
    ("e.mkv", "libsvtav1", "yuv420p", {"preset": "12", "g": "16"}),
    ("f.mp4", "libsvtav1", "yuv420p", {"preset": "12", "svtav1-params": "film-grain=8:keyint=20"}),
    ("g.avi", "mpeg4", "yuv420p", {"g": "12"}),
    ("h.avi", "mpeg4", "yuv420p", {"g": "12", "bf": "2"}),
    ("i.mp4", "mpeg4", "yuv420p", {"g": "20", "bf": "3", "flags": "+qpel+mv4"}),
    ("j.mkv", "mpeg4", "yuv420p", {"g": "9", "bf": "1", "mpeg_quant": "1"}),
    ("k.ts", "mpeg2video", "yuv420p", {"g": "12", "bf": "2"}),
    ("l.mpg", "mpeg2video", "yuv420p", {"g": "15", "bf": "2"}),
    ("m.mkv", "mpeg2video", "yuv420p", {"g": "12", "bf": "2", "flags": "+ilme+ildct"}),
    ("n.mpg", "mpeg1video", "yuv420p", {"g": "12", "bf": "2"}),
    ("o.avi", "mjpeg", "yuvj420p", {}),
    ("p.mov", "mjpeg", "yuvj420p", {}),
    ("q.mov", "prores", "yuv422p10le", {}),
    ("r.mkv", "ffv1", "yuv420p", {"g": "10", "context": "1"}),
    ("s.avi", "ffv1", "yuv420p", {"g": "30"}),
    ("t.flv", "flv", "yuv420p", {"g": "12"}),
    ("u.asf", "wmv2", "yuv420p", {"g": "12"}),
    ("v.avi", "msmpeg4", "yuv420p", {"g": "12"}),
    ("w.avi", "huffyuv", "yuv422p", {}),
    ("x.gif", "gif", "rgb8", {}),
    ("y.mkv", "snow", "yuv420p", {"g": "12"}),
    ("z.avi", "cinepak", "rgb24", {}),
]


@pytest.mark.parametrize("name, codec, pixels, options", OTHERS)
def test_other_codecs(
    tmp_path: Path, name: str, codec: str, pixels: str, options: dict[str, str]
) -> None:
    rate = 25 if name.endswith("mpg") or name.endswith("ts") else 10
    path = mediafiles.write(
        tmp_path / name, moving(60), codec=codec, pixels=pixels, rate=rate, codec_options=options
    )
    check(path, (1, 6, 13))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    gop=st.integers(1, 40), b=st.integers(0, 6), count=st.integers(1, 60),
    gaps=st.lists(st.integers(1, 9), min_size=60, max_size=60), n=st.integers(1, 20),
    opened=st.booleans(), suffix=st.sampled_from(["mp4", "mkv", "ts"]),
)  # fmt: skip
def test_any_groups_and_times(
    tmp_path: Path, gop: int, b: int, count: int, gaps: list[int], n: int, opened: bool, suffix: str
) -> None:
    times = np.cumsum(gaps)[:count].tolist()
    params = f"keyint={gop}:bframes={b}:open-gop={int(opened)}:b-adapt=0:scenecut=0"
    path = mediafiles.write(
        tmp_path / f"a.{suffix}", moving(60)[:count], times=times, rate=30,
        codec_options={"x264-params": params, "preset": "veryfast"},
    )  # fmt: skip
    check(path, (n,))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "h264"])
@pytest.mark.parametrize("gap", [0, 3_000, 10**9])
def test_packets_that_are_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, gap: int
) -> None:
    monkeypatch.setattr(packets, "HELD_BYTES", 0)
    monkeypatch.setattr(packets, "SEEK_BYTES", gap)
    for kind in ("pyramid", "open", "refresh", "no b"):
        path = mediafiles.write(tmp_path / f"a.{suffix}", moving(70), codec_options=X264[kind])
        check(path)


def test_little_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    send = frames_module._Reader._send
    monkeypatch.setattr(
        frames_module._Reader, "_send", lambda self, p: (sent.append(p), send(self, p))[1]
    )
    path = mediafiles.write(tmp_path / "a.mp4", moving(300), codec_options={"g": "20"})
    read(path, Wanted(frames=3, sample_rate=0))
    assert len(sent) < 70, "three groups of twenty, not three hundred frames"
