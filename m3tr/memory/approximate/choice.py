"""Which index for how many items, and what a search of it costs.

The rule, from `python -m benchmarks retrieval_scale` (docs/retrieval-benchmarks.md):
- up to 100,000 items no index: a scan is exact and takes a few milliseconds;
- above, inverted lists over 4-bit product codes of the residuals, read by fast scan: a row costs
  a tenth of a row of the blocked matrix product, while `sq8` and `full` rows cost several times as
  much as one of it, because lists are read query by query and a matrix product shares its reads;
- some 2 sqrt(N) lists: half or twice as many search as fast, and twice as many take longer to fill;
- `memory` below what 2 dimensions a code take makes it 4, then 8; recall then costs candidates;
- `hnsw` only if asked for: its build takes by far the longest, and it copies the keys.
"""

import math
from dataclasses import dataclass

from m3tr.errors import InputError
from m3tr.memory.approximate.settings import IndexSettings

POINTS_PER_LIST = 39  # fewer do not place a centroid
FEWEST = 32  # rows: codes are trained on 16 or more
SAMPLE = 262_144  # rows that train the centroids, at most
LINKS = 16  # of an HNSW node and level; twice as many at the lowest
BUILD_EF = 100  # candidates while an HNSW node is linked
MOST_CODES = 256  # sums of more than 256 table entries do not fit fast scan's 16 bits
# time of one unit of work over that of one row of an exact scan in batches (2 threads, AVX-512)
ROW = {"pq4": 0.1, "sq8": 3.2, "bf16": 6.0, "full": 8.0}
QUERY = 10_000.0  # its tables, its heap, its share of the call
CENTROID = 1.3
PROBE = 20.0  # entering a list
CANDIDATE = 40.0  # a random read and an exact score
HOP = 60.0  # one unit of efSearch: some 2 * LINKS random reads, half of them seen before


@dataclass(frozen=True)
class Plan:
    """What is built: kind, codes, dimensions a code (`pq4`) and number of lists (`ivf`)."""

    kind: str
    codes: str = "full"
    dims: int = 1
    lists: int = 0

    def factory(self, d: int) -> str:
        """The FAISS factory string for keys of `d` dimensions."""
        held = {"sq8": "SQ8", "bf16": "SQbf16", "full": "Flat", "pq4": f"PQ{d // self.dims}x4fs"}
        if self.kind == "ivf":
            return f"IVF{self.lists},{held[self.codes]}"
        return f"HNSW{LINKS},{held[self.codes]}" if self.kind == "hnsw" else "Flat"

    def bytes(self, n: int, d: int) -> int:
        """Size of the index of `n` keys of `d` dimensions."""
        if self.kind == "flat":
            return 0
        held = {"sq8": d, "bf16": 2 * d, "full": 4 * d, "pq4": -(-d // (2 * self.dims))}
        row = held[self.codes]
        if self.kind == "hnsw":
            return n * (row + 4 * (2 * LINKS + 2) + 12)
        # row numbers; blocks of 32 are half empty at the end of a list
        blocks = 16 * row * self.lists if self.codes == "pq4" else 0
        return n * (row + 8) + blocks + 4 * d * self.lists

    def cost(self, n: int, effort: int, candidates: int) -> float:
        """Time of a search, in rows of an exact scan."""
        if self.kind == "flat":
            return n
        if self.kind == "hnsw":
            return HOP * max(effort, candidates)
        effort = min(effort, self.lists)
        scanned = ROW[self.codes] * n * effort / self.lists
        return QUERY + CENTROID * self.lists + PROBE * effort + scanned + CANDIDATE * candidates


def choose(n: int, d: int, settings: IndexSettings) -> Plan:
    """The index for `n` keys of `d` dimensions (a multiple of 8).

    Raises
    ------
    InputError
        Where nothing that `settings` permits fits `settings.memory`.
    """
    kind = settings.kind
    if kind == "auto":
        kind = "flat" if n <= settings.exact_up_to else "ivf"
    if kind == "flat" or n < FEWEST:
        return Plan("flat")
    fits = _permitted(kind, n, d, settings)
    if not fits:
        raise InputError(
            f"bank.index: {kind} cannot hold codes {settings.codes}: take kind ivf for pq4"
        )
    for plan in fits:
        if settings.memory is None or plan.bytes(n, d) <= settings.memory:
            return plan
    least = min(plan.bytes(n, d) for plan in fits)
    raise InputError(
        f"bank.index.memory: {settings.memory} bytes do not hold an {kind} index of {n} items "
        f"of {d} dimensions: allow at least {least}, or take kind flat"
    )


def _permitted(kind: str, n: int, d: int, settings: IndexSettings) -> list[Plan]:
    """From the dearest in memory to the cheapest."""
    if kind == "hnsw":
        codes = ["full", "sq8"] if settings.codes == "auto" else [settings.codes]
        return [Plan("hnsw", c) for c in codes if c != "pq4"]
    lists = n_lists(n)
    if settings.codes in ("auto", "pq4"):
        dims = [g for g in (2, 4, 8) if d // g <= MOST_CODES] or [8]
        return [Plan("ivf", "pq4", g, lists) for g in dims]
    return [Plan("ivf", settings.codes, 1, lists)]


def n_lists(n: int) -> int:
    """The power of two nearest 2 sqrt(n), with enough points for every list."""
    wanted = 2 ** round(math.log2(2 * math.sqrt(max(n, 1))))
    most = 2 ** int(math.log2(max(n // POINTS_PER_LIST, 1)))
    return min(wanted, most)
