"""Exact log likelihood of the process, and its maximisation."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from m3tr.hawkes.classical import fit_classical
from m3tr.hawkes.events import EventBatch, buckets, weight
from m3tr.hawkes.process import MambaHawkes
from m3tr.hawkes.settings import HawkesSettings
from m3tr.progress import track

# share of the rate that the softplus part has before it is trained
START_SHARE = 0.05


class Likelihood(NamedTuple):
    """Log likelihood of each sequence on `(0, end]`, per day, and its terms."""

    total: Tensor  # (B,) sum of `event` less the sum of `compensator`
    event: Tensor  # (B, L) log intensity of each event's kind just before it; 0 where not scored
    compensator: Tensor  # (B, K) integral of each kind's intensity over the window


def log_likelihood(model: MambaHawkes, events: EventBatch) -> Likelihood:
    """`sum_j log lambda_{k_j}(t_j-) - sum_k int_0^end lambda_k(t) dt`, exact.

    All kinds are integrated, with the stretch before the first event and the one after the last.
    Events at time 0 condition, and have no term. The density is per day: in another unit of time
    the total changes by the number of events times the logarithm of the ratio of units.
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


def fit(events: EventBatch, kinds: Sequence[str], settings: HawkesSettings) -> MambaHawkes:
    """Maximum likelihood fit of a process to training sequences.

    The classical part alone is a concave problem and solved as such on all sequences. With the
    context part, Adam over minibatches of sequences starts from there; a held-out share of the
    sequences chooses the epoch. A batch's total is divided by one constant, never each sequence by
    its own length. The result depends on `settings.seed` only.

    Parameters
    ----------
    events : EventBatch
        Training sequences only (docs/model.md section 2, clause 6).
    kinds : sequence of str
        The kinds, in the order of the kind numbers.
    settings : HawkesSettings

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
    _measure(model, events)
    train, held = _split(events, settings, generator)
    fit_classical(model, train)
    if settings.context:
        _start_context(model, train)
        _adam(model, train, held, generator)
    return model.eval()


def _silent(kinds: Sequence[str], settings: HawkesSettings) -> MambaHawkes:
    off = settings.model_copy(update={"classical": False, "context": False})
    model = MambaHawkes(kinds, off)
    with torch.no_grad():
        model.log_mu.fill_(-torch.inf)  # what is left is the floor of a rate
    return model.eval()


def mean_log_likelihood(model: MambaHawkes, events: EventBatch, batch_size: int = 256) -> float:
    """Log likelihood per event over all sequences, per day; no gradient."""
    total = 0.0
    with torch.no_grad():
        for rows in buckets(events.lengths, batch_size):
            total += float(log_likelihood(model, events.select(rows)).total.sum())
    return total / max(int((events.mask & (events.time > 0)).sum()), 1)


def _measure(model: MambaHawkes, events: EventBatch) -> None:
    """Set the time unit, the span and the mean marks to those of the training sequences."""
    n, time = float(events.mask.sum()), float(events.end.sum())
    model.unit.fill_(time / n)
    model.span.fill_(time / len(events))
    for k in range(len(model.kinds)):
        count = events.count[events.mask & (events.kind == k)]
        if len(count):
            model.mean_weight[k] = weight(count, model.settings.marks).mean()
            # the counts of counter series are heavy-tailed: a mean of logarithms is the typical one
            model.mean_count[k] = torch.exp2(torch.log2(1 + count).mean()) - 1


def _split(
    events: EventBatch, settings: HawkesSettings, generator: torch.Generator
) -> tuple[EventBatch, EventBatch]:
    """Training and held-out sequences; too few sequences are all used for both."""
    n_held = round(settings.validation_share * len(events))
    if not settings.context or n_held == 0:
        return events, events
    order = torch.randperm(len(events), generator=generator)
    return events.select(order[n_held:]), events.select(order[:n_held])


def _start_context(model: MambaHawkes, events: EventBatch) -> None:
    """A small constant softplus part: the classical fit stays a good start."""
    time = float(events.end.sum()) / float(model.unit)
    with torch.no_grad():
        kind = events.kind[events.mask]
        rate = torch.bincount(kind, minlength=len(model.kinds)).double() / time
        model.log_s.copy_(rate.clamp(min=1e-6).log())
        model.head.weight.mul_(0.1)
        model.head.bias.fill_(torch.log(torch.expm1(torch.tensor(START_SHARE))))
        model.log_mu.add_(torch.log1p(torch.tensor(-START_SHARE)))


def _adam(
    model: MambaHawkes, train: EventBatch, held: EventBatch, generator: torch.Generator
) -> None:
    settings = model.settings
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=settings.learning_rate)
    constant = float(train.mask.sum()) * min(1.0, settings.batch_size / len(train))
    best, waited = mean_log_likelihood(model, held), 0
    kept = {name: t.clone() for name, t in model.state_dict().items()}
    for _ in track(range(settings.epochs), "fitting the point process"):
        model.train()
        for rows in buckets(train.lengths, settings.batch_size, generator):
            loss = -log_likelihood(model, train.select(rows)).total.sum() / constant
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learned, settings.clip)
            optimizer.step()
            with torch.no_grad():
                model.alpha.clamp_(min=0)
        now = mean_log_likelihood(model, held)
        if now > best:
            best, waited = now, 0
            kept = {name: t.clone() for name, t in model.state_dict().items()}
        else:
            waited += 1
            if waited >= settings.patience:
                break
    model.load_state_dict(kept)
