"""Files of several streams, turned or stretched pictures, and files of which a part is broken."""

import importlib.util
import struct
import subprocess
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import mediafiles
import numpy as np
import pytest
from av.stream import Disposition
from corpus import INNER
from PIL import Image

from m3tr.features.media import Media, MediaError, Wanted, read
from m3tr.features.packets import LostError
from m3tr.features.pictures import upright
from m3tr.features.pool import run
from m3tr.features.settings import LimitSettings

RATE = 16_000
DATA_BYTES = 140_000_000  # the double of what a worker takes for itself


def mux(
    path: Path,
    tones: list[tuple[float, bool]],
    frames: int = 20,
    ratio: int = 1,
    cover: bool = False,
) -> Path:
    """A file with a track of each (hertz, default) and `frames` pictures, or one cover picture."""
    with av.open(str(path), "w") as container:
        picture = Image.effect_mandelbrot((48, 32), (-2, -1, 1, 1), 50).convert("RGB")
        video = None
        if frames:
            video = container.add_stream("mjpeg" if cover else "libx264", rate=10)
            video.width, video.height = 48, 32
            video.pix_fmt = "yuvj420p" if cover else "yuv420p"
            video.codec_context.sample_aspect_ratio = Fraction(ratio, 1)
            if cover:
                video.disposition = Disposition.attached_pic
        tracks = [container.add_stream("aac", rate=RATE, layout="mono") for _ in tones]
        for track, (_, default) in zip(tracks, tones, strict=True):
            track.disposition = Disposition.default if default else Disposition(0)
        for i in range(frames):
            assert video is not None
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        for track, (hertz, _) in zip(tracks, tones, strict=True):
            wave = mediafiles.tone(hertz, 2, RATE).astype(np.float32)[None]
            sound = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            sound.sample_rate, sound.pts = RATE, 0
            container.mux(track.encode(sound))
            container.mux(track.encode(None))
    return path


def spoil(path: Path, *streams: int) -> Path:
    """Overwrite the content of every packet of some streams."""
    rng = np.random.default_rng(0)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.stream_index in streams:
                data[packet.pos : packet.pos + packet.size] = rng.bytes(packet.size)
    out = path.with_name(f"spoilt-{path.name}")
    out.write_bytes(data)
    return out


def pitch(media: Media) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(media.sound))) / media.sound.size * RATE)


def test_the_default_track_is_heard(tmp_path: Path) -> None:
    first = mux(tmp_path / "a.mkv", [(300, True), (700, False)])
    assert pitch(read(first, Wanted())) == pytest.approx(300, abs=3)
    second = mux(tmp_path / "b.mkv", [(300, False), (700, True)])
    assert pitch(read(second, Wanted())) == pytest.approx(700, abs=3)


def test_a_track_that_cannot_be_decoded_is_passed_over(tmp_path: Path) -> None:
    path = spoil(mux(tmp_path / "a.mp4", [(300, True), (700, False)]), 1)
    media = read(path, Wanted())
    assert pitch(media) == pytest.approx(700, abs=3) and not media.broken


def test_one_broken_modality_leaves_the_other(tmp_path: Path) -> None:
    path = mux(tmp_path / "a.mp4", [(300, True)])
    whole = read(path, Wanted())
    mute = read(spoil(path, 1), Wanted())
    assert list(mute.broken) == ["audio"] and "damaged" in mute.broken["audio"]
    assert mute.sound.size == 0
    np.testing.assert_array_equal(np.stack(mute.frames), np.stack(whole.frames))
    blind = read(spoil(path, 0), Wanted())
    assert list(blind.broken) == ["visual"] and not blind.frames
    np.testing.assert_array_equal(blind.sound, whole.sound)
    with pytest.raises(MediaError, match="damaged"):
        read(spoil(path, 0, 1), Wanted())


def test_a_cover_is_no_video(tmp_path: Path) -> None:
    media = read(mux(tmp_path / "a.mp4", [(300, True)], frames=1, cover=True), Wanted())
    assert not media.frames and media.pixels == 0 and media.sound.size > RATE


