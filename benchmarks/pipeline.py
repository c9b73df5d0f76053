"""How long does the pipeline take? Every stage on the sample, in one process, from nothing."""

import argparse
import time
from pathlib import Path

from benchmarks.workspaces import settings_of, workspace_of, write_settings
from m3tr.stages import STAGES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.add_argument("--keep", type=Path, help="workspace to keep, instead of a temporary one")


def run(options: argparse.Namespace) -> dict[str, float]:
    """Time the stages in order; `{stage: seconds}`.

    A stage's time contains the imports that it is the first to need; DVC's own is not measured.
    """
    seconds: dict[str, float] = {}
    rows: dict[str, int] = {}
    with workspace_of("sample", options.keep) as workspace:
        write_settings(workspace, settings_of("sample", options.quick))
        for name, stage in STAGES.items():
            start = time.perf_counter()
            rows[name] = stage(workspace).rows
            seconds[name] = round(time.perf_counter() - start, 2)
    total = sum(seconds.values())
    print(f"{'stage':12} {'rows':>7} {'seconds':>8} {'share':>6}")
    for name, value in seconds.items():
        print(f"{name:12} {rows[name]:7} {value:8.2f} {value / total:6.0%}")
    print(f"{'all':12} {'':7} {total:8.2f}")
    return seconds
