"""Decoding: what is read from honest files, what is refused of hostile ones."""

import os
from pathlib import Path

import mediafiles
import numpy as np
import pytest
from PIL import Image

from m3tr.data.sources import mediafiles as listing
from m3tr.features.media import Media, MediaError, Wanted, locate, read
from m3tr.features.settings import LimitSettings

RATE = 16_000
FRAME_SIDE = 256


def decode(path: Path, frames: int = 6, **limits: float) -> Media:
    return read(path, Wanted(frames, FRAME_SIDE, RATE), LimitSettings(**limits))


def grey_steps(n: int, size: int = 64) -> list[np.ndarray]:
    return [
        np.full((size, size, 3), round(20 + 200 * i / max(1, n - 1)), np.uint8) for i in range(n)
    ]


@pytest.mark.parametrize("name, codec, sound", [
    ("a.mp4", "libx264", "aac"), ("a.webm", "libvpx-vp9", "libopus"),
    ("a.mkv", "libx264", "aac"), ("a.avi", "mpeg4", "pcm_s16le"),
])  # fmt: skip
def test_reads_picture_and_sound(tmp_path: Path, name: str, codec: str, sound: str) -> None:
    rate = 48_000
    path = mediafiles.write(
        tmp_path / name, grey_steps(20), mediafiles.tone(440, 2, rate), codec=codec,
        sound_codec=sound, sound_rate=rate,
    )  # fmt: skip
    media = decode(path)
    means = [frame.mean() for frame in media.frames]
    wanted = [20 + 200 * int((i + 0.5) / 6 * 20) / 19 for i in range(6)]
    assert len(media.frames) == 6 and media.frames[0].shape == (64, 64, 3)
    np.testing.assert_allclose(means, wanted, atol=12)
    assert media.sound.size == pytest.approx(2 * RATE, rel=0.05)
    spectrum = np.abs(np.fft.rfft(media.sound))
    assert np.argmax(spectrum) / media.sound.size * RATE == pytest.approx(440, abs=3)


def test_seeking_in_a_long_video_finds_the_same_frames(tmp_path: Path) -> None:
    frames = grey_steps(200)
    path = mediafiles.write(tmp_path / "long.mp4", frames, rate=4)  # 50 s: the seeking path
    means = [frame.mean() for frame in decode(path, 5).frames]
    wanted = [frames[int((i + 0.5) / 5 * 200)].mean() for i in range(5)]
    np.testing.assert_allclose(means, wanted, atol=4)


def test_variable_frame_rate_samples_time_not_frames(tmp_path: Path) -> None:
    # nine frames in the first 0.9 s, then one frame that stays for 9.1 s more
    frames = [*mediafiles.plain((0, 0, 0), 9), *mediafiles.plain((255, 255, 255), 2)]
    path = mediafiles.write(tmp_path / "v.mp4", frames, times=[*range(9), 10, 100])
    means = [frame.mean() for frame in decode(path, 10).frames]
    assert len(means) <= 3, "a frame on screen at several wanted times is one token"
    assert means[0] < 30 and means[-1] > 220


def test_a_video_shorter_than_the_sample_gives_fewer_frames(tmp_path: Path) -> None:
    path = mediafiles.write(tmp_path / "s.mp4", grey_steps(3))
    assert len(decode(path, 6).frames) == 3


