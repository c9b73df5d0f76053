"""The memory bank of the training videos, and what it shows to whom."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from m3tr.data.duplicates import kindred
from m3tr.data.settings import TaskSettings, days
from m3tr.errors import InputError
from m3tr.features.store import Features
from m3tr.hawkes.process import MambaHawkes
from m3tr.memory.bank import Bank
from m3tr.memory.contract import violations
from m3tr.memory.keys import KeyMaker, Keys
from m3tr.memory.neighbours import Neighbours
from m3tr.memory.numbers import NUMBERS, Numbers
from m3tr.memory.settings import BankSettings
from m3tr.memory.weights import ETAS, Blend, learn
from m3tr.model.remember import content_of_keys, items_of, outcomes, younger_representations


def build_bank(
    videos: pl.DataFrame,
    feedback: pl.DataFrame,
    examples: pl.DataFrame,
    x_s: np.ndarray,
    features: Features,
    mhp: MambaHawkes,
    task: TaskSettings,
    settings: BankSettings,
    fingerprints: Mapping[str, str],
    provenance: Mapping[str, Any],
    seed: int,
) -> tuple[Bank, KeyMaker, dict[str, Any]]:
    """The bank of the training split (docs/retrieval.md).

    Parameters
    ----------
    videos, feedback, examples : DataFrame
        The clean tables and all examples.
    x_s : ndarray, shape (N, D_s)
        X_s of the examples at their clocks.
    features : Features
        Of the examples, in their order.
    mhp : MambaHawkes
        What made X_s.
    fingerprints : mapping
        Of what made X_s and the embeddings.
    provenance : mapping
        Kept in the manifest.

    Returns
    -------
    bank : Bank
    key_maker : KeyMaker
        Fitted on the training split.
    figures : dict
        Of the stage's report; `contract` counts forbidden neighbours over all examples.
    """
    split = examples["split"].to_numpy()
    train = np.flatnonzero(split == "train")
    past, age = examples[train.tolist()], task.observe.age
    ages = settings.younger(None if age is None else days(age))
    younger = younger_representations(mhp, feedback, past, ages)
    rows = examples.select("video_id").join(videos, on="video_id", maintain_order="left")
    numbers = Numbers().fit(rows[train.tolist()]) if settings.numbers else None
    content = content_of_keys(rows, features, numbers)
    own = {m: e[train] for m, e in content.items()}
    maker = KeyMaker().fit(x_s[train], own, younger)
    _require_modalities(settings, maker.modalities)
    values = {"x_s": x_s[train]} | outcomes(past, feedback, task.target)
    learned: dict[str, Any] = {}
    if settings.trajectory == "supervised":
        groups = kindred(rows[train.tolist()], task.kept_whole)
        learned["keys"] = maker.learn(x_s[train], younger, values["increment"], groups, seed)
    bank = Bank.build(
        items_of(past, videos, task.group_by),
        maker.keys(x_s[train], own, younger),
        values,
        eta=Blend().eta if settings.eta == "learned" else settings.eta,
        weights={} if settings.weights == "learned" else settings.weights,
        fingerprints={**fingerprints, "keys": maker.fingerprint()},
        provenance=provenance,
        numbers=numbers,
    )
    asked, causal = items_of(examples, videos, task.group_by), task.split == "temporal"
    everyone = maker.keys(x_s, content)
    if "learned" in (settings.eta, settings.weights):
        held = np.flatnonzero(split == "validation")
        truth = np.array(examples["increment"].to_list(), float)[held]
        bank = weighed(bank, everyone.select(held), asked[held.tolist()], truth, settings, causal)
        learned["weights"] = bank.manifest.learned
    bank = bank.indexed(settings.index, everyone.select(np.flatnonzero(split == "validation")))
    found = shown(bank, everyone, asked, settings.k, task)
    held_out = set(examples.filter(pl.col("split") != "train")["video_id"])
    figures = {
        "items": len(bank),
        "ages_days": ages,
        "eta": bank.manifest.eta,
        "weights": dict(bank.manifest.weights),
        "learned": learned,
        "index": [None if s.index is None else s.index.facts for s in bank.segments],
        "neighbours_per_query": float(found.found.sum(1).mean()),
        "queries_without_neighbours": int((~found.found.any(1)).sum()),
        "similarity": {
            "trajectory": float(found.trajectory[found.found].mean()),
            "content": float(found.content[found.found].mean()),
        },
        "contract": violations(bank, asked, found, held_out, causal, task.group_by),
    }
    return bank, maker, figures


def weighed(
    bank: Bank,
    queries: Keys,
    asked: pl.DataFrame,
    truth: np.ndarray,
    settings: BankSettings,
    causal: bool,
) -> Bank:
    """The bank with the weights whose neighbours say most of validation's increments (Q, H)."""
    known_by = asked["observed_at"].to_numpy() if causal else None
    left_out, given = bank.alike(asked), bank.manifest
    of = [name for name in ("eta", "weights") if getattr(settings, name) == "learned"]

    def find(eta: float, weights: Mapping[str, float]) -> np.ndarray:
        return bank.search(queries, settings.k, eta, weights, known_by, left_out).index

    blend, tried = learn(
        find,
        bank.value("increment"),
        truth,
        given.modalities if "weights" in of else [],
        ETAS if "eta" in of else [given.eta],
        Blend(given.eta, given.weights),
    )
    return bank.with_weights(blend.eta, blend.weights, {"of": of, "tried": tried})


def shown(bank: Bank, queries: Keys, asked: pl.DataFrame, k: int, task: TaskSettings) -> Neighbours:
    """What queries are shown by the contract; `asked` identifies them and has their clocks."""
    known_by = asked["observed_at"].to_numpy() if task.split == "temporal" else None
    left_out = bank.withheld(asked, task.group_by)
    return bank.search(queries, k, known_by=known_by, exclude=left_out)


def _require_modalities(settings: BankSettings, there: list[str]) -> None:
    """InputError where a weight is set for a modality that no training video has."""
    named = {} if settings.weights == "learned" else settings.weights
    for m in sorted(set(named) - set(there)):
        remedy = "set bank.numbers: true" if m == NUMBERS else "remove it"
        raise InputError(
            f"params.yaml: bank.weights names {m!r}, which no training video has: {remedy}"
        )
