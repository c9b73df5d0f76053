"""Small pictures of media files: few bytes, in order, and no trouble with files that are broken."""

import io

import numpy as np
import pytest
from PIL import Image

from m3tr.features.settings import LimitSettings
from m3tr.features.strips import FRAMES, SIDE, strips

COLOURS = ("red", "lime", "blue")


@pytest.fixture
def media(tmp_path):
    """A folder of files and the media cell of each video."""
    root = tmp_path / "data"
    root.mkdir()
    frames = [Image.new("RGB", (600, 400), c) for c in COLOURS]
    frames[0].save(root / "moving.png", save_all=True, append_images=frames[1:], duration=500)
    noise = np.random.default_rng(0).integers(0, 255, (900, 1600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "noise.jpg")
    (root / "broken.mp4").write_bytes(b"\0\0\0\x20ftypisom" + b"\1" * 900)
    (root / "empty.mp4").touch()
    (tmp_path / "outside.png").write_bytes((root / "moving.png").read_bytes())
    names = ("moving.png", "noise.jpg", "broken.mp4", "empty.mp4", "../outside.png", "none.mp4")
    return root, {name: name for name in names} | {"nothing": None}


def test_pictures_are_small_and_in_the_order_of_time(media):
    found = strips(media[1], media[0])
    assert list(found) == ["moving.png", "noise.jpg"]
    pictures = [Image.open(io.BytesIO(data)) for data in found["moving.png"]]
    assert len(pictures) == FRAMES and all(max(p.size) == SIDE for p in pictures)
    for picture, channel in zip(pictures, range(3), strict=True):
        assert np.asarray(picture).mean((0, 1)).argmax() == channel
    assert all(len(data) < 8_000 for strip in found.values() for data in strip)


def test_limits_hold(media):
    small = LimitSettings(max_pixels=600 * 400)
    assert list(strips(media[1], media[0], small)) == ["moving.png"]


def test_no_media_starts_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)
    assert strips({"a": None, "b": "gone.mp4"}, tmp_path) == {}
