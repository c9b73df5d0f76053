"""The training loop of one network: Huber loss on residuals, best epoch by validation."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from m3tr.model.inputs import Inputs
from m3tr.model.network import M3TRNetwork, NetworkConfig, arguments, pick, residuals
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
        dropout=settings.dropout,
        token_dropout=settings.token_dropout,
        attention=settings.attention,
    )


def train_member(
    train: Inputs,
    y_train: np.ndarray,
    validation: Inputs,
    y_validation: np.ndarray,
    settings: TrainSettings,
    seed: int,
) -> tuple[M3TRNetwork, dict[str, Any]]:
    """Train one network on the residual of the base forecast.

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
        Its epoch and the validation error by epoch, mean squared, log2 units.
    """
    torch.manual_seed(seed)
    network = M3TRNetwork(network_config(train, settings))
    order = np.random.default_rng(seed)
    target = torch.as_tensor(y_train - train.base, dtype=torch.float32)
    everything = arguments(train)
    optimiser = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    size = min(settings.batch_size, max(LEAST_BATCH, len(target) // STEPS))
    steps = settings.epochs * -(-len(target) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, steps)
    loss_of = nn.HuberLoss(delta=settings.huber)
    best, errors = copy.deepcopy(network.state_dict()), [mse(validation.base, y_validation)]
    for _ in range(settings.epochs):
        network.train()
        for rows in batches(len(target), size, order):
            loss = loss_of(network(*pick(everything, rows)), target[rows])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
        errors.append(mse(validation.base + residuals(network, validation), y_validation))
        if errors[-1] == min(errors):
            best = copy.deepcopy(network.state_dict())
        elif len(errors) - 1 - int(np.argmin(errors)) >= settings.patience:
            break
    network.load_state_dict(best)
    return network.eval(), {"best_epoch": int(np.argmin(errors)), "validation_mse": errors}


def mse(forecast: np.ndarray, y: np.ndarray) -> float:
    """Mean squared error over videos and horizons."""
    return float(np.mean((forecast - y) ** 2))


def batches(n: int, size: int, order: np.random.Generator) -> Iterator[Tensor]:
    """Shuffled row numbers in batches."""
    yield from torch.as_tensor(order.permutation(n)).split(size)
