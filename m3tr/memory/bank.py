"""The memory bank: past videos, their keys, and what is remembered of them (docs/model.md, 4).

Notable:
- one exact inner-product index over `[x_s_hat ; r_hat]`; the query carries the weights, so `eta`
  is an argument of the search;
- items lie in the order in which their outcome became known, so "known by then" is a range of ids;
- near-duplicates of a query are never among its neighbours, and it still gets its k.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from m3tr.errors import InputError

SCHEMA = 1


@dataclass(frozen=True)
class Keys:
    """Unit keys of N videos, zero rows where there is nothing to compare.

    Attributes
    ----------
    trajectory : ndarray, shape (N, D_s)
    content : ndarray, shape (N, D_r)
    """

    trajectory: np.ndarray
    content: np.ndarray


@dataclass(frozen=True)
class Neighbours:
    """What a search found, best first.

    Attributes
    ----------
    index : ndarray of int64, shape (Q, k)
        Positions in the bank; -1 where fewer than k items were allowed.
    score, trajectory, content : ndarray, shape (Q, k)
        The combined similarity and its two cosines; 0 where `index` is -1.
    """

    index: np.ndarray
    score: np.ndarray
    trajectory: np.ndarray
    content: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """True where there is a neighbour, shape (Q, k)."""
        return self.index >= 0

    def weights(self, weighting: str = "mean", temperature: float = 0.1) -> np.ndarray:
        """Weights over the neighbours, shape (Q, k), rows summing to 1 (0 where none is found)."""
        logit = self.score / temperature if weighting == "softmax" else np.zeros_like(self.score)
        top = np.where(self.found, logit, -np.inf).max(1, initial=-np.inf, keepdims=True)
        w = np.where(self.found, np.exp(np.minimum(logit - top, 0)), 0.0)
        return w / np.maximum(w.sum(1, keepdims=True), 1.0)  # the best one has weight 1 so far


@dataclass
class Bank:
    """Past videos that a query may be shown.

    Attributes
    ----------
    items : DataFrame
        `video_id`, `known_at` (ascending), near-duplicate `group` and what else identifies an item
        (title, creator, media), one row an item.
    keys : Keys
        Unit keys in the order of `items`.
    values : dict of ndarray
        Anything remembered of the items, first axis in their order.
    """

    items: pl.DataFrame
    keys: Keys
    values: dict[str, np.ndarray] = field(default_factory=dict)
    _index: Any = None

    @classmethod
    def build(cls, items: pl.DataFrame, keys: Keys, values: Mapping[str, np.ndarray]) -> "Bank":
        """A bank of `items`, put into the order of `known_at`."""
        order = np.lexsort((items["video_id"].to_numpy(), items["known_at"].to_numpy()))
        return cls(
            items[order.tolist()],
            Keys(keys.trajectory[order], keys.content[order]),
            {name: value[order] for name, value in values.items()},
        )

    def __len__(self) -> int:
        return self.items.height

    def search(
        self,
        query: Keys,
        k: int,
        eta: float,
        known_by: np.ndarray | None = None,
        exclude: np.ndarray | None = None,
    ) -> Neighbours:
        """The k items of highest combined similarity to each query.

        Parameters
        ----------
        query : Keys
            Unit keys of Q queries.
        k : int
            Neighbours wanted.
        eta : float
            Weight of the trajectory cosine; the content cosine has `1 - eta`.
        known_by : ndarray of datetime64[us], shape (Q,), optional
            Only items whose outcome was known by then; without it, all (random splits).
        exclude : ndarray of int, shape (Q,), optional
            Near-duplicate group of each query; its items are left out.
        """
        import faiss

        n_queries, n_items = len(query.trajectory), len(self)
        weighted = np.hstack([eta * query.trajectory, (1 - eta) * query.content])
        weighted = np.ascontiguousarray(weighted, np.float32)
        limit = np.full(n_queries, n_items)
        if known_by is not None:
            limit = np.searchsorted(self.items["known_at"].to_numpy(), known_by, side="right")
        groups = self.items["group"].to_numpy()
        spare = 0
        if exclude is not None and n_items:
            # so many items at most can be left out of one answer
            ids, size = np.unique(groups, return_counts=True)
            spare = int(size[np.isin(ids, exclude)].max(initial=0))
        index = np.full((n_queries, k), -1, np.int64)
        score = np.zeros((n_queries, k))
        for upper in np.unique(limit[limit > 0]):
            rows = np.flatnonzero(limit == upper)
            wanted = int(min(k + spare, upper))
            allowed = faiss.IDSelectorRange(0, int(upper))
            parameters: Any = faiss.SearchParameters(**{"sel": allowed})
            s, found = self._faiss().search(weighted[rows], wanted, params=parameters)
            for r, row in enumerate(rows):
                keep = found[r] >= 0
                if exclude is not None:
                    keep &= groups[found[r]] != exclude[row]
                best = np.flatnonzero(keep)[:k]
                index[row, : len(best)] = found[r, best]
                score[row, : len(best)] = s[r, best]
        trajectory = self._cosine(query.trajectory, self.keys.trajectory, index)
        content = self._cosine(query.content, self.keys.content, index)
        return Neighbours(index, score, trajectory, content)

    def with_groups(self, groups: pl.DataFrame) -> "Bank":
        """The same bank with other near-duplicate groups (`video_id`, `group`)."""
        items = self.items.drop("group").join(
            groups, on="video_id", how="left", maintain_order="left"
        )
        return Bank(items, self.keys, self.values, self._index)

    def save(self, folder: Path) -> None:
        """Write the bank to `folder` (items.parquet, arrays.safetensors, index.faiss, manifest)."""
        import faiss
        from safetensors.numpy import save_file

        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self.items.write_parquet(partial / "items.parquet")
        arrays = {"key.trajectory": self.keys.trajectory, "key.content": self.keys.content}
        arrays |= {f"value.{name}": value for name, value in self.values.items()}
        save_file(
            {n: np.ascontiguousarray(a) for n, a in arrays.items()}, partial / "arrays.safetensors"
        )
        faiss.write_index(self._faiss(), str(partial / "index.faiss"))
        manifest = {"schema": SCHEMA, "items": len(self)}
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)

    @classmethod
    def load(cls, folder: Path) -> "Bank":
        """Read a bank written by `save`; InputError where `folder` holds none that fits."""
        import faiss
        from safetensors.numpy import load_file

        try:
            manifest = json.loads((folder / "manifest.json").read_text())
        except (OSError, json.JSONDecodeError):
            raise InputError(
                f"{folder} holds no memory bank: run the stage `bank` to build it"
            ) from None
        if manifest["schema"] != SCHEMA:
            raise InputError(
                f"{folder} is a memory bank of schema {manifest['schema']}, this version reads "
                f"{SCHEMA}: run the stage `bank` to rebuild it"
            )
        arrays = load_file(folder / "arrays.safetensors")
        values = {n.removeprefix("value."): a for n, a in arrays.items() if n.startswith("value.")}
        keys = Keys(arrays["key.trajectory"], arrays["key.content"])
        index = faiss.read_index(str(folder / "index.faiss"))
        return cls(pl.read_parquet(folder / "items.parquet"), keys, values, index)

    def _faiss(self) -> Any:
        if self._index is None:
            import faiss

            joint = np.hstack([self.keys.trajectory, self.keys.content])
            self._index = faiss.IndexFlatIP(joint.shape[1])
            self._index.add(np.ascontiguousarray(joint, np.float32))
        return self._index

    @staticmethod
    def _cosine(query: np.ndarray, items: np.ndarray, index: np.ndarray) -> np.ndarray:
        if not len(items):
            return np.zeros(index.shape)
        cosine = np.einsum("qd,qkd->qk", query, items[index])
        return np.where(index >= 0, cosine, 0.0)


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of `x` (N, D) scaled to length 1, float32; zero rows stay zero."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return (x / np.where(length > 1e-12, length, 1.0)).astype(np.float32)
