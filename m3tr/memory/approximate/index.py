"""The approximate index of one large segment: candidates, which the caller scores exactly.

Notable:
- rows are held scaled by the square root of the default weights, queries by its inverse: products
  are those of the weighted query, and lists and codes are fitted to the scores that are asked for;
- lists are probed in the order of the distance to their centroid, not of its product, which misses
  the rows of wide lists; a list's product then comes from its distance;
- rows lie in the order in which they became known, so a clock is a range of row numbers, which
  FAISS itself applies while it scans;
- recall is measured when the index is built, and the effort of a search follows from it.
"""

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from m3tr.errors import InputError
from m3tr.memory.approximate.calls import Calls, default_threads, one_thread
from m3tr.memory.approximate.choice import Plan, choose
from m3tr.memory.approximate.effort import Efforts
from m3tr.memory.approximate.recall import ETAS, SHARES, Read, Setting, exact, tune
from m3tr.memory.approximate.settings import IndexSettings
from m3tr.memory.approximate.train import emptied, empty, fill, sample
from m3tr.memory.scan import blas

SCHEMA = 1
LEAST_WEIGHT = 0.05  # of the largest: a part of no weight by default is asked for by other etas
CHUNK = 64  # queries of one task: enough for a matrix product with the centroids
FEW = 64  # excluded rows that are asked for in addition rather than told to FAISS
PAD = 8  # dimensions are filled up to a multiple of it, for the codes