def test_packets_without_content_end_nothing(tmp_path: Path) -> None:
    path = mediafiles.write(
        tmp_path / "a.flv", mediafiles.plain((9, 99, 9), 30), mediafiles.tone(300, 3),
        codec="flv", sound_codec="libmp3lame",
    )  # fmt: skip
    media = read(path, Wanted())
    assert media.sound.size > 2.9 * RATE and media.frames and not media.broken


def test_silence_is_sound(tmp_path: Path) -> None:
    path = mediafiles.write(tmp_path / "a.wav", sound=np.zeros(16_000), sound_codec="pcm_s16le")
    media = read(path, Wanted())
    assert media.sound.size > 5000 and not media.sound.any() and not media.broken


def test_hearing_stops(tmp_path: Path) -> None:
    path = mediafiles.write(
        tmp_path / "a.mp4", mediafiles.plain((9, 99, 9), 80), mediafiles.tone(300, 8)
    )
    media = read(path, Wanted(sound_seconds=2.0))
    assert media.sound.size == 2 * RATE and len(media.frames) == 6
    assert media.seconds == pytest.approx(8, abs=0.2)
    alone = read(path, Wanted(frames=0, sound_seconds=2.0))
    np.testing.assert_array_equal(alone.sound, media.sound)
    assert not alone.frames and alone.pixels == 0
    deaf = read(path, Wanted(sample_rate=0))
    assert deaf.sound.size == 0 and deaf.pixels == 64 * 48


def test_too_long(tmp_path: Path) -> None:
    path = mediafiles.write(tmp_path / "a.mp4", mediafiles.plain((9, 99, 9), 3), times=[0, 1, 400])
    with pytest.raises(MediaError, match="longer|more than 30") as caught:
        read(path, Wanted(), LimitSettings(max_duration_s=30))
    assert "features.limits.max_duration_s" in caught.value.remedy


def test_too_little_memory(tmp_path: Path) -> None:
    small = mediafiles.write(tmp_path / "a.mp4", mediafiles.plain((9, 99, 9), 3))
    large = mediafiles.write(
        tmp_path / "a.mkv", mediafiles.plain((9, 99, 9), 1, (7680, 4320)), codec="mjpeg",
        pixels="yuvj420p",
    )  # fmt: skip
    # 100 MB of RGB for the large one, in one piece
    settings = {"workers": 1, "seconds": 120.0, "memory": DATA_BYTES}
    ends = dict(run(partial(read, wanted=Wanted(side=None)), [small, large, small], **settings))
    assert isinstance(ends[0], Media) and isinstance(ends[2], Media), "the worker lives on"
    assert ends[1].kind == "raised" and "more memory" in ends[1].message
    assert "features.limits.max_memory" in ends[1].message


def test_packets_that_come_differently_are_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise LostError

    path = mediafiles.write(tmp_path / "a.mp4", mediafiles.plain((9, 99, 9), 3))
    monkeypatch.setattr("m3tr.features.packets.Supply.run", lost)
    with pytest.raises(MediaError, match="other packets") as caught:
        read(path, Wanted())
    assert not INNER.search(str(caught.value))


def noise(n: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 255, (n, 48, 64, 3), np.uint8))


def outcome(path: Path, **wanted: float) -> str:
    """ "v", "a", "va", or the reason of a refusal."""
    try:
        media = read(path, Wanted(**wanted))
    except MediaError as error:
        return error.reason
    return "v" * bool(media.frames) + "a" * bool(media.sound.size)


def test_sound_that_cannot_be_mixed_leaves_the_picture(tmp_path: Path) -> None:
    path = mediafiles.write(
        tmp_path / "a.avi", noise(40), mediafiles.tone(300, 4), codec="mjpeg", pixels="yuvj420p",
        sound_codec="pcm_s16le",
    )  # fmt: skip
    whole = read(path, Wanted())
    data = bytearray(path.read_bytes())
    at = data.index(b"strf", data.index(b"auds")) + 8
    struct.pack_into("<H", data, at + 2, 100)  # channels: more than the resampler knows
    struct.pack_into("<H", data, at + 12, 200)  # bytes of a sample of all of them
    path.write_bytes(data)
    media = read(path, Wanted())
    assert "resampled" in media.broken["audio"] and not media.sound.size
    assert not INNER.search(media.broken["audio"])
    np.testing.assert_array_equal(np.stack(media.frames), np.stack(whole.frames))


