"""The one resource: it brings a stage up to date through DVC and reads what the stage reported."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from m3tr.errors import InputError
from m3tr.pipeline import prepare
from orchestration.failure import StageFailedError
from orchestration.graph import Stage, data_version
from orchestration.report import metadata, read_report

STOP_SECONDS = 10.0


class StageRunner(dg.ConfigurableResource):
    """Runs `dvc repro -s <stage>` in a workspace.

    Attributes
    ----------
    workspace : str
        Folder that holds `dvc.yaml`.
    """

    workspace: str

    def materialize(self, stage: Stage, log: Callable[[str], object]) -> dg.MaterializeResult:
        """Bring `stage` up to date.

        Parameters
        ----------
        stage : Stage
            The stage; its upstream stages are left as they are.
        log : callable
            Takes each line of output as it comes.

        Returns
        -------
        MaterializeResult
            With the figures of the stage's report and the version in `dvc.lock`.

        Raises
        ------
        StageFailedError
            With the sentence that the stage (or DVC) printed.
        """
        folder = Path(self.workspace)
        try:
            prepare(folder)  # params.yaml may have been edited since `m3tr run`
        except InputError as error:
            raise StageFailedError([f"error: {error}"], stage.name) from None
        lines = self._repro(stage.name, log)
        cached = not _ran(lines, stage.name)
        version = data_version(folder, stage)
        return dg.MaterializeResult(
            metadata={**metadata(folder, stage), "cached": dg.MetadataValue.bool(cached)},
            data_version=dg.DataVersion(version) if version else None,
        )

    def _repro(self, stage: str, log: Callable[[str], object]) -> list[str]:
        command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-s", stage]
        lines = []
        with _started(command, self.workspace) as process:
            assert process.stdout is not None
            for raw in process.stdout:
                if line := raw.rstrip():
                    lines.append(line)
                    log(line)
        if process.returncode:
            # DVC removed what an earlier run had written, so this is the failed run's own
            report = read_report(Path(self.workspace), stage) if _ran(lines, stage) else {}
            raise StageFailedError(lines, stage, (report.get("figures") or {}).get("failed") or ())
        return lines


def _ran(lines: list[str], stage: str) -> bool:
    """Whether DVC ran the stage, and did not find it unchanged."""
    return any(line.startswith(f"Running stage '{stage}'") for line in lines)


@contextmanager
def _started(command: list[str], folder: str) -> Iterator[subprocess.Popen[str]]:
    """Process in a group of its own, which is ended as a whole if we are interrupted."""
    bin_dir = os.path.dirname(sys.executable)  # where `m3tr` lies, activated or not
    environment = os.environ | {
        "PATH": os.pathsep.join([bin_dir, os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "DVC_NO_ANALYTICS": "1",
    }
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
        process.wait()
    finally:
        # DVC ignores SIGINT while a command runs, so the command itself has to get it
        for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if process.poll() is not None:
                break
            os.killpg(process.pid, kind)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
