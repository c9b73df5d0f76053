"""The usual way to features of frames: OpenCV, one frame after the other through the network.

Started by benchmarks/extract.py in a process of its own: PyAV and OpenCV bring an FFmpeg each, and
may not meet in one. Writes the tokens of every file to an npz and prints its seconds as JSON.
"""

import argparse
import json
import time
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModel

FRAMES = 6


def main() -> None:
    """Load the checkpoint, then read and encode file by file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("out", help="npz: one array (T, D) a file, in order")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--way", choices=["seek", "through"], default="seek")
    options = parser.parse_args()
    read = {"seek": by_seeking, "through": reading_through}[options.way]
    start = time.perf_counter()
    processor = AutoImageProcessor.from_pretrained(options.checkpoint)
    model = AutoModel.from_pretrained(options.checkpoint).eval()
    loaded = time.perf_counter()
    reading, tokens = 0.0, []
    for path in options.files:
        vectors, begun = [], time.perf_counter()
        for frame in read(path):
            reading += time.perf_counter() - begun
            with torch.inference_mode():
                inputs = processor(images=frame, return_tensors="pt")
                hidden = model(**inputs).last_hidden_state
            vectors.append(hidden.mean(1)[0].numpy())
            begun = time.perf_counter()
        reading += time.perf_counter() - begun
        tokens.append(np.stack(vectors))
    end = time.perf_counter()
    np.savez(options.out, *tokens)
    print(json.dumps({"seconds": end - start, "load_s": loaded - start, "reading_s": reading}))


def indices(count: int) -> list[int]:
    """The frames at the middles of equal parts."""
    return [int((i + 0.5) / FRAMES * count) for i in range(FRAMES)]


def by_seeking(path: str) -> Iterator[np.ndarray]:
    """RGB frames, one seek each."""
    capture = cv2.VideoCapture(path)
    for i in indices(int(capture.get(cv2.CAP_PROP_FRAME_COUNT))):
        capture.set(cv2.CAP_PROP_POS_FRAMES, i)
        yield _rgb(capture.read(), path)
    capture.release()


def reading_through(path: str) -> Iterator[np.ndarray]:
    """RGB frames, every frame of the file read."""
    capture = cv2.VideoCapture(path)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = set(indices(count))
    for i in range(count):
        found = capture.read()
        if i in wanted:
            yield _rgb(found, path)
    capture.release()


def _rgb(found: tuple[bool, np.ndarray], path: str) -> np.ndarray:
    there, frame = found
    if not there:
        raise RuntimeError(f"{path}: OpenCV gives no frame")
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


if __name__ == "__main__":
    main()
