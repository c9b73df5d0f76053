"""A trajectory key that has learned which videos turn out alike (docs/model.md, section 4).

Notable:
- metric learning for kernel regression: a row's future is forecast from the other rows of its
  batch, weighted by the softmax of their cosines; the error of that forecast is the loss;
- a row never serves its own group, in no loss and in no held-out error: what is learned is how to
  find strangers;
- the key of a video is a function of its X_s alone: its own future decides nothing but weights;
- several small networks, each with its own held-out share, lie side by side with the
  likelihood-only key: the cosine is `(1 - SHARE)` times theirs, averaged, and `SHARE` times its;
- where that does not beat the likelihood-only key on the held-out rows, the key is that one.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from m3tr.threads import one_thread

MEMBERS = 8
SHARE = 0.25  # of the likelihood-only key: its errors are others, and on few data it knows more
HIDDEN, WIDTH = 32, 8  # small, with much dropout: larger ones remember the training futures
DROPOUT, DECAY = 0.3, 0.1
EPOCHS, PATIENCE, RATE = 60, 8, 3e-3
BATCH = 512
SHARPNESS = 33.0  # of the softmax, at the start: 1 / temperature
HELD_OUT = 0.15
NEIGHBOURS = 10  # as many as a search returns
JUDGED = 1024  # rows at most, of each kind, whose neighbours are looked at after an epoch
MIN_ROWS = 50  # fewer teach nothing
LAYERS = 3
FIGURES = ("likelihood", "supervised", "training")


class SupervisedKey:
    """Key whose neighbours have like futures; fitted on the training split.

    Attributes
    ----------
    arrays : dict of ndarray
        All that is fitted: weights by layer, first axis the members; without any weights the key
        is X_s standardised, of length 1.
    figures : dict of float
        Error of the mean future of the nearest neighbours on held-out rows of the training split,
        in variances of the futures: `likelihood` with the likelihood-only key, `supervised` with
        this one, `training` with this one on the rows it was fitted on, each without its group.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.figures: dict[str, float] = {}

    def fit(
        self, z: np.ndarray, future: np.ndarray, groups: np.ndarray, seed: int
    ) -> "SupervisedKey":
        """Learn from the training split.

        Parameters
        ----------
        z : ndarray, shape (N, D_s)
            X_s in standard deviations (`KeyMaker.standardise`).
        future : ndarray, shape (N, H)
            What came after the clock: increments, log2 units.
        groups : ndarray, shape (N,)
            What no held-out share may cut (`kindred`).
        seed : int
            Decides held-out shares, initial weights, dropout and order.
        """
        z, future = np.asarray(z, np.float32), np.asarray(future, float)
        self.arrays, self.figures = {"members": np.zeros(1, np.int64)}, {}
        spread = future.std(0) if len(future) else np.zeros(future.shape[1])
        told = spread > 1e-9
        if len(z) < MIN_ROWS or not told.any() or not np.ptp(z, axis=0).any():
            return self
        y = ((future - future.mean(0)) / np.where(told, spread, 1.0))[:, told].astype(np.float32)
        group = np.unique(groups, return_inverse=True)[1]
        if len(np.unique(group)) < 2:  # all of one creator: each video is a group of its own
            group = np.arange(len(z))
        rows = torch.as_tensor(z), torch.as_tensor(y), torch.as_tensor(group)
        with one_thread(), torch.random.fork_rng(devices=[]):
            members = [_member(*rows, seed=seed + i) for i in range(MEMBERS)]
        errors = np.mean([m.errors for m in members], axis=0)
        self.figures = dict(zip(FIGURES, errors.tolist(), strict=True))
        if errors[1] < errors[0]:
            self.arrays = {"members": np.array([MEMBERS])}
            for layer in range(LAYERS):
                for name in ("weight", "bias"):
                    each = [getattr(m.layers[layer], name).detach().numpy() for m in members]
                    self.arrays[f"{name}.{layer}"] = np.stack(each)
        return self

    @property
    def learned(self) -> bool:
        """Whether this is more than the likelihood-only key."""
        return "weight.0" in self.arrays

    def transform(self, z: np.ndarray) -> np.ndarray:
        """Unit keys (N, D_s + MEMBERS * WIDTH), float32, of standardised X_s (N, D_s).

        A row of zeros of a key that was not learned stays zero.
        """
        x = torch.as_tensor(np.asarray(z, np.float32))
        with one_thread(), torch.no_grad():
            if not self.learned:  # as wide as ever: keys of several ages share an index
                nothing = torch.zeros(len(x), MEMBERS * WIDTH)
                return torch.cat([nothing, F.normalize(x, dim=1)], 1).numpy()
            parts = []
            for member in range(int(self.arrays["members"][0])):
                h = x
                for layer in range(LAYERS):
                    weight, bias = (self.arrays[f"{n}.{layer}"] for n in ("weight", "bias"))
                    h = F.gelu(h) if layer else h
                    h = F.linear(h, torch.as_tensor(weight[member]), torch.as_tensor(bias[member]))
                parts.append(F.normalize(h, dim=1))
            learned = torch.cat(parts, 1) / len(parts) ** 0.5
            return _beside(learned, x).numpy()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "SupervisedKey":
        """A fitted key from its `arrays`."""
        new = cls()
        new.arrays = dict(arrays)
        return new