def test_a_longer_subtitle_promises_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        words = container.add_stream("subrip")
        words.codec_context.subtitle_header = b"[Script Info]\n[V4+ Styles]\n[Events]\n"
        for i, picture in enumerate(noise(30)):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts, frame.time_base = i, Fraction(1, 10)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for second in (0, 20):
            packet = av.Packet(b"end")
            packet.stream, packet.time_base = words, Fraction(1, 1000)
            packet.pts = packet.dts = 1000 * second
            packet.duration = 1000
            container.mux(packet)
    with av.open(str(path)) as container:
        assert container.duration > 20 * av.time_base
    assert outcome(path) == outcome(path, sample_rate=0) == "v"


@pytest.mark.parametrize("name, codec, options", [
    ("a.aac", "aac", {}), ("a.mp3", "libmp3lame", {"write_xing": "0", "id3v2_version": "0"}),
])  # fmt: skip
def test_a_length_guessed_from_the_bit_rate_promises_nothing(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path, parts = tmp_path / name, b""
    for seconds, bits in ((10, 16_000), (20, 64_000)):
        wave = np.random.default_rng(0).uniform(-1, 1, (1, seconds * RATE)).astype(np.float32)
        with av.open(str(path), "w", options=options) as container:
            track = container.add_stream(codec, rate=RATE, layout="mono")
            track.bit_rate = bits
            frame = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
            frame.sample_rate, frame.pts = RATE, 0
            container.mux(track.encode(frame))
            container.mux(track.encode(None))
        parts += path.read_bytes()
    path.write_bytes(parts)
    with av.open(str(path)) as container:
        assert container.duration > 45 * av.time_base, "the guess is wrong"
    assert outcome(path) == "a"
    assert read(path, Wanted(frames=0, sound_seconds=2)).seconds == pytest.approx(30, abs=0.5)


def test_each_stream_is_held_to_its_own_promise(tmp_path: Path) -> None:
    path = mediafiles.write(
        tmp_path / "a.avi", noise(20), mediafiles.tone(300, 4), codec="mjpeg", pixels="yuvj420p",
        sound_codec="pcm_s16le",
    )  # fmt: skip
    data = bytearray(path.read_bytes())
    assert outcome(path) == "va" and outcome(path, sample_rate=0) == "v"
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 40)  # frames
    path.write_bytes(data)
    told = "truncated: 4.0 s promised, 2.0 s readable"
    assert read(path, Wanted()).broken == {"visual": told}
    assert outcome(path) == outcome(path, frames=0) == "a"
    assert outcome(path, sample_rate=0) == told


def test_a_container_cut_short_is_refused_whatever_is_wanted(tmp_path: Path) -> None:
    path = mediafiles.write(tmp_path / "a.mkv", noise(40), mediafiles.tone(300, 4))
    path.write_bytes(path.read_bytes()[: int(0.4 * path.stat().st_size)])
    for wanted in ({}, {"frames": 0}, {"sample_rate": 0}):
        assert outcome(path, **wanted).startswith("truncated: 4."), wanted
    assert outcome(path, frames=0, sound_seconds=1) == "a", "all that is wanted is there"
    path = mediafiles.write(tmp_path / "b.mkv", noise(15), mediafiles.tone(300, 4))
    assert outcome(path) == "va" and outcome(path, sample_rate=0) == "v"


@pytest.mark.parametrize("name, sound", [
    ("a.mp4", "aac"), ("a.mkv", "aac"), ("a.ts", "mp2"), ("a.wav", "pcm_s16le"), ("a.aac", "aac"),
    ("a.mp3", "libmp3lame"),
])  # fmt: skip
def test_the_length_is_that_of_the_file_whatever_is_wanted(
    tmp_path: Path, name: str, sound: str
) -> None:
    moving = noise(200) if name in ("a.mp4", "a.mkv", "a.ts") else None
    path = mediafiles.write(
        tmp_path / name, moving, mediafiles.tone(300, 8), sound_codec=sound, rate=25
    )
    everything = [Wanted(sound_seconds=2), Wanted(frames=0, sound_seconds=2)]
    everything += [Wanted(sample_rate=0)] if moving else []
    for wanted in everything:
        assert read(path, wanted).seconds == pytest.approx(8, abs=0.2), wanted
        with pytest.raises(MediaError, match="s long, more than 5"):
            read(path, wanted, LimitSettings(max_duration_s=5))


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    path = mux(tmp_path / "a.mkv", [], ratio=2)
    assert read(path, Wanted(side=None)).frames[0].shape == (32, 96, 3)
    assert read(path, Wanted(side=48)).frames[0].shape == (16, 48, 3)