def test_rotation_is_honoured(tmp_path: Path) -> None:
    frame = np.zeros((48, 96, 3), np.uint8)
    frame[:, :48] = 255  # bright left half
    upright = {
        rotation: decode(
            mediafiles.write(tmp_path / f"{rotation}.mp4", [frame] * 5, rotation=rotation)
        ).frames[0].mean(2)
        for rotation in (90, 180, -90)
    }  # fmt: skip
    for rotation, picture in upright.items():
        wanted = np.rot90(frame.mean(2), rotation // 90)
        assert picture.shape == wanted.shape
        assert np.abs(picture - wanted).mean() < 12, rotation


@pytest.mark.parametrize(
    "width, height", [(1, 1), (3, 5), (33, 17), (640, 6), (2, 500), (1280, 720)]
)
def test_odd_sizes(tmp_path: Path, width: int, height: int) -> None:
    frames = mediafiles.plain((200, 100, 50), 4, (width, height))
    path = mediafiles.write(tmp_path / "o.mkv", frames, codec="ffv1", pixels="bgr0")
    (first, *_) = decode(path).frames
    assert max(first.shape) <= FRAME_SIDE
    assert (
        first.shape[1] / first.shape[0] == pytest.approx(width / height, rel=0.34)
        or 1 in first.shape
    )
    np.testing.assert_allclose(first.reshape(-1, 3).mean(0), (200, 100, 50), atol=4)


def test_stills_are_told_by_content_and_turned_upright(tmp_path: Path) -> None:
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, :40] = 255
    image = Image.fromarray(picture)
    for name, form in (("a.jpg", "JPEG"), ("b.png", "PNG"), ("c.webp", "WEBP"), ("d.mp4", "PNG")):
        image.save(tmp_path / name, form)
        media = decode(tmp_path / name)
        assert len(media.frames) == 1 and media.sound.size == 0
        assert np.abs(media.frames[0].astype(int) - picture).mean() < 4
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter clockwise
    image.save(tmp_path / "e.jpg", exif=exif)
    turned = decode(tmp_path / "e.jpg").frames[0]
    assert turned.shape[:2] == (80, 40) and turned[:40].mean() > 200


def test_previews_behind_a_jpeg_are_no_animation(tmp_path: Path) -> None:
    first = Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 50).convert("RGB")
    path = tmp_path / "a.jpg"
    first.save(path, "MPO", save_all=True, append_images=[Image.new("RGB", (32, 24), "red")] * 2)
    media = decode(path)
    assert len(media.frames) == 1 and media.seconds == 0
    assert np.abs(media.frames[0].astype(int) - np.asarray(first)).mean() < 4


def test_every_picture_that_is_listed_is_read(tmp_path: Path) -> None:
    for suffix in listing.KINDS["picture"].split():
        if suffix not in Image.registered_extensions():
            continue  # a Pillow without AVIF
        path = tmp_path / f"a{suffix}"
        Image.new("RGB", (40, 30), (200, 100, 50)).save(path)
        (frame,) = decode(path).frames
        np.testing.assert_allclose(frame.mean((0, 1)), (200, 100, 50), atol=4, err_msg=suffix)
    assert ".avif" in listing.KINDS["picture"]


def test_our_limit_of_pixels_decides_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png").pixels == 1200
    with pytest.raises(MediaError, match="40 x 30 pixels, more than 300"):
        decode(tmp_path / "a.png", max_pixels=300)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("size, whole", [
    (0, True), (0x7FFFFFFF, True), (0x7FFFF024, True), (2**32 - 1, True), (1, True), (2, False),
])  # fmt: skip
def test_sizes_that_a_pipe_leaves(tmp_path: Path, size: int, whole: bool) -> None:
    path = mediafiles.write(tmp_path / "a.wav", sound=mediafiles.tone(300), sound_codec="pcm_s16le")
    data = bytearray(path.read_bytes())
    size = len(data) - 8 + size if 0 < size < 9 else size
    data[4:8] = size.to_bytes(4, "little")
    path.write_bytes(data)
    if whole:
        assert decode(path).sound.size > RATE * 0.9
        return
    with pytest.raises(MediaError, match="truncated"):
        decode(path)


