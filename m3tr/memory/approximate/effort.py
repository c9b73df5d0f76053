"""How much effort a search of an index takes, and when a scan is cheaper or better."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from m3tr.memory.approximate.choice import Plan
from m3tr.memory.approximate.recall import Setting


@dataclass(frozen=True)
class Efforts:
    """What was tuned when an index was built.

    Attributes
    ----------
    table : sequence of Setting
        Effort, candidates and measured recall by eta and share of the rows.
    plan : Plan
    n : int
        Rows.
    eta : float
        The default one.
    """

    table: Sequence[Setting]
    plan: Plan
    n: int
    eta: float

    def setting(self, eta: float | None = None, limit: int | None = None) -> Setting:
        """Effort, and candidates for each neighbour, of a search, and the recall of the two.

        Between two etas of the table the dearer one counts, and the next smaller share of the rows.
        """
        eta = self.eta if eta is None else eta
        etas = {s.eta for s in self.table}
        near = {max((e for e in etas if e <= eta), default=min(etas))}
        near |= {min((e for e in etas if e >= eta), default=max(etas))}
        share = 1.0 if limit is None else limit / self.n
        shares = {s.share for s in self.table}
        held = max((s for s in shares if s <= share + 1e-9), default=min(shares))
        rows = [s for s in self.table if s.eta in near and s.share == held]
        worst = min(rows, key=lambda s: s.recall)
        effort, factor = max(s.effort for s in rows), max(s.factor for s in rows)
        return replace(worst, effort=effort, factor=factor, reached=all(s.reached for s in rows))

    def wanted(self, k: int, eta: float | None = None) -> int:
        """Candidates to ask for so that `k` exactly scored ones remain."""
        shares = {s.share for s in self.table}
        return k * max(self.setting(eta, round(share * self.n)).factor for share in shares)

    def exact_below(self, eta: float | None = None, k: int = 10) -> int:
        """The limit up to which scanning all permitted rows exactly costs less than a search."""
        held = self.setting(eta)
        return min(self.n, int(self.plan.cost(self.n, held.effort, held.factor * k)))

    def scan_first(self, limit: np.ndarray, eta: float | None = None) -> np.ndarray:
        """True for the queries that the caller scans exactly instead of asking, shape (Q,).

        Those are the ones for which a scan costs less, and those of an eta and a share of the rows
        for which no effort reached the recall wanted.
        """
        limit = np.minimum(limit, self.n)
        reached = {at: self.setting(eta, int(at)).reached for at in np.unique(limit)}
        return (limit <= self.exact_below(eta)) | ~np.array([reached[at] for at in limit], bool)
