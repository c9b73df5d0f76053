"""Point processes, usable on their own: the classical and the Mamba-Hawkes process.

    process = hawkes.fit(frame)  # sequence, time, kind
    process.forecast(frame, leads=[1.0])

See docs/hawkes.md. The names below are imported when they are first used, so that the settings can
be read without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from m3tr.errors import InputError
    from m3tr.hawkes.fitting import fit
    from m3tr.hawkes.point_process import LogLikelihood, PointProcess
    from m3tr.hawkes.residuals import Residuals
    from m3tr.hawkes.settings import HawkesSettings

__all__ = ["HawkesSettings", "InputError", "LogLikelihood", "PointProcess", "Residuals", "fit"]

_HOMES = {
    "HawkesSettings": "m3tr.hawkes.settings",
    "InputError": "m3tr.errors",
    "LogLikelihood": "m3tr.hawkes.point_process",
    "PointProcess": "m3tr.hawkes.point_process",
    "Residuals": "m3tr.hawkes.residuals",
    "fit": "m3tr.hawkes.fitting",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
