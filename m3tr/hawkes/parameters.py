"""Parameters of the classical process: given ones as a process, estimated ones as a frame."""

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike

from m3tr.errors import InputError
from m3tr.hawkes.classical import ClassicalFit
from m3tr.hawkes.frames import Kinds, kind_column
from m3tr.hawkes.process import MambaHawkes
from m3tr.hawkes.settings import HawkesSettings


def classical_process(
    mu: ArrayLike, branching: ArrayLike, decays: ArrayLike, kinds: list[str]
) -> MambaHawkes:
    """The process with these parameters; shapes as for `PointProcess.known`.

    Raises
    ------
    InputError
        Where shapes disagree, or a number is negative or not finite.
    """
    rate, offspring = (np.asarray(a, dtype=np.float64) for a in (mu, branching))
    times = np.atleast_1d(np.asarray(decays, dtype=np.float64))
    offspring = offspring[None] if offspring.ndim == 2 else offspring
    K, M = len(kinds), len(times)
    if rate.shape != (K,) or times.shape != (M,) or offspring.shape != (M, K, K):
        raise InputError(
            f"PointProcess.known: mu {rate.shape}, branching {offspring.shape} and decays "
            f"{times.shape} must be (K,), (M, K, K) and (M,) for {K} kinds."
        )
    for name, values in (("mu", rate), ("branching", offspring)):
        if not (np.isfinite(values) & (values >= 0)).all():
            raise InputError(f"PointProcess.known: {name} must be finite and not negative.")
    if not M or not (np.isfinite(times) & (times > 0)).all():
        raise InputError("PointProcess.known: decays must be finite and positive.")
    model = MambaHawkes(kinds, HawkesSettings(decays=times.tolist(), context=False))
    with torch.no_grad():
        model.log_mu.copy_(torch.from_numpy(rate).log())
        model.alpha.copy_(torch.from_numpy(offspring))
    return model.eval()


def error_table(found: ClassicalFit, kinds: Kinds) -> pl.DataFrame:
    """Estimates with their standard errors, as `PointProcess.standard_errors` gives them."""
    M, K = len(found.beta), len(kinds)
    m, receiver, source = (part.flatten() for part in np.indices((M, K, K)))
    name = kind_column(kinds, np.arange(K))
    parts = [
        _rows("mu", None, name, None, found.mu, found.mu_error),
        _rows(
            "alpha",
            pl.Series(found.beta[m]),
            name.gather(receiver),
            name.gather(source),
            found.alpha.flatten(),
            found.alpha_error.flatten(),
        ),
        _rows("beta", pl.Series(found.beta), None, None, found.beta, found.beta_error),
    ]
    kind = name.dtype
    wanted = {"rate": pl.Float64, "receiver": kind, "source": kind}
    table = pl.concat([part.cast(wanted) for part in parts])  # type: ignore[arg-type]
    return table.with_columns(pl.col("error").fill_nan(None))


def _rows(
    parameter: str,
    decay: pl.Series | None,
    receiver: pl.Series | None,
    source: pl.Series | None,
    value: np.ndarray,
    error: np.ndarray,
) -> pl.DataFrame:
    n = len(value)
    none = pl.Series([None] * n)
    names = {"rate": decay, "receiver": receiver, "source": source}
    columns = [(none if c is None else c).alias(name) for name, c in names.items()]
    first = pl.repeat(parameter, n, eager=True).alias("parameter")
    return pl.DataFrame([first, *columns, pl.Series("value", value), pl.Series("error", error)])
