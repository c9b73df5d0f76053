"""How a failed stage shows in Dagster: the sentence it printed, without a stack trace."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.errors import DagsterUserCodeProcessError
from dagster._utils.error import SerializableErrorInfo

TAIL_LINES = 30


class StageFailedError(DagsterUserCodeProcessError, dg.Failure):
    """Failure of another process.

    Dagster shows the frames of its own machinery under a plain `Failure`. An error it takes for
    one of another process it shows as that process told it, and here that is one sentence. Rules
    that the stage found `broken` stand beside it.
    """

    def __init__(self, lines: list[str], stage: str, broken: Sequence[str] = ()) -> None:
        sentence = failure_sentence(lines, stage)
        output = "\n".join(["```text", *lines[-TAIL_LINES:], "```"])
        metadata: dict[str, dg.MetadataValue] = {"output": dg.MetadataValue.md(output)}
        if broken:
            metadata["failed"] = dg.MetadataValue.json(list(broken))
        told = SerializableErrorInfo(message=sentence, stack=[], cls_name="Failure")
        super().__init__(
            description=sentence,
            metadata=metadata,
            allow_retries=False,
            user_code_process_error_infos=[told],
        )


def failure_sentence(lines: list[str], stage: str) -> str:
    """What went wrong, in the words of the stage (`error: ...`) or else of DVC (`ERROR: ...`)."""
    for prefix in ("error: ", "ERROR: "):
        for line in reversed(lines):
            if line.startswith(prefix):
                return line.removeprefix(prefix)
    return lines[-1] if lines else f"stage {stage} failed without a word; run `dvc repro {stage}`"
