"""σ finds the scale of the data: from below and from above, on the embedded set whose classes live at one scale."""

from __future__ import annotations

import numpy as np
import pytest

from minidl import Tensor, nn, ops
from minidl.data import draw
from minidl.optim import AdamW
from minidl.priors import GaussianConv2d, filter_basis

IMAGES, BATCH, STEPS = 400, 50, 45


def learned(scale: float, sigma0: float, kernel: str = "sampled") -> list[float]:
    """σ after every step of a classifier of energies: log Σ over places and colours of (S_j ⋆ K_σ x)².

    The nine structural filters are fixed and see each colour alone.  Only σ, and a norm and a linear layer on the
    nine numbers, are trained: where σ is the scale of the motifs, K_σ is the matched filter of all of them.
    """
    rng = np.random.default_rng(0)
    images, labels = draw(IMAGES, seed=0, scale=scale, noise=0.1)
    x = ((images / 255 - 0.5) / 0.16).astype(np.float32)
    width = {"sigma0": sigma0, "sigma_max": 6.0, "radius": 12, "kernel": kernel}
    conv = GaussianConv2d(1, 9, 3, padding=1, bias=False, rng=rng, **width)
    conv.weight.data = filter_basis((3, 3), "dct").astype(np.float32)[:, None]
    conv.weight.requires_grad = False
    head = nn.Sequential(nn.BatchNorm1d(9), nn.Linear(9, 10, rng=rng))
    sigma = conv.log_sigma if kernel == "sampled" else conv.variance
    optimizer = AdamW([sigma, *head.parameters()], lr=0.1, weight_decay=0.0)
    history = []
    for _ in range(STEPS):
        chosen = rng.choice(IMAGES, BATCH, replace=False)
        y = conv(Tensor(x[chosen].reshape(-1, 1, 32, 32)))  # (N,3,H,W) → (3N,1,H,W) → (3N,9,H,W)
        energy = ops.sum(ops.reshape(ops.mean(y * y, axis=(2, 3)), (BATCH, 3, 9)), axis=1)
        loss = ops.cross_entropy(head(ops.log(energy + 1e-6)), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(conv.sigma[0]))
    return history


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_sigma_moves_towards_the_scale_of_the_data_from_either_side(scale: float) -> None:
    below, above = 0.4 * scale, 2.5 * scale
    up, down = learned(scale, below)[-1], learned(scale, above)[-1]
    assert below + 0.1 * scale < up < 1.25 * scale
    assert up - 0.1 * scale < down < above - 0.8 * scale


def test_the_variance_of_a_discrete_kernel_moves_up_from_no_kernel_at_all() -> None:
    assert 0.6 < learned(2.0, 0.0, "discrete")[-1] < 2.5
