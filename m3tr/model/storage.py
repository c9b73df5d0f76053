"""A forecaster as one folder: JSON, safetensors, LightGBM text; nothing is pickled."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from m3tr.data.covariates import ContentCovariates, FeedbackCovariates
from m3tr.data.ridge import BaseForecast
from m3tr.data.settings import TaskSettings
from m3tr.errors import InputError
from m3tr.features.settings import FeatureSettings
from m3tr.forest import Forest
from m3tr.memory.bank import Bank
from m3tr.memory.keys import KeyMaker
from m3tr.memory.settings import BankSettings
from m3tr.model.arrays import arrays_of, joined
from m3tr.model.blend import Blend
from m3tr.model.classes import ClassCovariates
from m3tr.model.heads import TARGETS, BoostedHead
from m3tr.model.intervals import Intervals
from m3tr.model.tokens import Tokeniser

if TYPE_CHECKING:
    from m3tr.model.forecaster import Forecaster

PLAIN = ("fitted", "held_out")
# attributes whose arrays are kept, and the name they have in the file
PARTS: dict[str, Any] = {
    "tokeniser": Tokeniser,
    "key_maker": KeyMaker,
    "base": BaseForecast,
    "blend": Blend,
    "intervals": Intervals,
    "classes": ClassCovariates,
}


def save(forecaster: "Forecaster", folder: Path) -> None:
    """Write everything to `folder`, replacing what was there at once."""
    from safetensors.numpy import save_file

    f = forecaster
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    state = {
        "task": f.task.model_dump(mode="json"),
        "bank": f.bank_settings.model_dump(mode="json"),
        "features": f.feature_settings.model_dump(mode="json"),
        "feedback": f.feedback.state(),
        "content": f.content.state(),
        "network": f.network and asdict(f.network.config),
        "boosted": [*f.boosted],
    }
    (partial / "forecaster.json").write_text(json.dumps(state, indent=1))
    parts = {f"{name}/": getattr(f, name).arrays for name in PARTS}
    if f.network is not None:
        parts["network/"] = {k: v.detach().numpy() for k, v in f.network.state_dict().items()}
    parts |= {f"forest {target}/": forest.arrays for target, forest in f.forests.items()}
    arrays: dict[str, np.ndarray] = {name: getattr(f, name) for name in PLAIN} | joined(parts)
    save_file(
        {k: np.ascontiguousarray(v) for k, v in arrays.items()}, partial / "arrays.safetensors"
    )
    f.mhp.save(partial / "mhp")
    f.bank.save(partial / "bank")
    for target, head in f.boosted.items():
        head.save(partial, f"boosted.{target}")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def load(folder: Path) -> dict[str, Any]:
    """The attributes of the forecaster that `save` wrote to `folder`.

    Raises
    ------
    InputError
        Where `folder` holds no whole forecaster, or one of another version.
    """
    from safetensors import SafetensorError

    folder = Path(folder)
    try:
        state = json.loads((folder / "forecaster.json").read_text())
    except (OSError, json.JSONDecodeError):
        raise InputError(f"{folder} holds no forecaster: run the stage `train`") from None
    try:
        return _read(folder, state)
    except InputError:
        raise
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as e:
        raise InputError(
            f"{folder} holds a damaged forecaster, or one of another version of m3tr "
            f"({next(iter(str(e).splitlines()), e)}): copy it anew, or run the stage `train`"
        ) from e


def _read(folder: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    from safetensors.numpy import load_file

    from m3tr.hawkes.process import MambaHawkes
    from m3tr.model.network import load_network

    arrays = load_file(folder / "arrays.safetensors")
    parts = {name: kind.from_arrays(arrays_of(arrays, f"{name}/")) for name, kind in PARTS.items()}
    mhp = MambaHawkes.load(folder / "mhp")
    made_with = {"mhp": mhp.fingerprint(), "keys": parts["key_maker"].fingerprint()}
    horizons = len(state["task"]["horizons"])
    network = state["network"] and load_network(state["network"], arrays_of(arrays, "network/"))
    boosted = {t: BoostedHead.load(folder, f"boosted.{t}", horizons) for t in TARGETS}
    forests = {t: arrays_of(arrays, f"forest {t}/") for t in TARGETS}
    if {t for t, head in boosted.items() if head is not None} != {*state["boosted"]}:
        raise ValueError("boosters are missing")
    return {
        "task": TaskSettings.model_validate(state["task"]),
        "bank_settings": BankSettings(**state["bank"]),
        "feature_settings": FeatureSettings(**state["features"]),
        "feedback": FeedbackCovariates.from_state(state["feedback"]),
        "content": ContentCovariates.from_state(state["content"]),
        "mhp": mhp,
        "bank": Bank.open(folder / "bank", made_with),
        "network": network,
        "boosted": {t: head for t, head in boosted.items() if head is not None},
        "forests": {t: Forest.from_arrays(a) for t, a in forests.items() if a},
        **parts,
        **{name: arrays[name] for name in PLAIN},
    }
