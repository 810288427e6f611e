"""σ finds the scale of the data: `python -m docs.figures.sigma_scale` draws docs/images/sigma-scale.png.

The embedded set with `scale` has ten classes, Gaussian derivatives that all live at one scale.  The classifier sees
energies, log Σ over places and colours of (S_j ⋆ K_σ x)², through nine fixed structural filters S_j.  In white noise
the best filter is the motif itself; where σ is the scale of the motifs, K_σ and a small S_j make all of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minidl import Tensor, nn, ops
from minidl.data import draw
from minidl.optim import AdamW
from minidl.priors import GaussianConv2d, filter_basis

IMAGES, BATCH = 400, 50
NOISE = 0.4  # of a pixel: the more there is, the more a matched filter is better than a narrower one
SCALES = {1.0: "#0072B2", 2.0: "#D55E00", 3.0: "#009E73"}  # told apart with any colour vision (Okabe and Ito)


def learned(scale: float, sigma0: float, steps: int, kernel: str = "sampled") -> list[float]:
    """σ before and after every step; only σ, and a norm and a linear layer on the nine energies, are trained."""
    rng = np.random.default_rng(0)
    images, labels = draw(IMAGES, seed=0, scale=scale, noise=NOISE)
    x = ((images / 255 - 0.5) / 0.16).astype(np.float32)
    conv = GaussianConv2d(
        1, 9, 3, padding=1, bias=False, kernel=kernel, sigma0=sigma0, sigma_max=8.0, radius=16, rng=rng
    )
    conv.weight.data = filter_basis((3, 3), "dct").astype(np.float32)[:, None]
    conv.weight.requires_grad = False
    head = nn.Sequential(nn.BatchNorm1d(9), nn.Linear(9, 10, rng=rng))
    sigma = conv.log_sigma if kernel == "sampled" else conv.variance
    optimizer = AdamW([sigma, *head.parameters()], lr=0.1, weight_decay=0.0)
    history = [float(conv.sigma[0])]
    for _ in range(steps):
        chosen = rng.choice(IMAGES, BATCH, replace=False)
        y = conv(Tensor(x[chosen].reshape(-1, 1, 32, 32)))  # (N,3,H,W) → (3N,1,H,W) → (3N,9,H,W)
        energy = ops.sum(ops.reshape(ops.mean(y * y, axis=(2, 3)), (BATCH, 3, 9)), axis=1)
        loss = ops.cross_entropy(head(ops.log(energy + 1e-6)), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(conv.sigma[0]))
    return history


def main(path: Path = Path(__file__).parents[1] / "images" / "sigma-scale.png", steps: int = 200) -> None:
    """Draw σ over the steps, from below and from above, for every scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for scale, colour in SCALES.items():
        for style, sigma0 in (("-", 0.4 * scale), ("--", 2.5 * scale)):
            history = learned(scale, sigma0, steps)
            axes.plot(history, style, color=colour, lw=1.6, label=f"data at {scale:g}, from {sigma0:g}")
            print(f"scale {scale:g}: σ {sigma0:g} → {history[-1]:.2f}", flush=True)
        axes.axhline(scale, color=colour, ls=":", lw=1)
    axes.set(xlabel="step", ylabel="σ (pixels)", xlim=(0, steps), yscale="log")
    axes.set_yticks([0.5, 1, 2, 4, 8], labels=["0.5", "1", "2", "4", "8"])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path)


if __name__ == "__main__":
    main()
