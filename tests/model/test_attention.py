"""The network: what is masked does not matter, what is absent says so (docs/model.md, 5)."""

from dataclasses import replace

import pytest
import torch

from m3tr.model.network import (
    AttentivePooling,
    M3TRNetwork,
    NetworkConfig,
    PairedCrossAttention,
    SharedLinear,
)

CONFIG = NetworkConfig(
    dims={"visual": 5, "text": 3},
    summary=4,
    horizons=2,
    direct=(),
    width=8,
    heads=2,
    hidden=16,
    members=3,
    dropout=0.1,
    token_dropout=0.5,
    attention=True,
)
B, T, T_R = 6, 4, 3


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tokens(dim, length=T, batch=B):
    """Random tokens; row 0 has all, row 1 none, the others some."""
    mask = torch.rand(batch, length) < 0.6
    mask[0], mask[1] = True, False
    return torch.randn(batch, length, dim), mask


def perturbed(x, mask):
    """The same tokens with nonsense where nothing is present."""
    return torch.where(mask[:, :, None], x, 1e3 * torch.randn_like(x))


def paired():
    pair = PairedCrossAttention(5, CONFIG).eval()
    for pool in (pair.pool, pair.pool_r):
        torch.nn.init.normal_(pool.absent)
    return pair


def test_masked_tokens_do_not_matter():
    pair = paired()
    (x, mask), (x_r, mask_r) = tokens(5), tokens(5, T_R)
    mask_r = mask_r.roll(1, 0)  # so that one row lacks X, another X_R, another nothing
    before = pair(x, mask, x_r, mask_r)
    after = pair(perturbed(x, mask), mask, perturbed(x_r, mask_r), mask_r)
    assert before.shape == (B, 16)
    assert torch.allclose(before, after, atol=1e-6) and torch.isfinite(before).all()


def test_a_present_token_does_matter():
    pair = paired()
    (x, mask), (x_r, mask_r) = tokens(5), tokens(5, T_R)
    other = x.clone()
    other[0, 0] += 1
    difference = (pair(other, mask, x_r, mask_r) - pair(x, mask, x_r, mask_r)).abs().sum(1)
    assert difference[0] > 1e-4 and (difference[1:] == 0).all()


def test_an_absent_modality_is_its_learned_vector():
    pair = paired()
    (x, _), (x_r, mask_r) = tokens(5), tokens(5, T_R)
    nothing = torch.zeros(B, T, dtype=torch.bool)
    forth, back = pair(x, nothing, x_r, mask_r).split(8, 1)
    assert torch.equal(forth, pair.pool.absent.expand(B, 8))
    # X_R is then not asked of anything: it is what its own tokens pool to
    alone = pair.pool_r(pair.embed(x_r), mask_r)
    assert torch.allclose(back, alone, atol=1e-6)
    both = pair(x, nothing, x_r, torch.zeros(B, T_R, dtype=torch.bool))
    assert torch.equal(both, torch.cat([pair.pool.absent, pair.pool_r.absent]).expand(B, 16))


def test_order_of_tokens_is_irrelevant():
    pair = paired()
    (x, mask), (x_r, mask_r) = tokens(5), tokens(5, T_R)
    p, p_r = torch.randperm(T), torch.randperm(T_R)
    shuffled = pair(x[:, p], mask[:, p], x_r[:, p_r], mask_r[:, p_r])
    assert torch.allclose(pair(x, mask, x_r, mask_r), shuffled, atol=1e-6)


def test_padding_changes_nothing():
    pair = paired()
    (x, mask), (x_r, mask_r) = tokens(5), tokens(5, T_R)
    longer = torch.cat([x, torch.randn(B, 2, 5)], 1)
    padded = torch.cat([mask, torch.zeros(B, 2, dtype=torch.bool)], 1)
    assert torch.allclose(pair(x, mask, x_r, mask_r), pair(longer, padded, x_r, mask_r), atol=1e-6)


def test_pooling_is_a_weighted_mean_of_what_is_present():
    pool = AttentivePooling(8)
    x, mask = tokens(8)
    score = pool.score(x).squeeze(-1)
    pooled = pool(x, mask)
    for b in range(B):
        if not mask[b].any():
            assert torch.equal(pooled[b], pool.absent)
            continue
        w = score[b][mask[b]].softmax(0)
        assert torch.allclose(pooled[b], w @ x[b][mask[b]], atol=1e-6)
    # one token pools to itself
    single = torch.zeros(B, T, dtype=torch.bool)
    single[:, 2] = True
    assert torch.allclose(pool(x, single), x[:, 2], atol=1e-6)


def network_inputs():
    parts = {m: tokens(d) for m, d in CONFIG.dims.items()}
    parts_r = {m: tokens(d, T_R) for m, d in CONFIG.dims.items()}
    x, mask = ({m: p[i] for m, p in parts.items()} for i in (0, 1))
    x_r, mask_r = ({m: p[i] for m, p in parts_r.items()} for i in (0, 1))
    return x, mask, x_r, mask_r, torch.randn(B, 4)


