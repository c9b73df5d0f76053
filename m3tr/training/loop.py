"""The training loop of the network: Huber loss on the labels, best epoch by validation."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from m3tr.model.inputs import Inputs
from m3tr.model.network import M3TRNetwork, NetworkConfig, arguments, increments, pick
from m3tr.progress import track
from m3tr.training.settings import TrainSettings

# few videos are learned from in smaller batches, or an epoch would be a handful of steps
STEPS, LEAST_BATCH = 20, 32


def network_config(inputs: Inputs, settings: TrainSettings) -> NetworkConfig:
    """Sizes of a network for these inputs."""
    return NetworkConfig(
        dims={m: x.shape[-1] for m, x in inputs.video.x.items()},
        summary=inputs.summary.shape[1],
        horizons=inputs.base.shape[1],
        direct=("metadata", "temporal"),
        width=settings.width,
        heads=settings.heads,
        hidden=settings.hidden,
        members=settings.members,
        dropout=settings.dropout,
        token_dropout=settings.token_dropout,
        attention=settings.attention,
    )


def train_network(
    train: Inputs,
    y_train: np.ndarray,
    validation: Inputs,
    y_validation: np.ndarray,
    settings: TrainSettings,
    seed: int,
) -> tuple[M3TRNetwork, dict[str, Any]]:
    """Train the network on the increments.

    Each member has its own loss, so that members differ; what counts is the error of their mean.

    Parameters
    ----------
    train, validation : Inputs
        N and N' videos; the training rows' base forecasts are out of fold.
    y_train, y_validation : ndarray, shapes (N, H) and (N', H)
        Increment labels, log2 units.
    seed : int
        Decides initial weights, dropout and order.

    Returns
    -------
    network : M3TRNetwork
        The weights of the epoch with the least mean squared error on validation.
    history : dict
        Its epoch and the validation error by epoch, mean squared, log2 units; epoch 0 is the mean
        of the training labels.
    """
    torch.manual_seed(seed)
    network = M3TRNetwork(network_config(train, settings))
    spread = y_train.std(0)
    network.centre.copy_(torch.from_numpy(y_train.mean(0)))
    network.scale.copy_(torch.from_numpy(np.where(spread > 1e-6, spread, 1.0)))
    order = np.random.default_rng(seed)
    target = torch.as_tensor(y_train, dtype=torch.float32)
    everything = arguments(train)
    optimiser = torch.optim.AdamW(
        decayed(network, settings.weight_decay), settings.learning_rate, weight_decay=0
    )
    size = min(settings.batch_size, max(LEAST_BATCH, len(target) // STEPS))
    steps = settings.epochs * -(-len(target) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, steps)
    best, errors = copy.deepcopy(network.state_dict()), []
    for epoch in track(range(settings.epochs + 1), "network"):
        if epoch:
            network.train()
            for rows in batches(len(target), size, order):
                loss = loss_of(network, network(*pick(everything, rows)), target[rows], settings)
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
                schedule.step()
        errors.append(mse(increments(network, validation), y_validation))
        if errors[-1] == np.nanmin(errors):
            best = copy.deepcopy(network.state_dict())
        elif epoch - int(np.nanargmin(errors)) >= settings.patience:
            break
    network.load_state_dict(best)
    return network.eval(), {"best_epoch": int(np.nanargmin(errors)), "validation_mse": errors}


def loss_of(
    network: M3TRNetwork, forecast: Tensor, target: Tensor, settings: TrainSettings
) -> Tensor:
    """Huber loss of every member's forecast (B, M, H), in standard deviations of the label."""
    error = (forecast - target[:, None]) / network.scale
    return nn.functional.huber_loss(error, torch.zeros_like(error), delta=settings.huber)


def decayed(network: M3TRNetwork, decay: float) -> list[dict[str, Any]]:
    """Groups of the parameters: only matrices decay, not the vectors in which members differ."""
    apart = ("bias", "inward", "outward", "absent", "norm")
    named = [(any(part in name for part in apart), p) for name, p in network.named_parameters()]
    return [
        {"params": [p for free, p in named if not free], "weight_decay": decay},
        {"params": [p for free, p in named if free], "weight_decay": 0.0},
    ]


def mse(forecast: np.ndarray, y: np.ndarray) -> float:
    """Mean squared error over videos and horizons."""
    return float(np.mean((forecast - y) ** 2))


def batches(n: int, size: int, order: np.random.Generator) -> Iterator[Tensor]:
    """Shuffled row numbers in batches."""
    yield from torch.as_tensor(order.permutation(n)).split(size)
