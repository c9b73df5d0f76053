"""The usual way to features of frames: OpenCV, one frame after the other through the network.

Started by benchmarks/extract.py in a process of its own: PyAV and OpenCV bring an FFmpeg each, and
may not meet in one. Writes the tokens of every file to an npz and prints its seconds as JSON.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModel

FRAMES = 6


def main() -> None:
    """Load the checkpoint, then read and encode file by file; the first file once before."""
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("out", help="npz: one array (T, D) a file, in order")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--way", choices=["seek", "through"], default="seek")
    options = parser.parse_args()
    read = {"seek": by_seeking, "through": reading_through}[options.way]
    encode(options.checkpoint, options.files[:1], read)  # what is imported late is imported
    tokens, times = encode(options.checkpoint, options.files, read)
    np.savez(options.out, *tokens)
    print(json.dumps(times))


def encode(
    checkpoint: str, files: list[str], read: Callable[[str], Iterator[np.ndarray]]
) -> tuple[list[np.ndarray], dict[str, float]]:
    """Tokens (T, D) by file; seconds, and what of them went to loading and to reading."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    start, cpu = time.perf_counter(), time.process_time()
    processor = AutoImageProcessor.from_pretrained(checkpoint)
    model = AutoModel.from_pretrained(checkpoint).eval().to(device)
    loaded = time.perf_counter()
    reading, tokens = 0.0, []
    for path in files:
        vectors, begun = [], time.perf_counter()
        for frame in read(path):
            reading += time.perf_counter() - begun
            with torch.inference_mode():
                inputs = processor(images=frame, return_tensors="pt").to(device)
                hidden = model(**inputs).last_hidden_state
            vectors.append(hidden.mean(1)[0].cpu().numpy())
            begun = time.perf_counter()
        reading += time.perf_counter() - begun
        tokens.append(np.stack(vectors))
    end = time.perf_counter()
    cpu = time.process_time() - cpu
    times = {"seconds": end - start, "cpu_s": cpu, "load_s": loaded - start, "reading_s": reading}
    return tokens, times


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
