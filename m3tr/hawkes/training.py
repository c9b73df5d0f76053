"""Maximum likelihood: the classical process, and the context network on top of it and with it."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from m3tr.hawkes.classical import fit_classical
from m3tr.hawkes.events import EventBatch, buckets, ties
from m3tr.hawkes.likelihood import log_likelihood, mean_log_likelihood
from m3tr.hawkes.process import MambaHawkes
from m3tr.hawkes.settings import HawkesSettings
from m3tr.progress import track
from m3tr.threads import one_thread

# shares of the rate that the softplus part may have before it is trained
SHARES = (0.02, 0.1, 0.3, 0.6, 0.9)
# learning rates relative to the network's: the logarithms of rates, and alpha
RATES, ALPHA = 3.0, 0.3
# rate of a kind that never happens, in mean rates
NEVER = 1e-9


def fit(
    events: EventBatch,
    kinds: Sequence[str],
    settings: HawkesSettings,
    held: EventBatch | None = None,
) -> MambaHawkes:
    """Maximum likelihood fit of a process to training sequences.

    The classical part alone is a concave problem and solved as such, with its decay rates where
    none are given. With the context part, AdamW over minibatches of sequences starts from a mixture
    of it and a renewal process; sequences held out choose the epoch. A batch's total is divided by
    one constant, never each sequence by its own length. The result depends on `settings.seed` only.

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
    with one_thread(), torch.random.fork_rng(devices=[]):
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


def _split(
    events: EventBatch, settings: HawkesSettings, generator: torch.Generator
) -> tuple[EventBatch, EventBatch]:
    """Training and held-out sequences; where a part would have no event, all are used for both."""
    n_held = round(settings.validation_share * len(events))
    if not settings.context or n_held == 0:
        return events, events
    order = torch.randperm(len(events), generator=generator)
    parts = events.select(order[n_held:]), events.select(order[:n_held])
    if not all(bool((part.mask & (part.time > 0)).any()) for part in parts):
        return events, events
    return parts


def start_context(model: MambaHawkes, events: EventBatch) -> None:
    """The likeliest mixture of the classical process and a renewal process, the softplus part."""
    hazard = _hazard(model, events)
    largest = hazard.max(0).values  # training then moves the logarithm of a rate
    log_mu, alpha = model.log_mu.detach().clone(), model.alpha.detach().clone()

    def mix(share: float) -> float:
        model.log_mu.copy_(log_mu + math.log1p(-share))
        model.alpha.copy_((1 - share) * alpha)
        z = torch.log(torch.expm1(share * hazard / largest))
        model.head.bias.copy_(z.flatten())
        return mean_log_likelihood(model, events)

    with torch.no_grad():
        model.eval()
        model.log_s.copy_((largest * model.unit).log())
        model.head.weight.mul_(0.3)
        mix(max(SHARES, key=mix))


def _hazard(model: MambaHawkes, events: EventBatch) -> Tensor:
    """Rate of each kind at the knots, (R + 1, K): events between two knots over the time there."""
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
    hazard = (number + 1) / (spent + 1 / prior.clamp(min=NEVER / float(model.unit)))
    return torch.cat([hazard[:1], (hazard[1:] * hazard[:-1]).sqrt(), hazard[-1:]])


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
        network = [p for p in self.learned if id(p) not in own]
        alpha = [model.alpha] if settings.classical else []
        parts = [
            ([p for p in network if p.ndim > 1], 1.0, settings.weight_decay),
            ([p for p in network if p.ndim <= 1], 1.0, 0.0),
            (rates, RATES, 0.0),
            (alpha, ALPHA, 0.0),
        ]
        return [
            {"params": p, "lr": rate * settings.learning_rate, "weight_decay": decay}
            for p, rate, decay in parts
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
