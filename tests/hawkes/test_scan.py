"""The selective scan: the backends against each other, closed forms, and what must not matter."""

import sys
from types import SimpleNamespace

import pytest
import torch

from m3tr.errors import InputError
from m3tr.hawkes import scan_cuda, threads
from m3tr.hawkes.scan import impulse_scan, impulse_states, impulse_step

F32, F64 = torch.float32, torch.float64
# batch, L, dim, N: no step, one, one more than a chunk; part of a tile, several, several groups
SHAPES = [(2, 0, 3, 4), (2, 1, 16, 1), (3, 17, 20, 8), (1, 33, 5, 16), (2, 16, 84, 3), (0, 4, 3, 2)]


def inputs(batch, L, dim, N, dtype=F64, shared=True, extras=False, seed=0) -> dict:
    """Arguments by name, all with gradient; every third gap is a tie."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=F64)

    out = {
        "u": normal(batch, L, dim),
        "delta": 0.3 * normal(*((batch, L) if shared else (batch, L, dim))).abs(),
        "A": -0.01 - normal(dim, N).abs(),
        "B": normal(batch, L, N),
        "C": normal(batch, L, N),
    }
    out["delta"][:, 1::3] = 0.0
    if extras:
        out |= {"D": normal(dim), "z": normal(batch, L, dim)}
    return {k: t.to(dtype).requires_grad_() for k, t in out.items()}


def outcome(arguments: dict, backend=None, scan=impulse_scan) -> dict:
    """`y` and the gradients of a sum of `y` with fixed weights, by name."""
    arguments = {k: t.detach().clone().requires_grad_() for k, t in arguments.items()}
    y = scan(**arguments) if backend is None else scan(**arguments, backend=backend)
    weight = torch.linspace(-1, 2, y.numel(), dtype=F64).sin().to(y.dtype).view(y.shape)
    gradients = torch.autograd.grad(
        (y * weight).sum(), list(arguments.values()), allow_unused=True, materialize_grads=True
    )
    return {"y": y.detach()} | dict(zip(arguments, gradients, strict=True))


def close(found: dict, wanted: dict, tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        truth = wanted[name]
        assert value.shape == truth.shape, name
        if truth.numel():
            scale = truth.abs().max().clamp(min=1e-30)
            assert ((value.double() - truth).abs().max() / scale).item() <= tolerance, name


@pytest.mark.parametrize("extras", [False, True])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("shape", SHAPES)
def test_numba_agrees_with_the_step_loop(shape, dtype, shared, extras):
    arguments = inputs(*shape, dtype, shared, extras)
    truth = outcome({k: t.double() for k, t in arguments.items()}, "torch")
    close(outcome(arguments, "numba"), truth, 1e-5 if dtype == F32 else 1e-12)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("shared", [True, False])
def test_gradients_against_finite_differences(backend, shared):
    arguments = inputs(2, 18, 3, 2, shared=shared, extras=True)
    arguments["delta"] = (arguments["delta"] + 0.1).detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *a: impulse_scan(*a, backend=backend), tuple(arguments.values())
    )


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("shared", [True, False])
def test_gaps_over_eight_orders_of_magnitude(dtype, shared):
    arguments = inputs(2, 100, 20, 8, dtype, shared)
    with torch.no_grad():
        delta = arguments["delta"]
        delta.copy_(10 ** (8 * torch.rand(delta.shape, generator=torch.Generator()) - 6))
        delta[:, 5:9] = 0.0
        arguments["A"].copy_(-torch.logspace(-2, 2, 8).expand(20, 8))
    truth = outcome({k: t.double() for k, t in arguments.items()}, "torch")
    close(outcome(arguments, "numba"), truth, 1e-5 if dtype == F32 else 1e-12)


@pytest.mark.parametrize("dtype", [F32, F64])
def test_one_impulse_fades_like_an_exponential(dtype):
    delta = torch.tensor([[3.0, 0.0, 1e-6, 0.25, 7.0, 200.0]], dtype=dtype)
    rates = torch.tensor([[0.5, 3.0]], dtype=dtype)
    u = torch.zeros(1, 6, 1, dtype=dtype)
    u[0, 1] = 2.0  # the gap of its own step must not weigh it: that gap is zero
    one = torch.ones(1, 6, 2, dtype=dtype)
    age = torch.tensor([-1.0, 0.0, 1e-6, 0.250001, 7.250001, 207.250001], dtype=F64)
    truth = 2 * torch.exp(-age[:, None] * rates.double()).sum(1) * (age >= 0)
    for backend in ("numba", "torch"):
        y = impulse_scan(u, delta, -rates, one, one, backend=backend)[0, :, 0].double()
        assert torch.allclose(y, truth, rtol=1e-6 if dtype == F32 else 1e-14, atol=1e-37), backend


def test_simultaneous_impulses_add_up_in_any_order():
    arguments = inputs(1, 6, 3, 4)
    arguments["delta"] = torch.zeros(1, 6, dtype=F64)
    order = [3, 0, 5, 1, 4, 2]
    shuffled = {k: t if k == "A" else t[:, order] for k, t in arguments.items()}
    last = (
        impulse_states(*(a[k] for k in ("u", "delta", "A", "B")))[:, -1]
        for a in (arguments, shuffled)
    )
    assert torch.allclose(*last, rtol=0, atol=1e-14)


@pytest.mark.parametrize("shared", [True, False])
def test_a_sequence_in_a_padded_batch_is_the_sequence_alone(shared):
    lengths = [40, 3, 17, 1]
    arguments = inputs(4, 40, 21, 5, F32, shared, extras=True)
    del arguments["z"]  # torch's silu rounds by a number's place in memory
    with torch.no_grad():
        for i, n in enumerate(lengths):
            arguments["u"][i, n:] = 0.0
            arguments["delta"][i, n:] = 0.0

    def readout(**kw):  # a padded step is read by nobody
        y = impulse_scan(**kw)
        keep = [torch.arange(y.shape[1]) < n for n in lengths[: len(y)]]
        return y * torch.stack(keep)[:, :, None]

    y = readout(**arguments)
    per_row = [k for k in arguments if k not in "AD"]
    together = torch.autograd.grad(y.sum(), [arguments[k] for k in per_row])
    states = impulse_states(*(arguments[k] for k in ("u", "delta", "A", "B")))
    for i, n in enumerate(lengths):
        row = {k: t if k in "AD" else t[i : i + 1, :n] for k, t in arguments.items()}
        row = {k: t.detach().clone().requires_grad_() for k, t in row.items()}
        alone = impulse_scan(**row)
        assert torch.equal(y[i, :n], alone[0])
        gradients = torch.autograd.grad(alone.sum(), [row[k] for k in per_row])
        for name, a, b in zip(per_row, together, gradients, strict=True):
            assert torch.equal(a[i, :n], b[0]), name
        assert (states[i, n - 1 :] == states[i, n - 1]).all()  # padding changes nothing


@pytest.mark.parametrize("dtype", [F32, F64])
def test_threads_change_no_bit(dtype, monkeypatch):
    monkeypatch.setattr(threads, "SMALL", 0)
    arguments = inputs(5, 70, 150, 6, dtype, extras=True)
    del arguments["z"]  # torch's silu rounds by a number's place in its thread's share
    before = torch.get_num_threads()
    found, states = [], []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            found.append(outcome(arguments, "numba"))
            states.append(impulse_states(*(arguments[k] for k in ("u", "delta", "A", "B"))))
    finally:
        torch.set_num_threads(before)
    for again, h in zip(found[1:], states[1:], strict=True):
        assert torch.equal(h, states[0])
        for name, value in found[0].items():
            assert torch.equal(value, again[name]), name


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_a_step_changes_nothing_before_it(backend):
    arguments = {k: t.detach() for k, t in inputs(2, 40, 19, 4, F32).items()}
    before = impulse_scan(**arguments, backend=backend)
    for j in (0, 15, 16, 39):
        changed = {k: t.clone() for k, t in arguments.items()}
        for name in ("u", "delta", "B", "C"):
            changed[name][:, j] += 1.0
        after = impulse_scan(**changed, backend=backend)
        assert torch.equal(before[:, :j], after[:, :j])
        assert not torch.equal(before[:, j:], after[:, j:])


@pytest.mark.parametrize("shared", [True, False])
def test_steps_and_states_are_those_of_the_scan(shared):
    a = {k: t.detach() for k, t in inputs(2, 20, 18, 3, shared=shared).items()}
    y = impulse_scan(**a)
    states = impulse_states(a["u"], a["delta"], a["A"], a["B"])
    h = torch.zeros(2, 18, 3, dtype=F64)
    for i in range(20):
        h, y_i = impulse_step(h, a["u"][:, i], a["delta"][:, i], a["A"], a["B"][:, i], a["C"][:, i])
        assert torch.allclose(states[:, i], h, rtol=0, atol=1e-14)
        assert torch.allclose(y[:, i], y_i, rtol=0, atol=1e-13)


def test_without_a_gradient_the_values_are_the_same():
    arguments = inputs(2, 40, 19, 4, F32)
    with torch.no_grad():
        y = impulse_scan(**arguments)
    assert not y.requires_grad
    assert torch.equal(y, impulse_scan(**arguments))


def test_strided_arguments_are_read_right():
    arguments = {k: t.detach() for k, t in inputs(2, 20, 18, 6).items()}
    strided = arguments | {
        "u": arguments["u"].transpose(1, 2).contiguous().transpose(1, 2),
        "B": torch.cat([arguments["B"], arguments["C"]], -1).chunk(2, -1)[0],
        "delta": arguments["delta"].t().contiguous().t(),
    }
    assert torch.equal(impulse_scan(**strided), impulse_scan(**arguments))


def test_a_nan_is_not_hidden():
    arguments = inputs(1, 5, 3, 2)
    with torch.no_grad():
        arguments["delta"][0, 2] = torch.nan
    y = impulse_scan(**arguments)
    assert y[0, :2].isfinite().all()
    assert y[0, 2:].isnan().all()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("u", lambda t: t[0]),
        ("A", lambda t: t[:2]),
        ("delta", lambda t: t[:, :, None].expand(-1, -1, 2)),
        ("B", lambda t: t[:, :3]),
        ("C", lambda t: t.float()),
        ("D", lambda t: t[:1]),
        ("z", lambda t: t[:1]),
    ],
)
def test_what_does_not_fit_is_one_sentence(name, change):
    arguments = inputs(2, 5, 3, 4, extras=True)
    arguments[name] = change(arguments[name])
    with pytest.raises(InputError, match=f"scan: .*{name} is"):
        impulse_scan(**arguments)


def test_other_dtypes_go_to_the_step_loop():
    half = {k: t.detach().bfloat16() for k, t in inputs(1, 4, 3, 2).items()}
    assert impulse_scan(**half).dtype == torch.bfloat16
    with pytest.raises(InputError, match="numba backend takes float32 or float64"):
        impulse_scan(**half, backend="numba")
    with pytest.raises(InputError, match="no backend is called 'jax'"):
        impulse_scan(**half, backend="jax")


# the wrapper of the fused CUDA kernel


def selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus):
    """What the fused kernel is documented to compute, step by step, over (batch, dim, L)."""
    assert u.shape == delta.shape
    assert all(t.is_contiguous() for t in (u, delta, A, B, C))
    assert (D, z, delta_bias, delta_softplus) == (None, None, None, False)
    h, out = u.new_zeros(u.shape[0], *A.shape), []
    for u_i, d_i, B_i, C_i in zip(*(t.unbind(2) for t in (u, delta, B, C)), strict=True):
        h = torch.exp(d_i[:, :, None] * A) * h + (d_i * u_i)[:, :, None] * B_i[:, None, :]
        out.append(torch.einsum("bdn,bn->bd", h, C_i))
    return torch.stack(out, 2)


@pytest.fixture
def fused(monkeypatch):
    """A package mamba_ssm with that function in the kernel's place."""
    module = SimpleNamespace(selective_scan_fn=selective_scan)
    monkeypatch.setitem(sys.modules, "mamba_ssm", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops.selective_scan_interface", module)
    return scan_cuda.kernel()


@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_is_given_impulses(fused, shape, shared, dtype):
    arguments = inputs(*shape, dtype, shared)
    with torch.no_grad():
        arguments["delta"][:, ::4] *= 1e-6
    truth = outcome({k: t.double() for k, t in arguments.items()}, "torch")

    def wrapped(u, delta, A, B, C):
        return scan_cuda.scan(u, delta[:, :, None] if shared else delta, A, B, C, fused)

    # gradients of gaps of 0 and 1e-7 too
    close(outcome(arguments, scan=wrapped), truth, 1e-5 if dtype == F32 else 1e-12)
    steady = arguments | {"delta": arguments["delta"].detach()}
    y = wrapped(**steady)  # the short way
    close({"y": y.detach()}, {"y": truth["y"]}, 1e-5 if dtype == F32 else 1e-12)
    (gradient,) = torch.autograd.grad(y.sum(), steady["u"])
    (wanted,) = torch.autograd.grad(impulse_scan(**arguments).sum(), arguments["u"])
    close({"u": gradient}, {"u": wanted.double()}, 1e-5)


def test_the_kernel_on_a_cpu_is_a_mistake(fused):
    with pytest.raises(InputError, match="takes float32 on CUDA"):
        impulse_scan(**inputs(1, 2, 3, 4, F32), backend="mamba_ssm")


def test_an_absent_kernel_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)
    with pytest.raises(InputError, match="needs CUDA and the package mamba-ssm"):
        impulse_scan(**inputs(1, 2, 3, 4), backend="mamba_ssm")


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_on_cuda(shape, shared):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    if not scan_cuda.available():
        pytest.skip("mamba-ssm is not installed with its kernels")
    arguments = inputs(*shape, F32, shared, extras=True)
    truth = outcome({k: t.double() for k, t in arguments.items()}, "torch")
    found = outcome({k: t.cuda() for k, t in arguments.items()}, "mamba_ssm")
    close({k: t.cpu() for k, t in found.items()}, truth, 1e-5)