def test_absent_modalities_are_no_error(tmp_path: Path) -> None:
    silent = decode(mediafiles.write(tmp_path / "a.mp4", grey_steps(5)))
    assert silent.frames and silent.sound.size == 0
    for name, codec in (("b.wav", "pcm_s16le"), ("c.m4a", "aac"), ("d.mp3", "libmp3lame")):
        media = decode(
            mediafiles.write(tmp_path / name, sound=mediafiles.tone(300), sound_codec=codec)
        )
        assert not media.frames and media.sound.size > RATE * 0.9


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.98])
@pytest.mark.parametrize("layout", ["", "faststart", "frag_keyframe+empty_moov"])
def test_truncated_files_are_refused(tmp_path: Path, share: float, layout: str) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(30)]
    options = {"movflags": layout} if layout else {}
    whole = mediafiles.write(tmp_path / "w.mp4", frames, mediafiles.tone(300, 3), options=options)
    assert len(decode(whole).frames) == 6
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: int(len(data) * share)])
    if layout.startswith("frag") and share > 0.5:
        return  # made to be cut: what arrived is a complete, shorter film
    with pytest.raises(MediaError):
        decode(cut)


def test_damaged_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    data = mediafiles.write(
        tmp_path / "w.mp4", [rng.integers(0, 255, (32, 32, 3), np.uint8) for _ in range(10)],
        mediafiles.tone(300),
    ).read_bytes()  # fmt: skip
    refused = 0
    for trial in range(60):
        broken = bytearray(data)
        for place in rng.integers(0, len(data), 2 ** (trial % 8)):
            broken[place] = rng.integers(256)
        path = tmp_path / "b.mp4"
        path.write_bytes(bytes(broken))
        try:
            decode(path, max_seconds_decoding=5)
        except MediaError:
            refused += 1
    assert refused > 5


@pytest.mark.parametrize("content", [
    b"just a text, not a film\n" * 50,
    b"#EXTM3U\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
    b"ffconcat version 1.0\nfile other.mp4\n",
    b"\x89PNG\r\n\x1a\nand nothing more", b"\xff\xd8\xff\xe0 no jpeg",
    os.urandom(5000), b"\0" * 5000,
])  # fmt: skip
def test_what_is_not_media_is_refused(tmp_path: Path, content: bytes) -> None:
    mediafiles.write(tmp_path / "other.mp4", grey_steps(5))
    path = tmp_path / "renamed.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError) as caught:
        decode(path)
    assert caught.value.reason and caught.value.remedy


def test_limits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = mediafiles.write(
        tmp_path / "a.mp4", [rng.integers(0, 255, (128, 128, 3), np.uint8) for _ in range(60)]
    )
    with pytest.raises(MediaError, match="pixels"):
        decode(path, max_pixels=1000)
    with pytest.raises(MediaError, match="longer than"):
        decode(path, max_seconds_decoding=1e-4)
    Image.new("RGB", (300, 300)).save(tmp_path / "a.png")
    with pytest.raises(MediaError, match="pixels"):
        decode(tmp_path / "a.png", max_pixels=1000)
    with pytest.raises(MediaError, match="bytes"):
        locate(tmp_path, "a.mp4", LimitSettings(max_bytes=10))


def test_paths_stay_inside_the_data_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "media").mkdir(parents=True)
    outside = mediafiles.write(tmp_path / "secret.mp4", grey_steps(3))
    (data / "link.mp4").symlink_to(outside)
    (data / "up.mp4").symlink_to(Path("..") / "secret.mp4")
    (data / "loop.mp4").symlink_to("loop.mp4")
    (data / "zero.mp4").touch()
    os.mkfifo(data / "pipe.mp4")
    mediafiles.write(data / "ok.mp4", grey_steps(3))
    (data / "media" / "inner.mp4").symlink_to(Path("..") / "ok.mp4")
    limits = LimitSettings()
    for cell, reason in {
        "../secret.mp4": "outside", str(outside): "outside", "link.mp4": "outside",
        "up.mp4": "outside", "media": "regular", "pipe.mp4": "regular", "zero.mp4": "empty",
        "none.mp4": "exist", "a\0b": "null", "x" * 5000: "followed", "loop.mp4": "followed|exist",
    }.items():  # fmt: skip
        with pytest.raises(MediaError, match=reason):
            locate(data, cell, limits)
    assert locate(data, "media/../ok.mp4", limits) == (data / "ok.mp4").resolve()
    assert locate(data, "media/inner.mp4", limits) == (data / "ok.mp4").resolve()