def test_gradients_are_finite_and_reach_everything():
    network = M3TRNetwork(CONFIG)
    torch.nn.init.normal_(network.head.weight)
    x, *rest = network_inputs()
    x = {m: a.requires_grad_() for m, a in x.items()}
    network(x, *rest).square().sum().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all(), name
        assert p.grad.abs().sum() > 0 or "in_proj_bias" in name or "bias" in name, name
    mask = rest[0]
    for m, a in x.items():
        assert torch.isfinite(a.grad).all()
        assert (a.grad[~mask[m]] == 0).all() and a.grad[mask[m]].abs().sum() > 0


def test_training_starts_at_the_mean_of_the_labels():
    network = M3TRNetwork(CONFIG).eval()
    network.centre.copy_(torch.tensor([3.0, 5.0]))
    assert torch.equal(network(*network_inputs()), torch.tensor([3.0, 5.0]).expand(B, 3, 2))


def test_a_shared_matrix_is_each_members_own_between_its_vectors():
    layer = SharedLinear(3, 5, 4, signs=True)
    torch.nn.init.normal_(layer.outward)
    x = torch.randn(B, 3, 5)
    out = layer(x)
    for m in range(3):
        own = layer.outward[m][:, None] * layer.weight * layer.inward[m]
        assert torch.allclose(out[:, m], x[:, m] @ own.T + layer.bias[m], atol=1e-6)
    assert set(layer.inward.flatten().tolist()) == {-1.0, 1.0}


def test_members_do_not_see_each_other():
    network = M3TRNetwork(CONFIG).eval()
    torch.nn.init.normal_(network.head.weight)
    arguments = network_inputs()
    before = network(*arguments)
    assert len(torch.unique(before[0, :, 0])) == 3
    with torch.no_grad():
        for name, p in network.head.named_parameters():
            if not name.endswith(".weight"):  # all but the shared matrices
                p[1] += 1
    after = network(*arguments)
    assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])
    assert (after[:, 1] != before[:, 1]).all()


def test_rows_do_not_see_each_other():
    network = M3TRNetwork(CONFIG).eval()
    torch.nn.init.normal_(network.head.weight)
    arguments = network_inputs()
    together = network(*arguments)
    *parts, summary = arguments
    for b in range(B):
        alone = network(
            *({m: a[b : b + 1] for m, a in p.items()} for p in parts), summary[b : b + 1]
        )
        assert torch.allclose(alone[0], together[b], atol=1e-6)


def plain():
    """A network that pools the video and what was retrieved each by itself."""
    torch.manual_seed(0)
    return M3TRNetwork(replace(CONFIG, attention=False)).eval()


def test_without_attention_there_is_nothing_to_attend_with():
    network, whole = plain(), M3TRNetwork(CONFIG)
    own, more = (dict(n.named_parameters()) for n in (network, whole))
    blocks = (".ask.", ".answer.")
    assert set(own) == {name for name in more if not any(b in name for b in blocks)}
    assert len(own) < len(more)
    assert all(own[name].shape == more[name].shape for name in own)
    assert not any(isinstance(m, torch.nn.MultiheadAttention) for m in network.modules())


def test_without_attention_x_r_does_not_reach_the_video():
    """Nor the other way round; with it, both do."""
    (x, mask), (x_r, mask_r) = tokens(5), tokens(5, T_R)
    for pair, reaches in ((plain().pairs["visual"], False), (paired(), True)):
        with torch.no_grad():
            forth, back = pair(x, mask, x_r, mask_r).split(8, 1)
            forth_2, _ = pair(x, mask, 3 * x_r + 1, mask_r).split(8, 1)
            _, back_2 = pair(3 * x + 1, mask, x_r, mask_r).split(8, 1)
            _, moved = pair(x, mask, 3 * x_r + 1, mask_r).split(8, 1)
        assert torch.equal(forth, forth_2) != reaches
        assert torch.equal(back, back_2) != reaches
        assert not torch.equal(back, moved)  # what was retrieved still speaks for itself


def test_without_attention_what_is_absent_is_absent():
    pair = plain().pairs["visual"]
    torch.nn.init.normal_(pair.pool_r.absent)
    (x, mask), (x_r, mask_r) = tokens(5), tokens(5, T_R)
    out = pair(x, mask, perturbed(x_r, mask_r), mask_r)
    assert torch.allclose(out, pair(perturbed(x, mask), mask, x_r, mask_r), atol=1e-6)
    assert torch.equal(out[1, 8:], pair.pool_r.absent)


def test_without_attention_gradients_reach_everything():
    network = plain().train()
    torch.nn.init.normal_(network.head.weight)
    network(*network_inputs()).square().sum().backward()
    for name, p in network.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all(), name
