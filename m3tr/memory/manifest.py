"""The manifest of a bank: what it holds and what it was made with. It is written last."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from m3tr.errors import InputError

SCHEMA = 2
NAME = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What is true of a bank as a whole.

    Attributes
    ----------
    layout : dict of str to int
        Parts of a key and their dimensions: `trajectory`, then the modalities.
    younger : list of float
        Ages, days, at which items have a trajectory key beside that at the task's own.
    eta : float
        Weight of the trajectory where a search names none.
    weights : dict of str to float
        Weights of the modalities where a search names none.
    fingerprints : dict of str to str
        Of the point process (`mhp`), of each encoder, and of what makes the keys (`keys`).
    numbers : dict
        How the videos' numbers become a modality (`Numbers.state`); empty where they do not.
    index : dict
        Settings of the index that large segments get; empty where none do.
    learned : dict
        How `eta` and `weights` were found, where they were learned.
    provenance : list of dict
        Where the items come from: one entry for each time that some were added, with their number.
    segments : list of dict
        `name` and `items` of each, oldest first.
    """

    layout: Mapping[str, int]
    younger: list[float] = field(default_factory=list)
    eta: float = 0.5
    weights: Mapping[str, float] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)
    index: Mapping[str, Any] = field(default_factory=dict)
    learned: Mapping[str, Any] = field(default_factory=dict)
    provenance: list[Mapping[str, Any]] = field(default_factory=list)
    segments: list[dict[str, Any]] = field(default_factory=list)

    @property
    def modalities(self) -> list[str]:
        """Modalities of the content keys, in the order of their columns."""
        return [part for part in self.layout if part != "trajectory"]

    def slices(self) -> dict[str, slice]:
        """Columns of each part of a key."""
        out, start = {}, 0
        for part, width in self.layout.items():
            out[part] = slice(start, start + width)
            start += width
        return out

    def told(self, items: int, provenance: Mapping[str, Any] | None) -> "Manifest":
        """The manifest when so many items have come from somewhere."""
        return replace(
            self, provenance=[*self.provenance, {"items": items} | dict(provenance or {})]
        )

    def write(self, folder: Path) -> None:
        """Put the manifest in the place of the old one, at once."""
        partial = folder / (NAME + ".partial")
        with open(partial, "w") as file:
            json.dump({"schema": SCHEMA} | asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, folder / NAME)

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """InputError where `folder` holds none, or one of another schema."""
        try:
            stored = json.loads((folder / NAME).read_text())
            schema = stored.pop("schema")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                f"{folder} holds no memory bank: run the stage `bank` to build it"
            ) from None
        if schema != SCHEMA:
            raise InputError(
                f"{folder} is a memory bank of schema {schema}, this version reads {SCHEMA}: run "
                "the stage `bank` to rebuild it"
            )
        try:
            return cls(**stored)
        except TypeError:
            raise InputError(
                f"{folder / NAME} is damaged: run the stage `bank` to rebuild it"
            ) from None

    def require(self, fingerprints: Mapping[str, str], folder: Path) -> None:
        """InputError where the bank was made with something else than these fingerprints."""
        for name, wanted in fingerprints.items():
            own = self.fingerprints.get(name)
            if own is not None and own != wanted:
                ours = {"mhp": "point process", "keys": "maker of keys"}
                what = ours.get(name, f"{name} encoder")
                raise InputError(
                    f"{folder} was made with another {what} ({own[:12]}, not {wanted[:12]}), so "
                    "its keys cannot be compared: run the stage `bank` to rebuild it"
                )
