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

from m3tr.hawkes.daily import HOURS, by_hour, exposure
from m3tr.hawkes.histories import Histories
from m3tr.progress import track

SHAPE = 3.0  # of the gamma prior of the volume: its variation coefficient is 1 / sqrt(SHAPE)
BINS = (16, 20)  # of the rate: so many up to the age of observation, and beyond
ROUNDS, PRECISION = 60, 1e-3  # of EM; log likelihood units a video
STEPS = 8  # towards the likeliest volume; two a round of EM, whose rounds go on
RELAXATION = 1.8  # EM moves excitation slowly; in this power of its step it still rises
PSEUDO = 3.0  # immigrants at the classes' common rate, in each bin of each class
DAILY = 20.0  # immigrants at the mean, in each hour of day
STABLE = 0.95  # spectral radius that a forecast's branching may not exceed
LEADS = 96  # steps of a forecast
SHORTEST = 1e-4  # bin, days
LITTLE = 1e-9  # in the place of a zero that would divide


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
        """EM from classes of similar growth, until the likelihood rises no more.

        Parameters
        ----------
        histories : Histories
            Of N training videos, up to their last horizon.
        observed : ndarray, shape (N,)
            Ages at which a forecast will be made, days: earlier and later get their own bins.
        classes, kinds : int
            There are fewer classes where fewer videos differ in their growth.
        beta : ndarray, shape (M,)
            Decay rates of the excitation, per day.
        seed : int
            Of the first grouping.
        """
        h, M = histories, len(beta)
        group = first_groups(h, observed, classes, seed)
        self.arrays = first_rates(h, age_bins(h, observed), group, kinds)
        self.arrays |= {"beta": beta, "alpha": np.full((M, kinds, kinds), 0.3 / (M * kinds))}
        total = np.bincount(h.video, h.count, len(h))
        volume = np.repeat(total[:, None] / 2 + 1, len(self), 1)
        self.arrays["log_volume"] = np.log(volume.mean(0))
        # events that each could have caused within the window, by scale and source
        reach = -np.expm1(-beta[:, None] * (h.end[h.video] - h.time)) * h.count
        causes = np.stack([np.bincount(h.kind, row, kinds) for row in reach])
        before = -np.inf
        for _ in track(range(ROUNDS), "latent classes"):
            level = self._round(h, causes, volume)
            if abs(level - before) < PRECISION:
                break
            before = level
        return self

    def _round(self, h: Histories, causes: np.ndarray, volume: np.ndarray) -> float:
        """A round of EM; `volume` (N, C) is improved in place.

        `causes` (M, K) is how many events could have caused others, by scale and source. Returns
        the mean log likelihood before the round, without what the classes have in common.
        """
        from m3tr.hawkes.latent_numba import immigrants

        a, (places, excited, span) = self.arrays, self._met(h)
        log_likelihood = self._log_likelihood(
            h, places, excited, span, self.prior(len(h)), volume, 2
        )
        total = np.logaddexp.reduce(log_likelihood, 1, keepdims=True)
        share = np.exp(log_likelihood - total)
        jump = a["alpha"] * a["beta"][:, None, None]
        by_bin, by_kind, at_hour, children = immigrants(
            h.offsets, h.time, h.kind, h.count, *places, excited, a["base"], a["mix"], a["clock"],
            volume, share, jump, a["beta"],
        )  # fmt: skip
        weight = share * volume
        expected = by_hour(h.hour, h.end, a["edges"], weight @ a["base"])
        mean = max(at_hour.sum() / max(expected.sum(), LITTLE), LITTLE)
        at_risk = weight.T @ span  # (C, B)
        common = np.maximum(by_bin.sum(0), LITTLE) / np.maximum(at_risk.sum(0), LITTLE)
        base = (by_bin + PSEUDO) / (at_risk + PSEUDO / common)
        clock = (at_hour + DAILY) / (expected + DAILY / mean)
        step = (children + 0.01) / (causes[:, None, :] + 1) / a["alpha"]
        # the rates of a class have mean 1 over the bins, the hours of a day too
        size = (base * np.diff(a["edges"])).sum(1) / a["edges"][-1]
        volume *= size
        own = (share * volume).sum(0) / np.maximum(share.sum(0), LITTLE)
        self.arrays |= {
            "base": base / size[:, None],
            "mix": (by_kind + 0.5) / (by_kind.sum(1, keepdims=True) + 0.5 * by_kind.shape[1]),
            "clock": clock / clock.mean(),
            "alpha": a["alpha"] * step**RELAXATION,
            "log_class": np.log((share.sum(0) + 1) / (len(h) + len(self))),
            "log_volume": np.log(np.maximum(own, LITTLE)),
        }
        return float(total.mean())

    def prior(self, n: int) -> Prior:
        """The prior of `n` videos of which nothing is known."""
        same = [np.repeat(self.arrays[name][None], n, 0) for name in ("log_class", "log_volume")]
        return Prior(same[0], same[1], SHAPE)

    def read(self, seen: Histories, prior: Prior | None = None) -> Reading:
        """Classes and volumes of N videos by what was seen of them, and a prior."""
        prior = self.prior(len(seen)) if prior is None else prior
        places, excited, span = self._met(seen)
        # from where all events are immigrants: steps from far below are slow
        total = np.bincount(seen.video, seen.count, len(seen))[:, None]
        rate = span @ self.arrays["base"].T + prior.shape / np.exp(prior.log_volume)
        volume = (total + prior.shape) / rate
        log_likelihood = self._log_likelihood(seen, places, excited, span, prior, volume, STEPS)
        total = np.logaddexp.reduce(log_likelihood, 1, keepdims=True)
        return Reading(log_likelihood - total, volume)

    def expected(
        self, seen: Histories, volume: np.ndarray, horizons: np.ndarray, kind: int = 0
    ) -> np.ndarray:
        """Expected increments (N, C, Q) of a kind after the end, by class, up to ages (N, Q).

        The linear system of mean intensities is solved exactly within steps over which the
        immigration is taken as constant: its mean over the step.
        """
        a, N, C = self.arrays, len(seen), len(self)
        beta, K = a["beta"], a["mix"].shape[1]
        into, gain, rate, vectors, inverse = self._modes()
        state = np.zeros((N, len(beta), K))
        for m, b in enumerate(beta):
            fade = np.exp(-b * (seen.end[seen.video] - seen.time))
            np.add.at(state[:, m], (seen.video, seen.kind), seen.count * fade)
        z = np.repeat((state.reshape(N, 1, -1) @ inverse.T), C, 1)
        lead = np.maximum(horizons.max(1) - seen.end, 0)
        dt = (lead / LEADS)[:, None]
        decay = np.exp(rate * dt)  # (N, D), as are its integrals
        moves = np.abs(rate) > LITTLE
        slowly = np.where(moves, rate, 1)
        once = np.where(moves, np.expm1(rate * dt) / slowly, dt)
        twice = np.where(moves, (once - dt) / slowly, dt**2 / 2)
        out, entering = gain[kind] @ vectors, inverse @ into
        grown = np.zeros((LEADS + 1, N, C))
        for step in range(LEADS):
            age = seen.end + step * dt[:, 0]
            span = exposure(seen.hour, age, age + dt[:, 0], a["edges"], a["clock"])
            immigration = volume * (span @ a["base"].T) / np.maximum(dt, 1e-12)
            enters = (immigration[:, :, None] * a["mix"]) @ entering.T
            caused = ((z * once[:, None] + enters * twice[:, None]) @ out).real
            own = immigration * a["mix"][:, kind] * dt
            grown[step + 1] = grown[step] + np.maximum(own + caused, 0)
            z = z * decay[:, None] + enters * once[:, None]
        at = (horizons - seen.end[:, None]) / np.maximum(lead[:, None], LITTLE) * LEADS
        at = np.clip(at, 0, LEADS)[:, None]  # (N, 1, Q)
        low = np.minimum(at.astype(int), LEADS - 1)
        i, c = np.arange(N)[:, None, None], np.arange(C)[:, None]
        before, after = grown[low, i, c], grown[low + 1, i, c]
        found: np.ndarray = before + (at - low) * (after - before)
        return found

    def _modes(self) -> tuple[np.ndarray, ...]:
        """The linear system of the D = M K states of mean excitation.

        Returns
        -------
        into : (D, K) states that an event enters
        gain : (K, D) intensity of each kind by state
        rate, vectors, inverse : (D,), (D, D), (D, D)
            Eigenvalues and vectors of the system.
        """
        beta, alpha = self.arrays["beta"], self.arrays["alpha"]
        radius = float(np.abs(np.linalg.eigvals(alpha.sum(0))).max())
        # exact zeros can leave a system without a whole set of eigenvectors
        alpha = np.maximum(alpha * min(1.0, STABLE / max(radius, LITTLE)), 1e-12)
        kinds = alpha.shape[1]
        gain = np.einsum("mkl,m->kml", alpha, beta).reshape(kinds, -1)
        into = np.tile(np.eye(kinds), (len(beta), 1))
        rate, vectors = np.linalg.eig(into @ gain - np.diag(np.repeat(beta, kinds)))
        return into, gain, rate, vectors, np.linalg.inv(vectors)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "LatentClasses":
        """A fitted process from its `arrays`."""
        new = cls()
        new.arrays = dict(arrays)
        return new

    def _met(self, h: Histories) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
        """Bin and hour of each event, what excites it, and the windows' share of bins (N, B)."""
        from m3tr.hawkes.latent_numba import excitation

        a = self.arrays
        hour = np.floor(h.hour[h.video] + h.time * HOURS + 1e-9).astype(np.int64) % HOURS
        places = bins(h.time, a["edges"]), hour
        jump = a["alpha"] * a["beta"][:, None, None]
        excited = excitation(h.offsets, h.time, h.kind, h.count, jump, a["beta"])
        return places, excited, exposure(h.hour, np.zeros(len(h)), h.end, a["edges"], a["clock"])

    def _log_likelihood(
        self,
        h: Histories,
        places: tuple[np.ndarray, np.ndarray],
        excited: np.ndarray,
        span: np.ndarray,
        prior: Prior,
        volume: np.ndarray,
        steps: int,
    ) -> np.ndarray:
        """Joint log likelihood (N, C) with the class; `volume` is improved in place."""
        from m3tr.hawkes.latent_numba import volumes

        a = self.arrays
        found: np.ndarray = volumes(
            h.offsets, h.kind, h.count, *places, excited, span @ a["base"].T, a["base"], a["mix"],
            a["clock"], prior.log_volume, prior.shape, steps, volume,
        )  # fmt: skip
        return found + prior.log_class


