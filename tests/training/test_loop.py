"""The loop learns what can be learned, keeps the best epoch, and depends on its seed alone."""

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from m3tr.model.network import increments
from m3tr.training.loop import LEAST_BATCH, STEPS, batches, decayed, mse, train_network
from m3tr.training.settings import TrainSettings

SETTINGS = TrainSettings(
    width=8, heads=2, hidden=32, members=4, epochs=20, batch_size=64, learning_rate=1e-2, dropout=0
)


@pytest.fixture
def data(make):
    return *make(320, 0), *make(100, 1)


def test_it_beats_the_mean_and_the_base_where_labels_are_learnable(data):
    train, y, validation, y_validation = data
    network, history = train_network(train, y, validation, y_validation, SETTINGS, 0)
    errors = history["validation_mse"]
    assert errors[0] == pytest.approx(mse(y.mean(0), y_validation))
    assert min(errors) < 0.3 * min(errors[0], mse(validation.base, y_validation))
    assert history["best_epoch"] == int(np.argmin(errors)) > 0


def test_the_best_epoch_is_restored(data):
    """Noise is learned by heart, so that late epochs are worse; the best one's weights are kept."""
    train, y, validation, y_validation = data
    few = train.select(np.arange(40))
    long = SETTINGS.model_copy(update={"epochs": 40, "patience": 6})
    noisy = y[:40] + np.random.default_rng(2).normal(0, 2, (40, 2))
    network, history = train_network(few, noisy, validation, y_validation, long, 3)
    assert not network.training
    errors = history["validation_mse"]
    found = mse(increments(network, validation), y_validation)
    assert found == pytest.approx(min(errors), rel=1e-6)
    assert errors[-1] > min(errors)


def test_nothing_to_learn_leaves_the_mean(data):
    train, _, validation, _ = data
    noise = np.random.default_rng(3).normal(5, 1, train.base.shape)
    mean = np.tile(noise.mean(0), (len(validation.base), 1))
    network, history = train_network(train, noise, validation, mean, SETTINGS, 0)
    assert history["best_epoch"] == 0
    assert len(history["validation_mse"]) == 1 + min(SETTINGS.patience, SETTINGS.epochs)
    assert np.allclose(increments(network, validation), mean)


def test_only_matrices_decay(data):
    network, _ = train_network(*data, SETTINGS.model_copy(update={"epochs": 1}), 0)
    kept, free = decayed(network, 0.1)
    assert (kept["weight_decay"], free["weight_decay"]) == (0.1, 0)
    assert all(p.ndim >= 2 for p in kept["params"])
    every = [*kept["params"], *free["params"]]
    assert len({*map(id, every)}) == len(every) == len([*network.parameters()])
    head, apart = network.head, {*map(id, free["params"])}
    assert {id(head.weight), id(head.hidden[0].weight)} <= {*map(id, kept["params"])}
    assert {id(head.bias), id(head.hidden[0].inward), id(network.norm.weight)} <= apart


def test_the_same_seed_gives_the_same_weights(data):
    train, y, validation, y_validation = data
    short = SETTINGS.model_copy(update={"epochs": 2, "dropout": 0.2})
    one, a = train_network(train, y, validation, y_validation, short, 5)
    torch.manual_seed(99)
    np.random.seed(99)
    two, b = train_network(train, y, validation, y_validation, short, 5)
    other, _ = train_network(train, y, validation, y_validation, short, 6)
    assert a == b
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, two.state_dict()[name]), name
    assert not torch.equal(one.head.weight, other.head.weight)


def test_every_row_is_in_one_batch():
    order = np.random.default_rng(0)
    first, second = (torch.cat(list(batches(70, 32, order))) for _ in range(2))
    assert torch.equal(first.sort().values, torch.arange(70))
    assert not torch.equal(first, second)
    assert [len(b) for b in batches(70, 32, order)] == [32, 32, 6]


def test_increments_do_not_depend_on_the_batch(data):
    train, y, validation, y_validation = data
    short = SETTINGS.model_copy(update={"epochs": 2})
    network, _ = train_network(train, y, validation, y_validation, short, 0)
    assert np.allclose(increments(network, train, 7), increments(network, train), atol=1e-5)


@pytest.mark.parametrize(
    ("n", "batch_size", "expected"),
    [
        (40, 256, 2),  # not below the least batch
        (640, 256, 20),
        (1000, 256, 20),
        (6000, 256, 24),  # enough for full batches
        (300, 16, 19),  # never above what was asked for
        (1, 256, 1),
    ],
)
def test_few_videos_are_learned_from_in_smaller_batches(make, n, batch_size, expected):
    """Steps of one epoch, counted at the optimiser."""
    steps = []
    hook = register_optimizer_step_post_hook(lambda *_: steps.append(1))
    settings = SETTINGS.model_copy(update={"epochs": 2, "batch_size": batch_size})
    try:
        _, history = train_network(*make(n, 0), *make(50, 1), settings, 0)
    finally:
        hook.remove()
    assert len(history["validation_mse"]) == 3
    assert len(steps) == 2 * expected
    size = min(batch_size, max(LEAST_BATCH, n // STEPS))
    assert expected == -(-n // size)


def test_without_attention_it_learns_too(data):
    network, history = train_network(*data, SETTINGS.model_copy(update={"attention": False}), 0)
    assert not network.config.attention
    assert min(history["validation_mse"]) < 0.3 * history["validation_mse"][0]
