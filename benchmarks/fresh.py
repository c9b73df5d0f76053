"""The features stage in a process of its own, as `m3tr features` runs it: time and memory.

`python -m benchmarks.fresh` reads one JSON object from its input and prints another.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.workspaces import REPOSITORY

POLL_SECONDS = 0.05


class Run(NamedTuple):
    """One extraction.

    Attributes
    ----------
    seconds : float
        Wall time of the process, from its start to its end.
    import_s, extract_s : float
        What of it went to the imports, and to `extract_to`.
    main_mb, workers_mb, total_mb : float
        Peak resident memory (VmHWM) of the process, of its workers together, and of both.
    polled_mb : float
        Largest sum of resident memory at one time.
    report : dict
        Of `extract_to`.
    """

    seconds: float
    import_s: float
    extract_s: float
    main_mb: float
    workers_mb: float
    total_mb: float
    polled_mb: float
    report: dict[str, Any]


def extraction(
    folder: Path,
    videos: Sequence[Path],
    cache_dir: Path,
    settings: dict[str, Any] | None = None,
    titles: bool = True,
) -> Run:
    """Run `extract_to` on the files, which lie in one folder, each with a title of its own."""
    request = {
        "folder": str(folder),
        "data_dir": str(videos[0].parent),
        "media": [path.name for path in videos],
        "cache_dir": str(cache_dir),
        "settings": settings or {},
        "titles": titles,
    }
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.fresh"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(request))
    process.stdin.close()
    process.stdin = None
    memory = _watch(process)
    seconds = time.perf_counter() - start
    out, told = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the extraction failed: {told[-2000:]}")
    answer = json.loads(out.splitlines()[-1])
    return Run(seconds, **answer.pop("times"), **memory, report=answer["report"])


def _watch(process: subprocess.Popen[str]) -> dict[str, float]:
    """Memory in MB until the process ends; a peak (VmHWM) only ever grows while a process lives."""
    main = psutil.Process(process.pid)
    own = helpers = together = polled = 0.0
    while process.poll() is None:
        with suppress(psutil.Error, OSError):
            own = max(own, _peak(main.pid))
            resident, peak = main.memory_info().rss / 1e6, 0.0
            for child in main.children(recursive=True):
                with suppress(psutil.Error, OSError):
                    peak += _peak(child.pid)
                    resident += child.memory_info().rss / 1e6
            helpers = max(helpers, peak)
            together, polled = max(together, own + peak), max(polled, resident)
        time.sleep(POLL_SECONDS)
    return {"main_mb": own, "workers_mb": helpers, "total_mb": together, "polled_mb": polled}


def _peak(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _main() -> None:
    start = time.perf_counter()
    import polars as pl

    from m3tr.features.extract import extract_to
    from m3tr.features.settings import FeatureSettings

    imported = time.perf_counter()
    request = json.load(sys.stdin)
    names = request["media"]
    columns = {"video_id": names, "media": names}
    if request["titles"]:
        columns["title"] = [f"clip {name}, seen at the lake with friends" for name in names]
    quarantine, report = extract_to(
        Path(request["folder"]),
        pl.DataFrame(columns),
        Path(request["data_dir"]),
        FeatureSettings.model_validate(request["settings"]),
        cache_dir=Path(request["cache_dir"]),
    )
    assert quarantine.is_empty(), quarantine
    times = {"import_s": imported - start, "extract_s": time.perf_counter() - imported}
    print(json.dumps({"times": times, "report": report}))


if __name__ == "__main__":
    _main()
