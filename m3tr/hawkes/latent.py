"""A Hawkes process whose immigration depends on a latent class of the video.

    lambda_k(t) = v r_c(t) p_ck f(hour) + sum_{m,k'} alpha[m,k,k'] beta_m S[m,k'](t)

`v` is the video's volume, `r_c` its class's rate over its age (constant in bins, mean 1), `p_c` the
mixture of kinds, `f` the hour of day; `S[m,k'](t)` sums `count exp(-beta_m (t - t_j))` over the
events of kind `k'` before `t`. Everything is fitted by EM on whole histories, classes unseen. A
young video then has a probability of each class, and each class says what is to come
(docs/hawkes.md, "Latent classes").
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from m3tr.hawkes.histories import Histories

SHAPE = 3.0  # of the gamma prior of the volume: its variation coefficient is 1 / sqrt(SHAPE)
BINS = (16, 20)  # of the rate: so many up to the age of observation, and beyond
ROUNDS, PRECISION = 60, 1e-3  # of EM; log likelihood units a video
STEPS = 12  # towards the likeliest volume; two a round of EM, whose rounds go on
RELAXATION = 1.8  # EM moves excitation slowly; in this power of its step it still rises
PSEUDO = 3.0  # immigrants at the classes' common rate, in each bin of each class
DAILY = 20.0  # immigrants at the mean, in each hour of day
STABLE = 0.95  # spectral radius that a forecast's branching may not exceed
LEADS = 96  # steps of a forecast
EDGES = 1e-4  # days; no bin is shorter
HOURS = 24


class Prior(NamedTuple):
    """What is thought of N videos before their feedback.

    Attributes
    ----------
    log_class : ndarray, shape (N, C)
    log_volume : ndarray, shape (N, C)
        Of the mean volume in each class.
    shape : float
        Of the gamma distribution around it.
    """

    log_class: np.ndarray
    log_volume: np.ndarray
    shape: float


class Reading(NamedTuple):
    """Log probability of each class, and the volume in it, both (N, C)."""

    log_class: np.ndarray
    volume: np.ndarray


class LatentClasses:
    """Hawkes process with latent classes; `arrays` holds all of it, and is empty before the fit."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.arrays["log_class"]) if self.arrays else 0

    def fit(
        self,
        histories: Histories,
        observed: np.ndarray,
        classes: int,
        kinds: int,
        beta: np.ndarray,
        seed: int,
    ) -> "LatentClasses":
        """EM from classes of similar growth.

        Parameters
        ----------
        histories : Histories
            Of N training videos, up to their last horizon.
        observed : ndarray, shape (N,)
            Ages at which a forecast will be made, days: earlier and later get their own bins.
        classes, kinds : int
        beta : ndarray, shape (M,)
            Decay rates of the excitation, per day.
        seed : int
            Of the first grouping.
        """
        from m3tr.hawkes.latent_numba import by_hour, exposure, immigrants

        h, M = histories, len(beta)
        edges = age_bins(h, observed)
        group = first_groups(h, observed, classes, seed)
        self.arrays = first_rates(h, edges, group, classes, kinds)
        self.arrays |= {"beta": beta, "alpha": np.full((M, kinds, kinds), 0.3 / (M * kinds))}
        a, before = self.arrays, -np.inf
        total = np.bincount(h.video, h.count, len(h))
        volume = np.repeat(total[:, None] / 2 + 1, classes, 1)
        a["log_volume"] = np.log(volume.mean(0))
        places = self._places(h)
        # events that each could have caused within the window, by scale and source
        reach = -np.expm1(-beta[:, None] * (h.end[h.video] - h.time)) * h.count
        causes = np.stack([np.bincount(h.kind, row, kinds) for row in reach])
        for _ in range(ROUNDS):
            excited = self._excited(h)
            log_likelihood = self._log_likelihood(h, places, excited, self.prior(len(h)), volume, 2)
            share, level = shares(log_likelihood)
            weight = share * volume
            span = exposure(h.hour, np.zeros(len(h)), h.end, edges, a["clock"])
            jump = a["alpha"] * beta[:, None, None]
            by_bin, by_kind, at_hour, children = immigrants(
                h.offsets, h.time, h.kind, h.count, *places, excited, a["base"], a["mix"],
                a["clock"], volume, share, jump, beta,
            )  # fmt: skip
            expected = by_hour(h.hour, h.end, edges, weight @ a["base"])
            mean = at_hour.sum() / max(expected.sum(), 1e-9)
            at_risk = weight.T @ span  # (C, B)
            common = np.maximum(by_bin.sum(0), 1e-9) / np.maximum(at_risk.sum(0), 1e-9)
            base = (by_bin + PSEUDO) / (at_risk + PSEUDO / common)
            clock = (at_hour + DAILY) / (expected + DAILY / max(mean, 1e-9))
            step = (children + 0.01) / (causes[:, None, :] + 1) / a["alpha"]
            # the rates of a class have mean 1 over the bins, the hours of a day too
            size = (base * np.diff(edges)).sum(1) / (edges[-1] - edges[0])
            volume *= size
            own = (share * volume).sum(0) / np.maximum(share.sum(0), 1e-9)
            self.arrays |= {
                "base": base / size[:, None],
                "mix": (by_kind + 0.5) / (by_kind.sum(1, keepdims=True) + 0.5 * kinds),
                "clock": clock / clock.mean(),
                "alpha": a["alpha"] * step**RELAXATION,
                "log_class": np.log((share.sum(0) + 1) / (len(h) + classes)),
                "log_volume": np.log(np.maximum(own, 1e-9)),
            }
            a = self.arrays
            if abs(level - before) < PRECISION:
                break
            before = level
        return self

    def prior(self, n: int) -> Prior:
        """The prior of `n` videos of which nothing is known."""
        same = [np.repeat(self.arrays[name][None], n, 0) for name in ("log_class", "log_volume")]
        return Prior(same[0], same[1], SHAPE)

    def read(self, seen: Histories, prior: Prior | None = None) -> Reading:
        """Classes and volumes of N videos by what was seen of them, and a prior."""
        prior = self.prior(len(seen)) if prior is None else prior
        volume = np.exp(prior.log_volume)
        log_likelihood = self._log_likelihood(
            seen, self._places(seen), self._excited(seen), prior, volume, STEPS
        )
        return Reading(
            log_likelihood - np.logaddexp.reduce(log_likelihood, 1, keepdims=True), volume
        )

    def expected(
        self, seen: Histories, volume: np.ndarray, horizons: np.ndarray, kind: int = 0
    ) -> np.ndarray:
        """Expected increments (N, C, Q) of a kind after the end, by class, up to ages (N, Q).

        The linear system of mean intensities is solved exactly within steps over which the
        immigration is taken as constant: its mean over the step.
        """
        a, N, C = self.arrays, len(seen), len(self)
        beta, K = a["beta"], a["mix"].shape[1]
        alpha = a["alpha"] * min(1.0, STABLE / max(radius(a["alpha"]), 1e-9))
        gain = np.einsum("mkl,m->kml", alpha, beta).reshape(K, -1)  # state to intensity
        into = np.tile(np.eye(K), (len(beta), 1))  # events to state
        rate, vectors = np.linalg.eig(into @ gain - np.diag(np.repeat(beta, K)))
        inverse = np.linalg.inv(vectors)
        state = np.zeros((N, len(beta), K))
        for m, b in enumerate(beta):
            fade = np.exp(-b * (seen.end[seen.video] - seen.time))
            np.add.at(state[:, m], (seen.video, seen.kind), seen.count * fade)
        z = np.repeat((state.reshape(N, 1, -1) @ inverse.T), C, 1)
        lead = np.maximum(horizons.max(1) - seen.end, 0)
        dt = (lead / LEADS)[:, None]
        decay = np.exp(rate * dt)  # (N, D), as are its integrals
        once = np.where(np.abs(rate) > 1e-9, (decay - 1) / rate, dt)
        twice = np.where(np.abs(rate) > 1e-9, (once - dt) / rate, dt**2 / 2)
        out, entering = gain[kind] @ vectors, inverse @ into
        grown = np.zeros((LEADS + 1, N, C))
        for step in range(LEADS):
            age = seen.end + step * dt[:, 0]
            mean = self._mass(seen.hour, age, age + dt[:, 0]) / np.maximum(dt, 1e-12)
            immigration = volume * mean
            enters = (immigration[:, :, None] * a["mix"]) @ entering.T
            caused = ((z * once[:, None] + enters * twice[:, None]) @ out).real
            own = immigration * a["mix"][:, kind] * dt
            grown[step + 1] = grown[step] + np.maximum(own + caused, 0)
            z = z * decay[:, None] + enters * once[:, None]
        at = (horizons - seen.end[:, None]) / np.maximum(lead[:, None], 1e-9) * LEADS
        at = np.clip(at, 0, LEADS)[:, None]  # (N, 1, Q)
        low = np.minimum(at.astype(int), LEADS - 1)
        i, c = np.arange(N)[:, None, None], np.arange(C)[:, None]
        found: np.ndarray = grown[low, i, c] + (at - low) * (
            grown[low + 1, i, c] - grown[low, i, c]
        )
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "LatentClasses":
        """A fitted process from its `arrays`."""
        new = cls()
        new.arrays = dict(arrays)
        return new

    def _mass(self, hour: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Immigrants (N, C) of all kinds between two ages, at volume 1."""
        from m3tr.hawkes.latent_numba import exposure

        a = self.arrays
        found: np.ndarray = exposure(hour, start, end, a["edges"], a["clock"]) @ a["base"].T
        return found

    def _places(self, h: Histories) -> tuple[np.ndarray, np.ndarray]:
        """Bin and hour of each event."""
        return bins(h.time, self.arrays["edges"]), hours(h.time, h.hour[h.video])

    def _excited(self, h: Histories) -> np.ndarray:
        from m3tr.hawkes.latent_numba import excitation

        jump = self.arrays["alpha"] * self.arrays["beta"][:, None, None]
        return excitation(h.offsets, h.time, h.kind, h.count, jump, self.arrays["beta"])

    def _log_likelihood(
        self,
        h: Histories,
        places: tuple[np.ndarray, np.ndarray],
        excited: np.ndarray,
        prior: Prior,
        volume: np.ndarray,
        steps: int,
    ) -> np.ndarray:
        """Joint log likelihood (N, C) with the class; `volume` is improved in place."""
        from m3tr.hawkes.latent_numba import volumes

        a = self.arrays
        mass = self._mass(h.hour, np.zeros(len(h)), h.end)
        found: np.ndarray = volumes(
            h.offsets, h.kind, h.count, *places, excited, mass, a["base"], a["mix"], a["clock"],
            prior.log_volume, prior.shape, steps, volume,
        )  # fmt: skip
        return found + prior.log_class


def shares(log_likelihood: np.ndarray) -> tuple[np.ndarray, float]:
    """Each class's share (N, C), and the mean log likelihood."""
    total = np.logaddexp.reduce(log_likelihood, 1, keepdims=True)
    return np.exp(log_likelihood - total), float(total.mean())


def radius(alpha: np.ndarray) -> float:
    """Spectral radius of the branching matrix."""
    return float(np.abs(np.linalg.eigvals(alpha.sum(0))).max())


def bins(age: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Bin of each age; the last one has no end."""
    return np.clip(np.searchsorted(edges, age, side="left") - 1, 0, len(edges) - 2)


def hours(age: np.ndarray, hour: np.ndarray) -> np.ndarray:
    """Hour of day at ages (days) of videos published at `hour`."""
    return np.floor(hour + age * HOURS + 1e-9).astype(np.int64) % HOURS


def age_bins(h: Histories, observed: np.ndarray) -> np.ndarray:
    """Edges of the bins: quantiles of the events' ages, of which each video has one share."""
    weight = h.count / np.bincount(h.video, h.count, len(h))[h.video]
    middle = float(np.median(observed))
    edges = [0.0, middle, float(h.end.max())]
    for inside, n in zip((h.time <= middle, h.time > middle), BINS, strict=True):
        if inside.any():
            order = np.argsort(h.time[inside], kind="stable")
            reached = np.cumsum(weight[inside][order])
            at = np.searchsorted(reached, np.linspace(0, reached[-1], n + 1)[1:-1])
            edges += h.time[inside][order][np.minimum(at, len(order) - 1)].tolist()
    ordered = np.sort(edges)
    return ordered[np.r_[True, np.diff(ordered) > EDGES]]


def first_groups(h: Histories, observed: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Groups (N,) of videos whose target grew alike, whatever its level."""
    from sklearn.cluster import KMeans

    later = observed[:, None] + (h.end - observed)[:, None] * [0.05, 0.15, 0.3, 0.6, 1.0]
    edges = np.column_stack([np.zeros(len(h)), observed / 2, observed, later])
    grown = np.log(h.counts(edges)[:, :, 0] + 0.5)
    grown -= grown.mean(1, keepdims=True)
    found: np.ndarray = KMeans(classes, n_init=5, random_state=seed).fit_predict(grown)
    return found


def first_rates(
    h: Histories, edges: np.ndarray, group: np.ndarray, classes: int, kinds: int
) -> dict[str, np.ndarray]:
    """Where EM begins: rates and mixtures of each group, drawn a little to those of all."""
    from m3tr.hawkes.latent_numba import exposure

    flat = np.ones(HOURS)
    span = exposure(h.hour, np.zeros(len(h)), h.end, edges, flat)  # (N, B)
    in_bin, of_kind = np.zeros(span.shape), np.zeros((len(h), kinds))
    share = h.count / np.bincount(h.video, h.count, len(h))[h.video]
    np.add.at(in_bin, (h.video, bins(h.time, edges)), share)
    np.add.at(of_kind, (h.video, h.kind), h.count)
    common = in_bin.sum(0) / np.maximum(span.sum(0), 1e-9)
    few = 5 * span.mean(0)
    base, mix = np.empty((classes, span.shape[1])), np.empty((classes, kinds))
    for c in range(classes):
        own = group == c
        base[c] = (in_bin[own].sum(0) + common * few) / (span[own].sum(0) + few)
        mix[c] = (of_kind[own].sum(0) + 1) / (of_kind[own].sum() + kinds)
    size = np.bincount(group, minlength=classes) / len(h)
    return {
        "edges": edges,
        "base": base,
        "mix": mix,
        "clock": flat,
        "log_class": np.log(size + 1e-3),
    }
