"""Settings of the approximate index of a large segment of the memory bank."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class IndexSettings(BaseModel):
    """Which index a segment gets and how good it has to be (m3tr/memory/approximate/choice.py).

    Attributes
    ----------
    kind : str
        `flat` scans every row exactly, `ivf` and `hnsw` do not; `auto` is `flat` up to
        `exact_up_to` items and `ivf` above.
    codes : str
        How `ivf` and `hnsw` hold the keys: `pq4` (half a byte for 2 to 8 dimensions; `ivf` only),
        `sq8`, `bf16` or `full`; `auto` is `pq4` for `ivf`, and `full`, or `sq8` where `memory` is
        short, for `hnsw`.
    recall : float
        Share of the exact ten best that a search must find, on average, at the default weights.
    memory : int, optional
        Bytes that the index of one segment may take.
    exact_up_to : int
        Items up to which `auto` keeps a segment without an index.
    threads : int, optional
        Threads of a search whose queries have different clocks; all by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["auto", "flat", "ivf", "hnsw"] = "auto"
    codes: Literal["auto", "pq4", "sq8", "bf16", "full"] = "auto"
    recall: float = Field(0.98, gt=0, lt=1)
    memory: int | None = Field(None, ge=1)
    exact_up_to: int = Field(100_000, ge=0)
    threads: int | None = Field(None, ge=1)