def bins(age: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Bin of each age; the last one has no end."""
    return np.clip(np.searchsorted(edges, age, side="left") - 1, 0, len(edges) - 2)


def age_bins(h: Histories, observed: np.ndarray) -> np.ndarray:
    """Edges of the bins: quantiles of the events' ages, of which each video has one share."""
    weight = h.count / np.bincount(h.video, h.count, len(h))[h.video]
    middle, end = float(np.median(observed)), float(h.end.max())
    least = min(SHORTEST, (middle or end) / 1000)
    edges = [0.0]
    for start, stop, n in ((0.0, middle, BINS[0]), (middle, end, BINS[1])):
        inside = (h.time > start) & (h.time <= stop)
        if inside.any():
            order = np.argsort(h.time[inside], kind="stable")
            reached = np.cumsum(weight[inside][order])
            at = np.searchsorted(reached, np.linspace(0, reached[-1], n + 1)[1:-1])
            for age in h.time[inside][order][np.minimum(at, len(order) - 1)]:
                if edges[-1] + least < age < stop - least:
                    edges.append(float(age))
        if stop > edges[-1]:
            edges.append(stop)
    return np.array(edges)


def first_groups(h: Histories, observed: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Groups (N,) of videos whose target grew alike, whatever its level; at most so many."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    later = observed[:, None] + (h.end - observed)[:, None] * [0.05, 0.15, 0.3, 0.6, 1.0]
    edges = np.column_stack([np.zeros(len(h)), observed / 2, observed, later])
    grown = np.log(h.counts(edges)[:, :, 0] + 0.5)
    grown -= grown.mean(1, keepdims=True)
    classes = min(classes, len(np.unique(grown, axis=0)))
    with threadpool_limits(1):  # sums in one order, whatever the machine
        found: np.ndarray = KMeans(classes, n_init=5, random_state=seed).fit_predict(grown)
    return found


def first_rates(
    h: Histories, edges: np.ndarray, group: np.ndarray, kinds: int
) -> dict[str, np.ndarray]:
    """Where EM begins: rates and mixtures of each group, drawn a little to those of all."""
    flat, classes = np.ones(HOURS), int(group.max()) + 1
    span = exposure(h.hour, np.zeros(len(h)), h.end, edges, flat)  # (N, B)
    in_bin, of_kind = np.zeros(span.shape), np.zeros((len(h), kinds))
    share = h.count / np.bincount(h.video, h.count, len(h))[h.video]
    np.add.at(in_bin, (h.video, bins(h.time, edges)), share)
    np.add.at(of_kind, (h.video, h.kind), h.count)
    common = in_bin.sum(0) / np.maximum(span.sum(0), LITTLE)
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