class _Network(nn.Module):
    """X_s (N, D_s) -> unit rows (N, WIDTH)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        sizes = [(size, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, WIDTH)]
        self.layers = nn.ModuleList([nn.Linear(*pair) for pair in sizes])
        self.sharpness = nn.Parameter(torch.tensor(float(np.log(SHARPNESS))))
        self.errors = (np.inf, np.inf, np.inf)

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(F.dropout(F.gelu(x), DROPOUT, self.training) if i else x)
        return F.normalize(x, dim=1)


def _member(z: Tensor, y: Tensor, group: Tensor, seed: int) -> _Network:
    """One network, of the epoch with the least held-out error; its errors (see `figures`)."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    names = rng.permutation(int(group.max()) + 1)
    held_groups = names[: max(1, int(HELD_OUT * len(names)))]
    held = torch.as_tensor(np.isin(group.numpy(), held_groups))
    fit, rest = torch.nonzero(~held)[:, 0], torch.nonzero(held)[:JUDGED, 0]
    # one half says when to stop, the other whether anything was learned
    stop, judge = rest[::2], rest[1::2]
    network = _Network(z.shape[1])
    optimiser = torch.optim.AdamW(
        [
            {"params": network.layers.parameters(), "weight_decay": DECAY},
            {"params": [network.sharpness], "weight_decay": 0.0},
        ],
        RATE,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)

    def error(keys: Tensor, of: Tensor) -> float:
        return _nearest_error(keys[of], keys[fit], y[of], y[fit], group[of], group[fit])

    def state() -> dict[str, Tensor]:
        return {name: value.clone() for name, value in network.state_dict().items()}

    best, weights, epoch_of_best = np.inf, state(), 0
    for epoch in range(EPOCHS):
        network.train()
        for batch in fit[torch.as_tensor(rng.permutation(len(fit)))].split(BATCH):
            loss = _forecast_error(network(z[batch]), network.sharpness, y[batch], group[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
        network.eval()
        with torch.no_grad():
            now = error(_beside(network(z), z), stop)
        if now < best:
            best, weights, epoch_of_best = now, state(), epoch
        elif epoch - epoch_of_best >= PATIENCE:
            break
    network.load_state_dict(weights)
    with torch.no_grad():
        keys = _beside(network(z), z)
        alone = error(F.normalize(z, dim=1), judge)
        network.errors = alone, error(keys, judge), error(keys, fit[:JUDGED])
    return network.eval()


def _beside(learned: Tensor, z: Tensor) -> Tensor:
    """Learned unit keys (N, d) beside X_s of length 1: together of length 1 again."""
    parts = [learned * (1 - SHARE) ** 0.5, F.normalize(z, dim=1) * SHARE**0.5]
    return F.normalize(torch.cat(parts, 1), dim=1)


def _forecast_error(key: Tensor, sharpness: Tensor, y: Tensor, group: Tensor) -> Tensor:
    """Squared error of each row's future (B, H) forecast from the other groups of its batch."""
    own = group[:, None] == group
    score = (key @ key.T * sharpness.exp()).masked_fill(own, -torch.inf)
    some = ~own.all(1)  # a batch may hold one group only
    if not some.any():
        return key.sum() * 0.0
    return (torch.softmax(score[some], 1) @ y - y[some]).square().mean()


def _nearest_error(
    query: Tensor, key: Tensor, y: Tensor, known: Tensor, own: Tensor, group: Tensor
) -> float:
    """Squared error of the mean future of the nearest keys of other groups."""
    score = (query @ key.T).masked_fill(own[:, None] == group, -torch.inf)
    value, found = score.topk(min(NEIGHBOURS, len(key)), 1)
    weight = value.isfinite().float()[:, :, None]
    near = (known[found] * weight).sum(1) / weight.sum(1).clamp_min(1)
    return float((near - y).square().mean())
