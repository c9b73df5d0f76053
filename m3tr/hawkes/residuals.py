"""Residuals by time rescaling: is the process that generated the events this one?

Between a kind's own events its compensator grows by independent Exp(1) numbers if the process is
the true one (Papangelou; Ogata 1988). With parameters fitted to the same events a test is too
lenient: use held-out sequences, or compare with refits to simulated data.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from scipy.stats import kstest

from m3tr.errors import InputError
from m3tr.hawkes.events import EventBatch
from m3tr.hawkes.frames import Kinds
from m3tr.hawkes.process import MambaHawkes

# lines of a plot are drawn through no more points than this
DRAWN = 2000


class KolmogorovSmirnov(NamedTuple):
    statistic: float
    pvalue: float


@dataclass(frozen=True)
class Residuals:
    """Increments of each kind's compensator; Exp(1) and independent under the true process."""

    kinds: Kinds
    increments: list[np.ndarray]  # one (n,) array a kind, in the order of the sequences

    def __repr__(self) -> str:
        sizes = (f"{kind}: {len(x)}" for kind, x in zip(self.kinds, self.increments, strict=True))
        return f"Residuals({', '.join(sizes)})"

    def __getitem__(self, kind: str | int) -> np.ndarray:
        """The increments of one kind."""
        if kind not in self.kinds:
            raise InputError(f"residuals: kind {kind!r} is not one of {self.kinds}.")
        return self.increments[self.kinds.index(kind)]  # type: ignore[arg-type]

    def ks(self) -> pl.DataFrame:
        """Kolmogorov-Smirnov test of every kind: `kind, n, statistic, pvalue`; null without events.

        Its level holds for true parameters or held-out data; on the data of the fit it is too
        lenient.
        """
        tests = [ks(part) if len(part) else None for part in self.increments]
        return pl.DataFrame(
            {
                "kind": self.kinds,
                "n": [len(part) for part in self.increments],
                "statistic": [test.statistic if test else None for test in tests],
                "pvalue": [test.pvalue if test else None for test in tests],
            },
            schema_overrides={"statistic": pl.Float64, "pvalue": pl.Float64},
        )

    def plot_qq(self, path: str | Path) -> None:
        """Write a plot of the increments' quantiles against those of Exp(1), one line a kind.

        The band holds 95 % of the points of a true process with as many events as the rarest kind
        drawn, point by point.
        """
        from matplotlib.figure import Figure
        from scipy.stats import beta

        shown = [
            (k, np.sort(x)) for k, x in zip(self.kinds, self.increments, strict=True) if len(x)
        ]
        if not shown:
            raise InputError("residuals: there is no event to plot; take windows with events.")
        fewest = min(len(x) for _, x in shown)
        top = max(float(x[-1]) for _, x in shown)
        figure = Figure(figsize=(5, 5), layout="constrained")
        axes = figure.add_subplot()
        rank = np.unique(np.geomspace(1, fewest, min(fewest, DRAWN)).astype(int))
        share = (fewest + 1 - rank) / (fewest + 1)  # dense where the exponential has its tail
        band = [beta.ppf(q, fewest + 1 - rank, rank) for q in (0.025, 0.975)]
        axes.fill_between(
            -np.log1p(-share), *(-np.log1p(-edge) for edge in band), color="0.88", label="95 %"
        )
        axes.plot([0, top], [0, top], color="0.4", linewidth=0.8)
        for kind, x in shown:
            n = len(x)
            at = n - np.unique(np.geomspace(1, n, min(n, DRAWN)).astype(int))
            axes.plot(-np.log1p(-(at + 1) / (n + 1)), x[at], label=str(kind), linewidth=1.4)
        axes.set(xlabel="quantile of Exp(1)", ylabel="quantile of the increments")
        axes.legend(frameon=False)
        figure.savefig(path, dpi=120)


def compensator_increments(
    model: MambaHawkes, events: EventBatch, batch_size: int = 256
) -> list[np.ndarray]:
    """Increments of each kind's compensator between its own events: Exp(1) under the true model.

    Each kind has its own clock. The sequences are laid end to end on it, so that the stretch after
    a sequence's last event runs on into the next; dropping it would favour short stretches.
    Simultaneous events of one kind give zeros.

    Returns
    -------
    list of K float64 arrays
        One number an event in `(0, end]`.
    """
    K = len(model.kinds)
    now = torch.zeros(K, dtype=torch.float64)
    found: list[list[torch.Tensor]] = [[] for _ in range(K)]
    with torch.no_grad():
        for rows in torch.arange(len(events)).split(batch_size):
            part = events.select(rows)
            path = model(part)
            whole = path.compensator.sum(1)
            before = now + whole.cumsum(0) - whole  # (B, K) clock at the start of each sequence
            clock = before[:, None] + path.compensator.cumsum(1)  # (B, G + 1, K)
            scored = part.mask & (part.time > 0)
            for k in range(K):
                row, column = torch.nonzero(scored & (part.kind == k), as_tuple=True)
                found[k].append(clock[row, path.tied.group[row, column], k])
            now = now + whole.sum(0)
    none = torch.zeros(0, dtype=torch.float64)
    return [np.diff(torch.cat([none, *times]).numpy(), prepend=0.0) for times in found]


def ks(increments: np.ndarray) -> KolmogorovSmirnov:
    """Kolmogorov-Smirnov test of increments against Exp(1).

    Its level holds for true parameters or held-out data; on the data of the fit it is too lenient.
    """
    found = kstest(increments, "expon")
    return KolmogorovSmirnov(float(found.statistic), float(found.pvalue))