class Index:
    """Candidates from N rows of D dimensions; built by `build` or `load`.

    Attributes
    ----------
    n : int
        Rows.
    plan : Plan
        Kind, codes and lists.
    efforts : Efforts
        What was tuned.
    queries : ndarray of float32, shape (Q, D)
        Those that it was tuned on.
    facts : dict
        What was chosen and measured, as JSON: `kind`, `factory`, `n`, `d`, `bytes`,
        `build_seconds`, `recall`, `exact_below`, `table`.
    """

    def __init__(self, index: Any, plan: Plan, scale: np.ndarray, facts: dict[str, Any]) -> None:
        self._calls, self.plan, self._scale, self.facts = Calls(index, plan), plan, scale, facts
        self.n = int(index.ntotal)
        self.queries: np.ndarray | None = None
        self.efforts = self._efforts([Setting(**row) for row in facts.get("table", [])])
        self.threads = facts.get("threads") or default_threads()

    @classmethod
    def build(
        cls,
        read: Read,
        n: int,
        settings: IndexSettings,
        queries: np.ndarray,
        weights: Callable[[float], np.ndarray],
        *,
        eta: float = 0.5,
        like: "Index | None" = None,
        seed: int = 0,
    ) -> "Index":
        """Build and measure the index of `n` rows.

        Parameters
        ----------
        read : callable
            `read(start, stop)` gives rows as float32, shape (stop - start, D).
        n : int
            Rows, more than 0.
        settings : IndexSettings
            Of a kind other than `flat` for this n.
        queries : ndarray of float32, shape (Q, D)
            Keys like the bank's that are not in it, unweighted; some hundreds.
        weights : callable
            The weight of each dimension, shape (D,), for an eta.
        eta : float
            The default one.
        like : Index, optional
            An index whose centroids and codes are taken over instead of trained.
        seed : int
            Same seed, data and number of threads, same index.

        Raises
        ------
        InputError
            Where no index permitted by `settings` fits its memory.
        """
        started = perf_counter()
        queries = np.ascontiguousarray(queries, np.float32)
        d = queries.shape[1]
        if like is None:
            scale = np.ones(-(-d // PAD) * PAD, np.float32)
            w = weights(eta)
            scale[:d] = np.sqrt(np.maximum(w, LEAST_WEIGHT * np.max(w)))
            plan = choose(n, len(scale), settings)
        else:
            scale, plan = like._scale, like.plan
        if plan.kind == "flat":
            raise ValueError(f"{n} rows need no index")

        def rows(start: int, stop: int) -> np.ndarray:
            return _fit(read(start, stop), scale)

        if like is not None:
            index = emptied(like._calls.index, plan, len(scale))
        else:
            index = empty(plan, len(scale), sample(rows, n, plan, seed), seed)
        fill(index, rows, n, plan)
        seconds = {"fill": perf_counter() - started}
        self = cls(index, plan, scale, {"threads": settings.threads})
        self.queries = queries
        started = perf_counter()
        etas = sorted({*ETAS, eta})
        limits = [max(1, round(share * n)) for share in SHARES]
        weighted = {e: _weigh(queries, weights(e)) for e in etas}
        truths = exact(read, limits, np.vstack(list(weighted.values())))
        parts = {
            (e, share): truth.of(slice(i * len(queries), (i + 1) * len(queries)))
            for i, e in enumerate(etas)
            for share, truth in zip(SHARES, truths, strict=True)
        }
        table = tune(self._effortful, plan, n, settings.recall, parts, weighted)
        self.facts["eta"], self.efforts = eta, self._efforts(table, eta)
        seconds["tune"] = perf_counter() - started
        self._describe(d, eta, settings, seconds)
        return self

    def _efforts(self, table: Sequence[Setting], eta: float | None = None) -> Efforts:
        return Efforts(table, self.plan, self.n, self.facts.get("eta", 0.5) if eta is None else eta)

    def _describe(
        self, d: int, eta: float, settings: IndexSettings, seconds: dict[str, float]
    ) -> None:
        default = next(s for s in self.efforts.table if s.eta == eta and s.share == 1.0)
        changes = np.flatnonzero(np.diff(self._scale, prepend=np.nan) != 0)
        self.facts = {
            "schema": SCHEMA,
            "kind": self.plan.kind,
            "factory": self.plan.factory(len(self._scale)),
            "plan": {k: getattr(self.plan, k) for k in ("kind", "codes", "dims", "lists")},
            "n": self.n,
            "d": d,
            "eta": eta,
            "target": settings.recall,
            "recall": default.recall,
            "bytes": self.plan.bytes(self.n, len(self._scale)),
            "build_seconds": {k: round(v, 2) for k, v in seconds.items()},
            "threads": settings.threads,
            # every part has one weight: [where it starts, scale]
            "scale": [[int(i), float(self._scale[i])] for i in changes],
            "d_padded": len(self._scale),
            "table": [setting.row() for setting in self.efforts.table],
        }
        self.facts["exact_below"] = self.efforts.exact_below()

    @staticmethod
    def underfull(rows: np.ndarray, k: int, permitted: np.ndarray) -> np.ndarray:
        """True where `rows` (Q, n) hold fewer than `min(k, permitted)`: scan those exactly too.

        `permitted` (Q,) counts the rows below the limit that are not excluded.
        """
        return (rows >= 0).sum(1) < np.minimum(k, permitted)

    def candidates(
        self,
        queries: np.ndarray,
        n: int,
        limit: np.ndarray | None = None,
        exclude: Sequence[np.ndarray] | None = None,
        eta: float | None = None,
    ) -> np.ndarray:
        """Rows that are likely the best, best first as the codes see it.

        Parameters
        ----------
        queries : ndarray of float32, shape (Q, D)
            Weighted.
        n : int
            Candidates wanted (`wanted`).
        limit : ndarray of int, shape (Q,), optional
            Only rows below it.
        exclude : sequence of ndarray of int, optional
            Rows left out, one array a query.
        eta : float, optional
            Whose effort to spend; the default one without it.

        Returns
        -------
        ndarray of int64, shape (Q, n)
            -1 where there is no candidate.
        """
        if limit is None:
            limit = np.full(len(queries), self.n)
        limit = np.clip(limit, 0, self.n)
        found = np.full((len(queries), n), -1, np.int64)
        nothing = np.empty(0, np.int64)
        outs = [nothing] * len(queries)
        if exclude is not None:
            outs = _all_below(list(exclude), limit.tolist())
        fitted = _fit(queries, 1 / self._scale)
        # few are asked for in addition and dropped: nothing is lost, and a call serves all
        names = {id(out): out.tobytes() if len(out) > FEW else b"" for out in outs}
        told = [names[id(out)] for out in outs]
        # alike ones side by side: a call of FAISS has one limit and one set of excluded rows
        order = sorted(np.flatnonzero(limit > 0).tolist(), key=lambda i: (limit[i], told[i]))

        chunks = [order[start : start + CHUNK] for start in range(0, len(order), CHUNK)]

        def answer(members: list[int]) -> None:
            most = max(self._effort(int(limit[i]), eta) for i in members)
            probes = self._calls.probes(fitted[members], most)
            alike = groupby(range(len(members)), lambda j: (limit[members[j]], told[members[j]]))
            for (at, left_out), group in alike:
                at, here = int(at), list(group)
                which = [members[j] for j in here]
                spare = 0 if left_out else max(len(outs[i]) for i in which)
                effort = self._effort(at, eta)
                lists = None if probes is None else tuple(p[here, :effort] for p in probes)
                rows = self._calls.search(
                    fitted[which], min(n + spare, at), at, np.frombuffer(left_out, np.int64),
                    effort, lists,
                )  # fmt: skip
                if not spare:
                    found[which, : rows.shape[1]] = rows
                    continue
                for i, row in zip(which, rows, strict=True):
                    row = row[(row >= 0) & ~np.isin(row, outs[i])][:n]
                    found[i, : len(row)] = row

        with blas().limit(limits=1):
            if len(chunks) < 2 or self.threads < 2:
                for chunk in chunks:
                    answer(chunk)
            else:  # threads of ours wait for nobody, where those of a FAISS call wait for the last
                with ThreadPoolExecutor(self.threads, initializer=one_thread) as pool:
                    list(pool.map(answer, chunks))
        return found

    def _effort(self, limit: int, eta: float | None) -> int:
        return self.efforts.setting(eta, limit).effort

    def _effortful(self, queries: np.ndarray, n: int, limit: int, effort: int) -> np.ndarray:
        """Candidates at a given effort, for tuning."""
        fitted = _fit(queries, 1 / self._scale)
        n = min(n, limit, effort if self.plan.kind == "hnsw" else n)
        nothing = np.empty(0, np.int64)
        probes = self._calls.probes(fitted, effort)
        return self._calls.search(fitted, n, limit, nothing, effort, probes)

    def save(self, path: Path) -> None:
        """Write `path` and, as the sign that it is whole, its JSON beside it."""
        import faiss

        partial = path.with_name(path.name + ".partial")
        faiss.write_index(self._calls.index, str(partial))
        facts = self.facts | {"bytes": partial.stat().st_size}
        about = _about(path)
        about.unlink(missing_ok=True)
        if self.queries is not None:
            np.save(_queries(path), self.queries, allow_pickle=False)
        os.replace(partial, path)
        partial.write_text(json.dumps(facts, indent=1))
        os.replace(partial, about)
        self.facts = facts

    @classmethod
    def load(cls, path: Path) -> "Index":
        """Open an index written by `save`, memory-mapped but for `pq4` codes, which FAISS copies.

        Raises
        ------
        InputError
            Where `path` holds none that is whole and of this version.
        """
        import faiss

        try:
            facts = json.loads(_about(path).read_text())
            whole = facts["schema"] == SCHEMA and facts["bytes"] == path.stat().st_size
        except (OSError, json.JSONDecodeError, KeyError):
            whole = False
        if not whole:
            raise InputError(f"{path} holds no whole index: run the stage `bank` to build it")
        plan = Plan(**facts["plan"])
        # mapped, fast scan's blocks would be copied all the same, and the file read twice
        flags = 0 if plan.codes == "pq4" else faiss.IO_FLAG_MMAP_IFC
        scale = np.empty(facts["d_padded"], np.float32)
        for start, value in facts["scale"]:
            scale[start:] = value
        new = cls(faiss.read_index(str(path), flags), plan, scale, facts)
        if _queries(path).exists():
            new.queries = np.load(_queries(path), allow_pickle=False)
        return new


def _about(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _queries(path: Path) -> Path:
    return path.with_name(path.name + ".queries.npy")


def _weigh(queries: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(queries * weights, np.float32)


def _fit(rows: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """`rows` (N, D) scaled and filled up with zeros to the dimensions of `scale`."""
    fitted = np.zeros((len(rows), len(scale)), np.float32)
    fitted[:, : rows.shape[1]] = rows * scale[: rows.shape[1]]
    return fitted


def _all_below(exclude: list[np.ndarray], limits: list[int]) -> list[np.ndarray]:
    """Of each query; one array for those that share both."""
    both = list(zip(map(id, exclude), limits, strict=True))
    found = {
        key: _below(rows, key[1]) for key, rows in dict(zip(both, exclude, strict=True)).items()
    }
    return [found[key] for key in both]


def _below(rows: Sequence[int] | np.ndarray, limit: int) -> np.ndarray:
    """Distinct excluded rows that the limit would have let pass, sorted."""
    left_out = np.unique(np.asarray(rows, np.int64))
    return left_out[(left_out >= 0) & (left_out < limit)]
