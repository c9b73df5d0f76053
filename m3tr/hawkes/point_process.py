"""A point process over frames of events, in the unit of time of the data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike

from m3tr.errors import InputError
from m3tr.hawkes import arguments, likelihood
from m3tr.hawkes.arguments import numbers
from m3tr.hawkes.classical import ClassicalFit
from m3tr.hawkes.events import EventBatch, buckets
from m3tr.hawkes.forecast import forecast_rows
from m3tr.hawkes.frames import Kinds, Sample, checked_kinds, kind_column, numbered, read, times_of
from m3tr.hawkes.parameters import classical_process, error_table
from m3tr.hawkes.process import MambaHawkes
from m3tr.hawkes.residuals import Residuals, compensator_increments
from m3tr.hawkes.storage import read_process, write_process
from m3tr.hawkes.thinning import MAX_EVENTS, Paths, simulate_paths

# sequences, and events with the padding, that are computed at a time
SEQUENCES, CELLS = 256, 200_000


@dataclass(frozen=True)
class LogLikelihood:
    """Log likelihood of sequences, exact, in nats and per unit of time of the data."""

    events: pl.DataFrame  # sequence, time, kind, log_intensity (null at a window's start)
    sequences: pl.DataFrame  # sequence, n_events (scored), compensator, log_likelihood

    @property
    def n_events(self) -> int:
        """Events scored."""
        return int(self.sequences["n_events"].sum())

    @property
    def total(self) -> float:
        """Sum over the sequences."""
        return float(self.sequences["log_likelihood"].sum())

    @property
    def per_event(self) -> float:
        """Nats per event scored; nan without any."""
        return self.total / self.n_events if self.n_events else float("nan")


@dataclass(frozen=True)
class PointProcess:
    """A fitted or given process; `m3tr.hawkes.fit` and `PointProcess.known` make one.

    Every method takes events as a frame `(sequence, time, kind[, count])` and `windows` as a frame
    `(sequence, end[, start])`; without windows a sequence is watched from 0 to its last event. A
    wrong row raises `InputError` with one sentence that names it. See docs/hawkes.md.
    """

    model: MambaHawkes  # the process on tensors
    kinds: Kinds  # as in the frames; `model.kinds` are their names
    marks: list[np.ndarray]  # counts of the training events of each kind, drawn by simulations
    estimate: ClassicalFit | None = None  # of a process without context

    def __repr__(self) -> str:
        sort = "Mamba-Hawkes" if self.model.settings.context else "classical"
        return f"PointProcess({sort}, kinds={self.kinds}, {len(self.model.beta)} decay rates)"

    @classmethod
    def known(
        cls,
        mu: ArrayLike,
        branching: ArrayLike,
        decays: ArrayLike,
        kinds: Sequence[str] | Sequence[int],
    ) -> "PointProcess":
        """A classical process with given parameters.

        Parameters
        ----------
        mu : (K,) array
            Background, events per unit of time, non-negative.
        branching : (M, K, K) or (K, K) array
            `[scale, receiver, source]`: direct offspring of an event of count 1.
        decays : (M,) array
            Time scales of the memory, positive: decay rate `m` is `1 / decays[m]`.
        kinds : sequence of K str or int
        """
        names = checked_kinds(kinds)
        rates, offspring, times = (
            arguments.table(values, f"PointProcess.known: {name}")
            for name, values in (("mu", mu), ("branching", branching), ("decays", decays))
        )
        model = classical_process(rates, offspring, times, [str(k) for k in names])
        return cls(model, names, [np.ones(1)] * len(names))

    def log_likelihood(
        self, frame: pl.DataFrame, windows: pl.DataFrame | None = None
    ) -> LogLikelihood:
        """`sum_j log lambda_{k_j}(t_j-) - sum_k int lambda_k(t) dt` over every window, exact.

        Events at the start of a window condition and have no term; the rows of `events` are those
        of the frame, in its order.
        """
        sample = read(frame, windows, self.kinds)
        events = sample.events
        term = torch.zeros(events.time.shape, dtype=torch.float64)
        compensator = torch.zeros(len(events), dtype=torch.float64)
        with torch.no_grad():
            for rows in _parts(events):
                found = likelihood.log_likelihood(self.model, events.select(rows))
                term[rows, : found.event.shape[1]] = found.event
                compensator[rows] = found.compensator.sum(1)
        scored = events.mask & (events.time > 0)
        terms = pl.Series("log_intensity", term[events.mask].numpy())
        rows_ = sample.rows.with_columns(
            pl.when(pl.Series(scored[events.mask].numpy())).then(terms).alias("log_intensity")
        ).sort("_at")
        return LogLikelihood(
            rows_.select("sequence", "time", "kind", "log_intensity"),
            pl.DataFrame(
                {
                    "sequence": sample.ids,
                    "n_events": scored.sum(1).numpy(),
                    "compensator": compensator.numpy(),
                    "log_likelihood": (term.sum(1) - compensator).numpy(),
                }
            ),
        )

    def intensity(
        self, frame: pl.DataFrame, times: ArrayLike, windows: pl.DataFrame | None = None
    ) -> pl.DataFrame:
        """Left limits of the intensity of every sequence at `times`, and its parts.

        Past the end of a window it is the intensity as long as nothing more happens.

        Returns
        -------
        DataFrame
            `sequence, time, kind, intensity` and its summands `background`, `excitation` and
            `softplus`, per unit of time of the data.
        """
        sample = read(frame, windows, self.kinds)
        asked = times_of(times, sample)
        (B, Q), K = asked.shape, len(self.kinds)
        parts = torch.zeros(3, B, Q, K, dtype=torch.float64)
        with torch.no_grad():
            for rows in _parts(sample.events):
                parts[:, rows] = self.model.parts(sample.events.select(rows), asked[rows])
        flat = parts.reshape(3, -1).numpy()
        shown = np.broadcast_to(numbers(times, "times")[None, :, None], (B, Q, K))
        return pl.DataFrame(
            [
                sample.repeated(Q * K).alias("sequence"),
                pl.Series("time", shown.flatten()),
                kind_column(self.kinds, np.tile(np.arange(K), B * Q)),
                pl.Series("intensity", flat.sum(0)),
                *map(pl.Series, ("background", "excitation", "softplus"), flat),
            ]
        )

    def simulate(
        self,
        windows: pl.DataFrame | int,
        end: float | None = None,
        seed: int = 0,
        max_events: int = MAX_EVENTS,
    ) -> pl.DataFrame:
        """New sequences, by exact thinning: `sequence, time, kind, count`.

        Parameters
        ----------
        windows : DataFrame or int
            A number of sequences asks for `0, 1, ...` on `(0, end]`.
        seed : int
            Sequence `i` is a function of `(seed, i)` and its window.
        max_events : int
            A sequence that reaches it is an `InputError`.
        """
        if not isinstance(windows, pl.DataFrame | pl.LazyFrame):
            windows = numbered(windows, end)
        elif end is not None:
            raise InputError("simulate: pass a frame of windows or an end, not both.")
        _, seed, max_events = arguments.draws(1, seed, max_events)
        schema = {"sequence": pl.String, "time": pl.Float64, "kind": pl.String}
        sample = read(pl.DataFrame(schema=schema), windows, self.kinds)
        until = sample.events.end.numpy()
        new = replace(sample.events, end=torch.zeros(len(sample), dtype=torch.float64))
        blocks = simulate_paths(self.model, new, until, 1, seed, self.marks, max_events)
        return self._frame(sample, (found for _, found in blocks)).drop("path")

    def continuations(
        self,
        frame: pl.DataFrame,
        lead: float,
        windows: pl.DataFrame | None = None,
        paths: int = 1,
        seed: int = 0,
        max_events: int = MAX_EVENTS,
    ) -> pl.DataFrame:
        """What may follow each observed sequence: `sequence, path, time, kind, count`.

        Parameters
        ----------
        lead : float
            How long after the end of each window.
        paths : int
            Independent continuations of each sequence.
        seed : int
            Path `p` of sequence `i` is a function of `(seed, i, p)` and the history.
        """
        ahead = arguments.length(lead, "lead")
        paths, seed, max_events = arguments.draws(paths, seed, max_events)
        sample = read(frame, windows, self.kinds)
        until = sample.events.end.numpy() + ahead
        blocks = simulate_paths(
            self.model, sample.events, until, paths, seed, self.marks, max_events
        )
        return self._frame(sample, (found for _, found in blocks))

    def _frame(self, sample: Sample, blocks: Iterable[Paths]) -> pl.DataFrame:
        parts = [(b.row, b.path, b.time, b.kind, b.count) for b in blocks]
        row, path, time, kind, count = map(np.concatenate, zip(*parts, strict=True))
        return pl.DataFrame(
            [
                sample.ids.gather(row).alias("sequence"),
                pl.Series("path", path),
                pl.Series("time", time + sample.start[row]),
                kind_column(self.kinds, kind),
                pl.Series("count", count),
            ]
        )

    def forecast(
        self,
        frame: pl.DataFrame,
        leads: ArrayLike,
        windows: pl.DataFrame | None = None,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        paths: int = 1000,
        seed: int = 0,
        of: str = "events",
        max_events: int = MAX_EVENTS,
    ) -> pl.DataFrame:
        """How many events of each kind follow within each lead after the end of each window.

        Parameters
        ----------
        leads : (Q,) array
            Times after the end, not negative.
        quantiles : sequence of float
            In (0, 1), read off `paths` simulated continuations; empty to simulate nothing.
        of : {"events", "counts"}
            Number of events, or the sum of their counts.

        Returns
        -------
        DataFrame
            `sequence, lead, kind, mean`, a column `q0.1`, ... for each quantile, and `method`,
            which says what the mean is: `exact` (closed form; a classical process, all counts 1),
            `simulated` (of the paths) or `plug-in` (without quantiles; see docs/hawkes.md).
        """
        asked = numbers(leads, "leads")
        if not len(asked) or (asked < 0).any():
            raise InputError("forecast: leads: at least one is needed, and none may be negative.")
        shares = arguments.quantiles(quantiles)
        paths, seed, max_events = arguments.draws(paths, seed, max_events)
        if of not in ("events", "counts"):
            raise InputError(f"forecast: of={of!r} must be 'events' or 'counts'.")
        sample = read(frame, windows, self.kinds)
        B, Q, K = len(sample), len(asked), len(self.kinds)
        mean, levels, method = forecast_rows(
            self.model, sample.events, asked, list(shares.values()), paths, seed, of == "counts",
            self.marks, max_events,
        )  # fmt: skip
        return pl.DataFrame(
            [
                sample.repeated(Q * K).alias("sequence"),
                pl.Series("lead", np.tile(np.repeat(asked, K), B)),
                kind_column(self.kinds, np.tile(np.arange(K), B * Q)),
                pl.Series("mean", mean.flatten()),
                *(pl.Series(q, at.flatten()) for q, at in zip(shares, levels, strict=True)),
                pl.repeat(method, B * Q * K, eager=True).alias("method"),
            ]
        )

    def residuals(self, frame: pl.DataFrame, windows: pl.DataFrame | None = None) -> Residuals:
        """Time-rescaled increments per kind: independent Exp(1) under the true process.

        On the data of the fit a test is too lenient: pass held-out sequences.
        """
        events = read(frame, windows, self.kinds).events
        return Residuals(self.kinds, compensator_increments(self.model, events))

    @property
    def branching_matrix(self) -> pl.DataFrame:
        """Direct offspring through the classical part: `receiver`, and a column a source kind.

        Of an event of mean weight; what the softplus part excites is not in it.
        """
        matrix = self.model.branching.detach().numpy()
        columns = {name: matrix[:, i] for i, name in enumerate(self.model.kinds)}
        return pl.DataFrame({"receiver": self.kinds, **columns})

    @property
    def branching_ratio(self) -> float:
        """Spectral radius of the branching matrix; the classical process is stationary below 1."""
        return float(np.abs(np.linalg.eigvals(self.model.branching.detach().numpy())).max())

    @property
    def standard_errors(self) -> pl.DataFrame:
        """Parameters of a fitted classical process with their standard errors.

        `parameter` (`mu`, `alpha` or `beta`), `rate` (decay rate of the memory, per unit of time),
        `receiver`, `source`, `value`, `error` (null where the value is 0 or was not estimated).

        Raises
        ------
        InputError
            Where the process was not fitted, or with context: no errors are known then.
        """
        if self.estimate is None:
            raise InputError(
                "standard_errors: they are known for processes fitted with "
                "HawkesSettings(context=False) only."
            )
        return error_table(self.estimate, self.kinds)

    def save(self, folder: str | Path) -> None:
        """Write the process into `folder`: numbers as safetensors, the rest as JSON."""
        write_process(Path(folder), self.model, self.kinds, self.marks, self.estimate)

    @classmethod
    def load(cls, folder: str | Path) -> "PointProcess":
        """The process that `save` wrote into `folder`; `InputError` where there is none."""
        return cls(*read_process(Path(folder)))


def _parts(events: EventBatch) -> list[torch.Tensor]:
    """Rows in parts of similar length, few enough to be held at a time."""
    out = []
    for rows in buckets(events.lengths, SEQUENCES):
        longest = int(events.lengths[rows].max()) + 1
        out += list(rows.split(max(CELLS // longest, 1)))
    return out
