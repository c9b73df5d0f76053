"""What a hostile file is, and the folder that collects them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CUT = (
    "not a readable|not a picture|truncated|damaged|neither picture nor sound|codec|no decoder"
    "|more memory"
)
PIXELS = "pixels"
TOO_LONG = "longer|long|truncated|promise"
# what a user cannot make sense of: inner errors of Python, of the system and of the decoder
INNER = re.compile(
    r"Traceback|NoneType|has no attribute|Errno|Operation not permitted|Error number|object at 0x"
    r"|not supported between|unpack|out of range|codec can't|FileNotFound|[a-z]Error\b"
)


@dataclass(frozen=True)
class Case:
    """One hostile file.

    Attributes
    ----------
    name : str
        Unique; the video_id.
    group : str
        The class it belongs to.
    cell : str
        The media cell, relative to the data folder.
    how : str
        How it is made.
    wanted : tuple of str
        The sensible outcomes: "va", "v", "a" (extracted, with picture and/or sound), "-" (refused).
        More than one where the bytes allow more than one reading. Where a refusal is sensible, so
        is the use of one modality with the other listed.
    reason : str
        Pattern of the reason of a refusal.
    """

    name: str
    group: str
    cell: str
    how: str
    wanted: tuple[str, ...]
    reason: str = ""


class Corpus:
    """Cases and their files below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cases: list[Case] = []
        self.group = ""

    def case(
        self, name: str, how: str, wanted: str, reason: str = CUT, *, cell: str | None = None
    ) -> Path:
        """Enter a case; `wanted` lists outcomes with "|". Returns where its file goes."""
        folder = self.root / self.group
        folder.mkdir(parents=True, exist_ok=True)
        cell = f"{self.group}/{name}" if cell is None else cell
        outcomes = tuple(wanted.split("|"))
        assert set(outcomes) <= {"va", "v", "a", "-"}, wanted
        self.cases.append(
            Case(
                f"{self.group}/{name}",
                self.group,
                cell,
                how,
                outcomes,
                reason if "-" in outcomes else "",
            )
        )
        return folder / name

    def add(
        self, name: str, content: bytes | bytearray, how: str, wanted: str, reason: str = CUT
    ) -> None:
        """A file of these bytes."""
        self.case(name, how, wanted, reason).write_bytes(content)

    def cuts(
        self,
        stem: str,
        content: bytes,
        places: Sequence[tuple[str, int]],
        wanted: str = "-",
        reason: str = CUT,
    ) -> None:
        """The file cut at each of the places (what is there, bytes kept)."""
        name, _, ending = stem.rpartition(".")
        for what, kept in places:
            self.add(
                f"{name}-{what}.{ending}", content[:kept], f"{stem} cut at {what}", wanted, reason
            )
