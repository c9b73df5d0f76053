"""The features stage in a process of its own, as `m3tr features` runs it: time and memory.

`python -m benchmarks.fresh` reads one JSON object from its input and prints another. Nothing is
imported at the top that the stage does not need: it would be in its time and memory.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
POLL_SECONDS = 0.05


class Run(NamedTuple):
    """One extraction.

    Attributes
    ----------
    seconds : float
        Wall time of the process, from its start to its end.
    import_s, extract_s : float
        What of it went to the start of Python with the imports, and to `extract_to`.
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
        "start": time.time(),  # the two processes share no other clock
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
    memory: dict[str, float] = {}
    watcher = threading.Thread(target=_watch, args=(process.pid, memory))
    watcher.start()
    out, told = process.communicate(json.dumps(request))
    seconds = time.perf_counter() - start
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"the extraction failed: {told[-2000:]}")
    answer = json.loads(out.splitlines()[-1])
    for name in ("main_mb", "total_mb"):  # no poll has seen the end
        memory[name] = max(memory[name], answer["peak_mb"])
    return Run(seconds, **answer["times"], **memory, report=answer["report"])


def _watch(pid: int, memory: dict[str, float]) -> None:
    """Fill in memory in MB until the process ends; a peak (VmHWM) only grows while one lives."""
    import psutil

    own = helpers = together = polled = 0.0
    with suppress(psutil.Error):
        main = psutil.Process(pid)
        command = main.cmdline()
        while main.is_running() and main.status() != psutil.STATUS_ZOMBIE:
            own = max(own, _peak(pid))
            resident, peak = main.memory_info().rss / 1e6, 0.0
            for child in main.children(recursive=True):
                with suppress(psutil.Error):
                    if child.cmdline() != command:  # else a fork that still shares our memory
                        peak += _peak(child.pid)
                        resident += child.memory_info().rss / 1e6
            helpers = max(helpers, peak)
            together, polled = max(together, own + peak), max(polled, resident)
            time.sleep(POLL_SECONDS)
    memory |= {"main_mb": own, "workers_mb": helpers, "total_mb": together, "polled_mb": polled}


def _peak(pid: int | str) -> float:
    with suppress(OSError):  # it has ended
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _main() -> None:
    import polars as pl

    from m3tr.features.extract import extract_to
    from m3tr.features.settings import FeatureSettings

    imported = time.time()
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
    times = {"import_s": imported - request["start"], "extract_s": time.time() - imported}
    print(json.dumps({"times": times, "peak_mb": _peak("self"), "report": report}))


if __name__ == "__main__":
    _main()
