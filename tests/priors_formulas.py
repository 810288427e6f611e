"""The layers of `minidl.priors` in plain NumPy, forward and backward, as formulas on arrays: for their tests."""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]


def apart(a, b) -> float:
    """|a − b| / (|a| + |b|), norms."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    assert a.shape == b.shape
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(a) + np.linalg.norm(b), 1e-300))


def sigmoid(a):
    return 0.5 * (1 + np.tanh(0.5 * a))


def softplus(a):
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))


def slope(squash, a):
    """dy/da of one of the two."""
    return sigmoid(a) * (1 - sigmoid(a)) if squash is sigmoid else sigmoid(a)


def reduced(g, shape):
    """g summed over the axes along which an array of `shape` was broadcast."""
    for axis, length in enumerate(shape):
        g = g.sum(axis, keepdims=True) if length == 1 else g
    return g


# Pooling


def edges(size: int, k: int, s: int, p: int) -> list[tuple[int, int]]:
    """First and end of each window's part on the map."""
    starts = [i * s - p for i in range((size + 2 * p - k) // s + 1)]
    return [(max(a, 0), min(a + k, size)) for a in starts]


def blocks(x, k, s, p):
    """((i, j), (rows, columns)) of each window."""
    for i, (a, b) in enumerate(edges(x.shape[2], k, s, p)):
        for j, (c, d) in enumerate(edges(x.shape[3], k, s, p)):
            yield (i, j), (slice(a, b), slice(c, d))


def output_shape(x, k, s, p) -> tuple[int, ...]:
    return (*x.shape[:2], len(edges(x.shape[2], k, s, p)), len(edges(x.shape[3], k, s, p)))


def gaussian_pool(x, eta, gy, k, s, p, eps=1e-6):
    """Y, gx, gη: Y = μ + ηs;  gη = gY s;  gx = Σ gY [1 + 1[v > ε] η (x − μ)/s] / P."""
    y, gx, geta = np.zeros(output_shape(x, k, s, p)), np.zeros_like(x), np.zeros(output_shape(x, k, s, p))
    eta_of = np.broadcast_to(eta, y.shape)
    for (i, j), (rows, columns) in blocks(x, k, s, p):
        window = x[:, :, rows, columns]
        mu, v = window.mean((2, 3)), window.var((2, 3))
        sd = np.sqrt(np.maximum(v, eps))
        e, g = eta_of[:, :, i, j], gy[:, :, i, j]
        y[:, :, i, j] = mu + e * sd
        geta[:, :, i, j] = g * sd
        pull = ((v > eps) * e / sd)[..., None, None] * (window - mu[..., None, None])
        gx[:, :, rows, columns] += g[..., None, None] * (1 + pull) / (window.shape[2] * window.shape[3])
    return y, gx, reduced(geta, eta.shape)


def maxent_pool(x, lam, gy, k, s, p):
    """y, gx, gλ: gx = Σ gy p [1 + λ(x − y)],  gλ = gy Σ p (x − y)²."""
    y, gx, glam = np.zeros(output_shape(x, k, s, p)), np.zeros_like(x), np.zeros(output_shape(x, k, s, p))
    lam_of = np.broadcast_to(lam, y.shape)
    for (i, j), (rows, columns) in blocks(x, k, s, p):
        window = x[:, :, rows, columns]
        at = (slice(None), slice(None), i, j, None, None)
        weight = np.exp(lam_of[at] * window)
        weight /= weight.sum((2, 3), keepdims=True)
        y[:, :, i, j] = (weight * window).sum((2, 3))
        glam[:, :, i, j] = gy[:, :, i, j] * (weight * (window - y[at]) ** 2).sum((2, 3))
        gx[:, :, rows, columns] += gy[at] * weight * (1 + lam_of[at] * (window - y[at]))
    return y, gx, reduced(glam, lam.shape)


# Guidance


def batch_norm(x, weight, bias, eps=1e-5):
    """y, and what backward needs, for x (N, C)."""
    r = 1 / np.sqrt(x.var(0) + eps)
    xh = (x - x.mean(0)) * r
    return weight * xh + bias, (xh, r, weight)


def batch_norm_backward(gy, kept):
    xh, r, weight = kept
    gbias, gweight = gy.sum(0), (gy * xh).sum(0)
    return weight * r * (gy - gbias / len(gy) - xh * gweight / len(gy)), gweight, gbias


def guidance(x, p: Arrays, heads: list[str]):
    """The heads' numbers (N, C) for parameters named as the layer names them, and what backward needs."""
    g = x.mean((2, 3))
    h_raw, norm = batch_norm(g @ p["reduce.weight"].T + p["reduce.bias"], p["norm.weight"], p["norm.bias"])
    h, out, norms = np.maximum(h_raw, 0), {}, {}
    for name in heads:
        linear = h @ p[f"{name}.linear.weight"].T + p[f"{name}.linear.bias"]
        out[name], norms[name] = batch_norm(linear, p[f"{name}.norm.weight"], p[f"{name}.norm.bias"])
    return out, (x, g, h_raw, h, norm, norms)


def guidance_backward(gheads: Arrays, p: Arrays, kept) -> tuple[np.ndarray, Arrays]:
    """gx through the mean of the map, and every parameter's gradient."""
    x, g, h_raw, h, norm, norms = kept
    grads: Arrays = {}
    gh = np.zeros_like(h)
    for name, ga in gheads.items():
        gl, grads[f"{name}.norm.weight"], grads[f"{name}.norm.bias"] = batch_norm_backward(ga, norms[name])
        grads[f"{name}.linear.weight"], grads[f"{name}.linear.bias"] = gl.T @ h, gl.sum(0)
        gh += gl @ p[f"{name}.linear.weight"]
    gl, grads["norm.weight"], grads["norm.bias"] = batch_norm_backward(gh * (h_raw > 0), norm)
    grads["reduce.weight"], grads["reduce.bias"] = gl.T @ g, gl.sum(0)
    gg = gl @ p["reduce.weight"]
    return np.broadcast_to(gg[..., None, None] / (x.shape[2] * x.shape[3]), x.shape), grads


# Laws of η: value, and gradients for μ₀ and the squashed number behind σ₀


def inverse_softplus(mu, raw, e, squash=sigmoid):
    """η = softplus(μ₀ + σ₀e), and geta → (gμ₀, gℓ)."""
    a = mu + squash(raw) * e

    def backward(geta):
        ga = geta * sigmoid(a)
        return reduced(ga, np.shape(mu)), reduced(ga * e, np.shape(raw)) * slope(squash, raw)

    return softplus(a), backward


def half_gaussian(raw, e, squash=softplus):
    """η = σ₀|e|, and geta → gℓ."""
    return squash(raw) * np.abs(e), lambda geta: reduced(geta * np.abs(e), np.shape(raw)) * slope(squash, raw)


# Convolution


def convolution(x, w, gy_of, s=(1, 1), p=(0, 0), d=(1, 1), groups=1):
    """y, gx, gw by einsum over one tap at a time; `gy_of(y)` is the cotangent."""
    n, c, height, width = x.shape
    o, cg, kh, kw = w.shape
    padded = np.pad(x, ((0, 0), (0, 0), (p[0], p[0]), (p[1], p[1]))).reshape(
        n, groups, cg, height + 2 * p[0], width + 2 * p[1]
    )
    size = [
        (length - di * (k - 1) - 1) // si + 1
        for length, di, k, si in zip(padded.shape[3:], d, (kh, kw), s, strict=True)
    ]
    taps = w.reshape(groups, o // groups, cg, kh, kw)

    def on(u, v):
        rows = slice(u * d[0], u * d[0] + s[0] * (size[0] - 1) + 1, s[0])
        return (..., rows, slice(v * d[1], v * d[1] + s[1] * (size[1] - 1) + 1, s[1]))

    y = sum(
        np.einsum("goc,ngchw->ngohw", taps[..., u, v], padded[on(u, v)]) for u in range(kh) for v in range(kw)
    ).reshape(n, o, *size)
    gy = gy_of(y).reshape(n, groups, o // groups, *size)
    gx, gw = np.zeros_like(padded), np.zeros_like(taps)
    for u in range(kh):
        for v in range(kw):
            gx[on(u, v)] += np.einsum("goc,ngohw->ngchw", taps[..., u, v], gy)
            gw[..., u, v] = np.einsum("ngohw,ngchw->goc", gy, padded[on(u, v)])
    gx = gx.reshape(n, c, *padded.shape[3:])[:, :, p[0] : p[0] + height, p[1] : p[1] + width]
    return y, gx, gw.reshape(w.shape)


def sampled(sigma, radius: int):
    """k (C, 2r+1) and dk/d ln σ = k (u² − m₂)/σ²."""
    sigma, u2 = np.asarray(sigma, float)[:, None], np.arange(-radius, radius + 1.0) ** 2
    a = np.exp(-u2 / (2 * sigma**2))
    k = a / a.sum(1, keepdims=True)
    return k, k * (u2 - (k * u2).sum(1, keepdims=True)) / sigma**2


def discrete(t, radius: int):
    """k (C, 2r+1) and dk/dt, T by the trapezoidal rule with M points."""
    t = np.asarray(t, float)[:, None]
    m = max(64, 4 * (radius + 1) + int(12 * np.sqrt(t.max())))
    theta = 2 * np.pi * np.arange(m) / m
    e, basis = np.exp(t * (np.cos(theta) - 1)), np.cos(np.outer(theta, np.arange(-radius, radius + 1))) / m
    law, rate = e @ basis, (e * (np.cos(theta) - 1)) @ basis
    k = law / law.sum(1, keepdims=True)
    return k, (rate - k * rate.sum(1, keepdims=True)) / law.sum(1, keepdims=True)


def composed(s, k, d=(1, 1)):
    """W (O, C/G, …) = ↑S full-convolved with k ⊗ k, for taps k (O, C/G, 2r+1)."""
    o, c, a, b = s.shape
    m = k.shape[-1]
    w = np.zeros((o, c, d[0] * (a - 1) + m, d[1] * (b - 1) + m))
    for u in range(a):
        for v in range(b):
            patch = s[:, :, u, v, None, None] * k[..., :, None] * k[..., None, :]
            w[:, :, u * d[0] : u * d[0] + m, v * d[1] : v * d[1] + m] += patch
    return w


def composed_backward(gw, s, k, d=(1, 1)):
    """gS, and gk of both axes together."""
    m, gs, gk = k.shape[-1], np.zeros_like(s), np.zeros_like(k)
    for u in range(s.shape[2]):
        for v in range(s.shape[3]):
            patch = gw[:, :, u * d[0] : u * d[0] + m, v * d[1] : v * d[1] + m]
            gs[:, :, u, v] = np.einsum("ocij,oci,ocj->oc", patch, k, k)
            along = np.einsum("ocij,ocj->oci", patch, k) + np.einsum("ocij,oci->ocj", patch, k)
            gk += s[:, :, u, v, None] * along
    return gs, gk


def channels_of(o: int, cg: int, groups: int) -> np.ndarray:
    """Which input channel W[o, c] reads."""
    return (np.arange(o) // (o // groups))[:, None] * cg + np.arange(cg)


# Classifier


def stat_rot(x, w, e, angle, gz):
    """z̃, gx, gw for noise e of variance 1."""
    z, a, b = x @ w.T, (x * x).sum(1, keepdims=True), (w * w).sum(1)[None]
    r = a * b - z * z
    root, alive = np.sqrt(np.maximum(r, 0)), r > 0
    scaled = np.sin(angle) * e / np.sqrt(min(w.shape) - 1)
    gr = np.where(alive, gz * scaled / (2 * np.where(alive, root, 1)), 0)
    gzz = np.cos(angle) * gz - 2 * z * gr
    gx = gzz @ w + 2 * x * (gr * b).sum(1, keepdims=True)
    gw = gzz.T @ x + 2 * w * (gr * a).sum(0)[:, None]
    return np.cos(angle) * z + scaled * root, gx, gw
