"""The stages of a workspace and which of them feeds which, read from its `dvc.yaml`.

The asset graph is built from this reading, so it cannot differ from what `dvc repro` follows.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from m3tr.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Stage:
    """One stage of `dvc.yaml`.

    Attributes
    ----------
    name : str
        Also the name of its asset and of its verb, `m3tr <name>`.
    description : str
        Its `desc`.
    command : str
        What DVC runs.
    outs : tuple of str
        Every path it writes (outs, metrics, plots), relative to the workspace.
    upstream : tuple of str
        Stages that write something it reads, in the order of `dvc.yaml`.
    """

    name: str
    description: str
    command: str
    outs: tuple[str, ...]
    upstream: tuple[str, ...]


def workspace() -> Path:
    """Folder that holds `data/`, `params.yaml` and `dvc.yaml`.

    Taken from the environment variable `M3TR_WORKSPACE`; the repository where that is unset.
    """
    return Path(os.environ.get("M3TR_WORKSPACE") or REPOSITORY).expanduser().resolve()


def read_stages(folder: Path) -> dict[str, Stage]:
    """Stages of the `dvc.yaml` in `folder`, by name, in the order of the file.

    Raises
    ------
    InputError
        If there is no `dvc.yaml`, or it uses a form whose paths only DVC can resolve.
    """
    path = folder / "dvc.yaml"
    if not path.is_file():
        raise InputError(
            f"{path}: not found; a workspace is a folder with dvc.yaml, params.yaml and data/ "
            "(set M3TR_WORKSPACE)"
        )
    raw: dict[str, Any] = (yaml.safe_load(path.read_text()) or {}).get("stages") or {}
    for name, body in raw.items():
        if "cmd" not in body or "${" in str(body):
            raise InputError(
                f"{path}: stage {name} uses a template, foreach or matrix; write its cmd, deps "
                "and outs out in full"
            )
    outs = {name: _written(body) for name, body in raw.items()}
    return {
        name: Stage(
            name=name,
            description=str(body.get("desc", "")).strip(),
            command=str(body["cmd"]),
            outs=outs[name],
            upstream=tuple(
                other
                for other in raw
                if other != name and _touch(_paths(body, ("deps",)), outs[other])
            ),
        )
        for name, body in raw.items()
    }


def data_version(folder: Path, stage: Stage) -> str | None:
    """Version of what `stage` wrote, from the md5 sums in `dvc.lock`; None where it has no outs.

    One out gives its md5 as it stands, several the md5 of their sorted paths and sums. Reports
    count only where a stage writes nothing else: they hold wall times, which are no data.
    """
    path = folder / "dvc.lock"
    lock = (yaml.safe_load(path.read_text()) or {}) if path.is_file() else {}
    entries = (lock.get("stages") or {}).get(stage.name, {}).get("outs") or []
    sums = {entry["path"]: str(entry["md5"]) for entry in entries if "md5" in entry}
    kept = {path: md5 for path, md5 in sums.items() if not path.startswith("reports/")} or sums
    if len(kept) <= 1:
        return next(iter(kept.values()), None)
    text = "".join(f"{path} {md5}\n" for path, md5 in sorted(kept.items()))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _written(body: dict[str, Any]) -> tuple[str, ...]:
    return _paths(body, ("outs", "metrics", "plots"))


def _paths(body: dict[str, Any], keys: Iterable[str]) -> tuple[str, ...]:
    """Paths under `keys`; an entry is a path or a mapping from one path to its flags."""
    entries = [entry for key in keys for entry in body.get(key) or []]
    named = [next(iter(entry)) if isinstance(entry, dict) else str(entry) for entry in entries]
    return tuple(os.path.normpath(os.path.join(body.get("wdir", "."), path)) for path in named)


def _touch(reads: Iterable[str], writes: Iterable[str]) -> bool:
    """Whether a path read is one written, lies in one, or holds one: DVC's own rule."""
    pairs = [(PurePosixPath(r), PurePosixPath(w)) for r in reads for w in writes]
    return any(r.is_relative_to(w) or w.is_relative_to(r) for r, w in pairs)
