"""Exact log likelihood of the process, and its maximisation."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from m3tr.hawkes.classical import fit_classical
from m3tr.hawkes.events import EventBatch, buckets, ties
from m3tr.hawkes.process import MambaHawkes
from m3tr.hawkes.settings import HawkesSettings
from m3tr.progress import track

# share of the rate that the softplus part has before it is trained
START_SHARE = 0.9
# learning rate of the logarithms of rates, relative to the network's
RATES = 10.0


class Likelihood(NamedTuple):
    """Log likelihood of each sequence on `(0, end]`, per unit of time, and its terms."""

    total: Tensor  # (B,) sum of `event` less the sum of `compensator`
    event: Tensor  # (B, L) log intensity of each event's kind just before it; 0 where not scored
    compensator: Tensor  # (B, K) integral of each kind's intensity over the window


def log_likelihood(model: MambaHawkes, events: EventBatch) -> Likelihood:
    """`sum_j log lambda_{k_j}(t_j-) - sum_k int_0^end lambda_k(t) dt`, exact.

    All kinds are integrated, with the stretch before the first event and the one after the last.
    Events at time 0 condition, and have no term. The density is per unit of time of the data: in
    another unit the total changes by the number of events times the logarithm of the ratio.
    """
    path = model(events)
    scored = events.mask & (events.time > 0)
    rows = torch.arange(len(events))[:, None]
    if path.left.shape[1]:
        at_event = path.left[rows, path.tied.group, events.kind]
        event = torch.where(scored, at_event, 1.0).log()
    else:
        event = torch.zeros_like(events.time)
    compensator = path.compensator.sum(1)
    return Likelihood(event.sum(1) - compensator.sum(1), event, compensator)


def fit(
    events: EventBatch,
    kinds: Sequence[str],
    settings: HawkesSettings,
    held: EventBatch | None = None,
) -> MambaHawkes:
    """Maximum likelihood fit of a process to training sequences.

    The classical part alone is a concave problem and solved as such. With the context part, AdamW
    over minibatches of sequences starts between it and a renewal process; sequences held
    out choose the epoch. A batch's total is divided by one constant, never each sequence by its own
    length. The result depends on `settings.seed` only.

    Parameters
    ----------
    events : EventBatch
        Training sequences only (docs/model.md section 2, clause 6).
    kinds : sequence of str
        The kinds, in the order of the kind numbers.
    settings : HawkesSettings
    held : EventBatch, optional
        Sequences that choose the epoch; default: `settings.validation_share` of `events`.

    Returns
    -------
    MambaHawkes
        In evaluation mode. Where the windows hold no event, as at a cold start, the likelihood is
        greatest for the process in which nothing happens: Poisson with rates near zero.
    """
    if not bool((events.mask & (events.time > 0)).any()):
        return _silent(kinds, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = MambaHawkes(kinds, settings)
        model.measure(events)
        if held is None:
            events, held = _split(events, settings, generator)
        fit_classical(model, events)
        if settings.context:
            start_context(model, events)
            _train(model, events, held, generator)
    return model.eval()


def _silent(kinds: Sequence[str], settings: HawkesSettings) -> MambaHawkes:
    off = settings.model_copy(update={"classical": False, "context": False})
    model = MambaHawkes(kinds, off)
    with torch.no_grad():
        model.log_mu.fill_(-torch.inf)  # what is left is the floor of a rate
    return model.eval()


def mean_log_likelihood(model: MambaHawkes, events: EventBatch, batch_size: int = 256) -> float:
    """Log likelihood per event over all sequences, per unit of time; no gradient."""
    total = 0.0
    with torch.no_grad():
        for rows in buckets(events.lengths, batch_size):
            total += float(log_likelihood(model, events.select(rows)).total.sum())
    return total / max(int((events.mask & (events.time > 0)).sum()), 1)


def _split(
    events: EventBatch, settings: HawkesSettings, generator: torch.Generator
) -> tuple[EventBatch, EventBatch]:
    """Training and held-out sequences; too few sequences are all used for both."""
    n_held = round(settings.validation_share * len(events))
    if not settings.context or n_held == 0:
        return events, events
    order = torch.randperm(len(events), generator=generator)
    return events.select(order[n_held:]), events.select(order[:n_held])


def start_context(model: MambaHawkes, events: EventBatch) -> None:
    """The softplus part as a renewal process, which takes most of the rate.

    Its hazard between two knots is the number of events there over the time spent there; `s` is the
    largest, so that training moves the logarithm of a rate.
    """
    tied = ties(events, len(model.kinds), model.settings.marks)
    G = tied.time.shape[1]
    spent = (tied.step[:, :, None] - model.knots[:-1]).clamp(min=0).minimum(model.knots.diff())
    piece = (torch.bucketize(tied.step[:, :G].contiguous(), model.knots) - 1).clamp(
        0, len(model.knots) - 2
    )
    scored = tied.mask & (tied.time > 0)
    number = torch.zeros(len(model.knots) - 1, len(model.kinds), dtype=torch.float64)
    number.index_add_(0, piece[scored], tied.number[scored])
    spent = spent.sum((0, 1))[:, None]
    prior = number.sum(0) / spent.sum()  # one event of each kind at its mean rate
    hazard = (number + 1) / (spent + 1 / prior.clamp(min=1e-12))
    at_knots = torch.cat([hazard[:1], (hazard[1:] * hazard[:-1]).sqrt(), hazard[-1:]])  # (R + 1, K)
    s = at_knots.max(0).values
    with torch.no_grad():
        model.log_s.copy_((s * model.unit).log())
        z = torch.log(torch.expm1(START_SHARE * at_knots / s))
        model.head.bias.copy_(z.flatten())
        model.head.weight.mul_(0.3)
        model.log_mu.add_(math.log1p(-START_SHARE))
        model.alpha.mul_(1 - START_SHARE)


def _train(
    model: MambaHawkes, train: EventBatch, held: EventBatch, generator: torch.Generator
) -> None:
    settings = model.settings
    training = Training(model, train, generator)
    best, waited = mean_log_likelihood(model, held), 0
    kept = {name: t.clone() for name, t in model.state_dict().items()}
    for _ in track(range(settings.epochs), "fitting the point process"):
        training.epoch()
        now = mean_log_likelihood(model.eval(), held)
        if now > best:
            best, waited = now, 0
            kept = {name: t.clone() for name, t in model.state_dict().items()}
        else:
            waited += 1
            if waited >= settings.patience:
                break
    model.load_state_dict(kept)


class Training:
    """AdamW over minibatches of similar length, a warm-up and a cosine over all epochs."""

    def __init__(self, model: MambaHawkes, train: EventBatch, generator: torch.Generator) -> None:
        settings = model.settings
        self.model, self.train, self.generator = model, train, generator
        self.size = settings.batch_size
        self.learned = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self._groups(), lr=settings.learning_rate, fused=True)
        steps = settings.epochs * len(buckets(train.lengths, self.size))
        peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, peaks, steps)
        self.constant = float(train.mask.sum()) * min(1.0, self.size / len(train))

    def _groups(self) -> list[dict[str, Any]]:
        """Weight decay for matrices of the network; never for rates, alpha or biases."""
        model, settings = self.model, self.model.settings
        rates = [model.log_mu, model.log_s]
        own = {id(p) for p in [*rates, model.alpha]}
        network = [p for p in model.parameters() if id(p) not in own]
        matrices = [p for p in network if p.ndim > 1]
        free = [p for p in network if p.ndim <= 1] + [model.alpha] * settings.classical
        return [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": free, "weight_decay": 0.0},
            {"params": rates, "weight_decay": 0.0, "lr": RATES * settings.learning_rate},
        ]

    def epoch(self) -> None:
        """One pass over the training sequences."""
        self.model.train()
        for rows in buckets(self.train.lengths, self.size, self.generator):
            total = log_likelihood(self.model, self.train.select(rows)).total.sum()
            self.optimizer.zero_grad()
            (-total / self.constant).backward()
            torch.nn.utils.clip_grad_norm_(self.learned, self.model.settings.clip)
            self.optimizer.step()
            self.schedule.step()
            with torch.no_grad():
                self.model.alpha.clamp_(min=0)