@pytest.mark.parametrize("display, turned", [
    ((1, 0, 0, 1), lambda p: p), ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    ((1, 0, 0, -1), lambda p: p[::-1]), ((-1, 0, 0, -1), lambda p: p[::-1, ::-1]),
    ((0, 1, -1, 0), lambda p: np.rot90(p, -1)), ((0, -1, 1, 0), np.rot90),
    ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
])  # fmt: skip
def test_turned_and_mirrored(tmp_path: Path, display: tuple[int, ...], turned: object) -> None:
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 255, (4, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    np.testing.assert_array_equal(upright(corner, display), turned(corner))  # type: ignore
    path = mediafiles.write(tmp_path / "a.mp4", [corner] * 3)
    plain = read(path, Wanted(frames=1)).frames[0]
    data = path.read_bytes()
    a, b, c, d = (value << 16 for value in display)
    old, new = (
        struct.pack(">9i", *m, 0, 0, 1 << 30)
        for m in ((1 << 16, 0, 0, 0, 1 << 16, 0), (a, b, 0, c, d, 0))
    )
    place = data.index(b"tkhd")
    path.write_bytes(data[:place] + data[place:].replace(old, new, 1))
    np.testing.assert_array_equal(read(path, Wanted(frames=1)).frames[0], turned(plain))  # type: ignore


def test_animations_are_videos(tmp_path: Path) -> None:
    greys = [Image.new("RGB", (40, 30), (g, g, g)) for g in (10, 90, 170, 250)]
    for name in ("a.webp", "a.png", "a.gif"):
        greys[0].save(
            tmp_path / name, save_all=True, append_images=greys[1:], duration=[100, 100, 100, 700]
        )
        media = read(tmp_path / name, Wanted(frames=5))
        means = [frame.mean() for frame in media.frames]
        np.testing.assert_allclose(means, [90, 250], atol=4, err_msg=name)
        assert media.seconds == pytest.approx(1.0, abs=0.05)


def test_stills_of_other_kinds(tmp_path: Path) -> None:
    if ".avif" not in Image.registered_extensions():
        pytest.skip("this Pillow does not read AVIF")
    Image.new("RGB", (400, 300), (200, 100, 50)).save(tmp_path / "a.avif")
    media = read(tmp_path / "a.avif", Wanted())
    assert media.frames[0].shape == (192, 256, 3) and media.pixels == 120_000
    assert read(tmp_path / "a.avif", Wanted(side=None)).frames[0].shape == (300, 400, 3)


OPENCV = """
import cv2, sys, numpy as np
video = cv2.VideoCapture(sys.argv[1])
frames = []
while True:
    good, frame = video.read()
    if not good:
        break
    frames.append(frame[:, :, ::-1])
np.save(sys.argv[2], np.stack(frames))
"""


@pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed")
@pytest.mark.parametrize("size", [(96, 96), (66, 50), (64, 36)])
def test_pixels_of_stored_size_are_those_of_opencv(tmp_path: Path, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frames = [
        np.asarray(
            Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).resize(
                size, Image.Resampling.BICUBIC
            )
        )
        for _ in range(6)
    ]
    path = mediafiles.write(tmp_path / "a.mp4", frames)
    # its own process: both libraries bring an FFmpeg of theirs
    subprocess.run([sys.executable, "-c", OPENCV, path, tmp_path / "a.npy"], check=True)
    theirs = np.load(tmp_path / "a.npy").astype(int)
    ours = np.stack(read(path, Wanted(frames=6, side=None)).frames)
    assert np.abs(ours - theirs).max() <= 2
