"""A `PointProcess` in a folder: numbers as safetensors, names as JSON, nothing pickled."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from m3tr.errors import InputError
from m3tr.hawkes.classical import ClassicalFit
from m3tr.hawkes.frames import Kinds
from m3tr.hawkes.process import MambaHawkes

ABOUT, NUMBERS = "point_process.json", "point_process.safetensors"


def write_process(
    folder: Path,
    model: MambaHawkes,
    kinds: Kinds,
    marks: list[np.ndarray],
    estimate: ClassicalFit | None,
) -> None:
    """Write the parts of a process into `folder`, beside the files of `MambaHawkes.save`."""
    model.save(folder)
    about: dict[str, Any] = {"kinds": kinds, "estimate": None}
    arrays = {f"marks.{k}": counts for k, counts in enumerate(marks)}
    if estimate is not None:
        values = asdict(estimate)
        arrays |= {f"estimate.{n}": v for n, v in values.items() if isinstance(v, np.ndarray)}
        about["estimate"] = {n: v for n, v in values.items() if not isinstance(v, np.ndarray)}
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(whole, folder / NUMBERS)
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n")


def read_process(
    folder: Path,
) -> tuple[MambaHawkes, Kinds, list[np.ndarray], ClassicalFit | None]:
    """The parts that `write_process` wrote; `InputError` where there are none."""
    if not (folder / ABOUT).exists():
        raise InputError(f"{folder}: no {ABOUT}; name a folder that PointProcess.save wrote.")
    about = json.loads((folder / ABOUT).read_text())
    arrays = load_file(folder / NUMBERS)
    estimate = None
    if about["estimate"] is not None:
        given: dict[str, Any] = about["estimate"] | {"kinds": tuple(about["estimate"]["kinds"])}
        names = [f.name for f in fields(ClassicalFit) if f.name not in given]
        given |= {name: arrays[f"estimate.{name}"] for name in names}
        estimate = ClassicalFit(**given)
    marks = [arrays[f"marks.{k}"] for k in range(len(about["kinds"]))]
    return MambaHawkes.load(folder), about["kinds"], marks, estimate
