r"""The embedded set: ten classes of Gaussian derivatives, told apart by shape and by scale.

With u = (x − x₀)/σ, v = (y − y₀)/σ and G = exp(−(u² + v²)/2), the motifs are derivatives of a Gaussian of
standard deviation σ pixels,

    blob   G                     edges    −G_u, −G_v, −(G_u ± G_v)/√2                        (1)
    spot   G_uu + G_vv           bars     G_uu, G_vv, (G_uu ± 2 G_uv + G_vv)/2               (2)
                                 saddles  G_uu − G_vv, G_uv                                  (3)
    G_u = −u G,   G_uu = (u² − 1) G,   G_uv = u v G                                          (4)

each divided by its norm ‖motif‖ = (∬ motif² du dv)^½, so that all carry the same energy.  An image is

    image = colour slope + Σ distracting blobs + colour · Σ_k ±motif_k + pixel noise         (5)

with K = 30/σ² motifs of its class at random places.  The random signs make the mean image of every class the
same, so that a linear model finds next to nothing; a ± of slanted motifs is drawn an image, so that mirrored
images stay in their class.

The default set has bars of three orientations at three scales, and spots: shape alone does not tell the class,
nor does scale.  With `scale` given there are the ten motifs of (1)-(3), all at that one σ.  A Gaussian filter of
that σ and a small structural filter behind it are then the matched filter of the class under white noise: what
a learned σ should find.

Every bit is fixed by the seed, on every platform and NumPy version: random numbers come from the raw PCG64 stream,
which NumPy promises to keep, and the drawing uses + − × ÷ √ alone, which IEEE 754 rounds in one way.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np

from minidl.data.dataset import ArrayDataset
from minidl.errors import DataError

__all__ = ["MultiScale", "draw"]

SIZE = 32  # pixels a side
BLOCK = 250  # images drawn together; image i depends on the seed and on i, not on how many are drawn
FINE, MIDDLE, COARSE = 0.9, 2.0, 5.0  # σ in pixels
SCALES = (0.5, 6.0)  # the σ that 32 pixels can show
COVERAGE = 30.0  # K σ²: how many motifs of σ = 1 an image holds
CONTRAST, NOISE = 0.75, 0.04  # of the range 0…1 of a pixel; contrast: colour length times norm of the motif
DISTRACTORS = 4  # blobs an image
TRAIN_SIZE, TEST_SIZE = 10_000, 2_000

Plane = np.ndarray


@dataclass(frozen=True)
class Motif:
    """A linear combination of derivatives of a Gaussian.

    Attributes:
        name: in words.
        jet: the factors of G, −G_u, −G_v, G_uu, G_uv, G_vv.  A mirror image changes the signs of −G_u and G_uv.
        energy: ∬ motif² du dv / π.
    """

    name: str
    jet: tuple[float, float, float, float, float, float]
    energy: float


BLOB = Motif("blob", (1, 0, 0, 0, 0, 0), 1)  # (1)
UPRIGHT_EDGE = Motif("upright edge", (0, 1, 0, 0, 0, 0), 1 / 2)
LEVEL_EDGE = Motif("level edge", (0, 0, 1, 0, 0, 0), 1 / 2)
SLANTED_EDGE = Motif("slanted edge", (0, sqrt(0.5), sqrt(0.5), 0, 0, 0), 1 / 2)
SPOT = Motif("spot", (0, 0, 0, 1, 0, 1), 2)  # (2)
UPRIGHT_BAR = Motif("upright bar", (0, 0, 0, 1, 0, 0), 3 / 4)
LEVEL_BAR = Motif("level bar", (0, 0, 0, 0, 0, 1), 3 / 4)
SLANTED_BAR = Motif("slanted bar", (0, 0, 0, 0.5, 1, 0.5), 3 / 4)
UPRIGHT_SADDLE = Motif("upright saddle", (0, 0, 0, 1, 0, -1), 1)  # (3)
SLANTED_SADDLE = Motif("slanted saddle", (0, 0, 0, 0, 1, 0), 1 / 4)

BARS = (UPRIGHT_BAR, LEVEL_BAR, SLANTED_BAR)
MOTIFS = (BLOB, UPRIGHT_EDGE, LEVEL_EDGE, SLANTED_EDGE, SPOT, *BARS, UPRIGHT_SADDLE, SLANTED_SADDLE)
DEFAULT_CLASSES = (*((bar, scale) for scale in (FINE, MIDDLE, COARSE) for bar in BARS), (SPOT, MIDDLE))
DEFAULT_NAMES = (*(f"{size} {bar.name}s" for size in ("fine", "middle", "coarse") for bar in BARS), "middle spots")


class MultiScale(ArrayDataset):
    """The embedded set, drawn when it is asked for (10,000 training and 2,000 test images, about a second).

    Args:
        split: "train" or "test"; different seeds of `draw`.
        scale: None for the default ten classes, or the one σ, in pixels, at which ten motifs are told apart.
        noise: standard deviation of the pixel noise; the more, the more a filter of the right scale helps.
        size: number of images; the set's own if None.

    Example:
        >>> data = MultiScale("train", size=100)
        >>> len(data), data.num_classes, data.class_names[0]
        (100, 10, 'fine upright bars')
    """

    default_augment = ("crop", "flip")

    def __init__(
        self, split: str, *, scale: float | None = None, noise: float = NOISE, size: int | None = None
    ) -> None:
        size = size if size is not None else TRAIN_SIZE if split == "train" else TEST_SIZE
        images, labels = draw(size, seed=0 if split == "train" else 1, scale=scale, noise=noise)
        names = DEFAULT_NAMES if scale is None else tuple(motif.name for motif in MOTIFS)
        super().__init__(images, labels, class_names=names, mean=(0.5,) * 3, std=(0.16,) * 3)
        self.scale = scale


def draw(
    n: int, *, seed: int, scale: float | None = None, contrast: float = CONTRAST, noise: float = NOISE
) -> tuple[np.ndarray, np.ndarray]:
    """Draw `n` images; every 250 in a row hold 25 of each class.

    Args:
        n: how many, >= 0.  The first m of them are those of `draw(m, …)`.
        seed: >= 0.
        scale: σ in pixels, 0.5 to 6, at which all ten classes (of `MOTIFS`) live; None for the default
            classes, bars at σ = 0.9, 2 and 5 and spots at σ = 2.  Each image's own σ is within 10 % of it.
        contrast: strength of the class's motifs; an image's own is within 25 % of it.
        noise: standard deviation of the pixel noise, in units of the range 0…1 of a pixel.

    Returns:
        images, uint8 (n, 3, 32, 32), and labels, int64 (n,).

    Raises:
        DataError: `scale` is out of range.
        ValueError: another argument is.

    Example:
        >>> images, labels = draw(1000, seed=0)
        >>> images.shape, images.dtype, np.bincount(labels).tolist()
        ((1000, 3, 32, 32), dtype('uint8'), [100, 100, 100, 100, 100, 100, 100, 100, 100, 100])
        >>> bool((draw(10, seed=0)[0] == images[:10]).all())
        True
    """
    if scale is not None and not SCALES[0] <= scale <= SCALES[1]:
        raise DataError(f"multiscale: scale must be within {SCALES[0]} and {SCALES[1]} pixels, got {scale}")
    for name, value in (("n", n), ("seed", seed), ("contrast", contrast), ("noise", noise)):
        if not value >= 0:
            raise ValueError(f"multiscale.draw: {name} must be >= 0, got {value}")
    classes = DEFAULT_CLASSES if scale is None else tuple((motif, float(scale)) for motif in MOTIFS)
    images = np.empty((n, 3, SIZE, SIZE), np.uint8)
    labels = np.empty(n, np.int64)
    for block, start in enumerate(range(0, n, BLOCK)):
        rows = slice(start, min(start + BLOCK, n))
        drawn = _draw_block(_Stream(seed, block), classes, contrast, noise)
        images[rows], labels[rows] = (array[: rows.stop - start] for array in drawn)
    return images, labels


def _draw_block(
    stream: _Stream, classes: tuple[tuple[Motif, float], ...], contrast: float, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """BLOCK images and their labels; (5)."""
    labels = np.argsort(stream.raw(BLOCK), kind="stable") % len(classes)
    images = _background(stream)
    colours = stream.uniform(-1, 1, BLOCK, 3)
    length = np.sqrt(colours[:, 0] ** 2 + colours[:, 1] ** 2 + colours[:, 2] ** 2) + np.float32(1e-3)
    colours *= (stream.uniform(0.75, 1.25, BLOCK) * np.float32(contrast) / length)[:, None]
    mirror = stream.signs(BLOCK)
    for label, (motif, scale) in enumerate(classes):
        members = np.flatnonzero(labels == label)
        plane = _motif_plane(stream, motif, scale, mirror[members])  # (m, H, W)
        images[members] += colours[members][:, :, None, None] * plane[:, None]  # (m, C, 1, 1)(m, 1, H, W)
    images += np.float32(noise) * stream.normal(*images.shape)
    images = np.minimum(np.maximum(images, 0), 1)
    return (images * np.float32(255) + np.float32(0.5)).astype(np.uint8), labels


def _background(stream: _Stream) -> np.ndarray:
    """A colour that slopes across each image, and blobs that tell nothing of the class: (BLOCK, 3, H, W)."""
    across = (np.arange(SIZE, dtype=np.float32) - np.float32(15.5)) / np.float32(15.5)  # −1 … 1
    each = (BLOCK, 3, 1, 1)
    images = stream.uniform(0.3, 0.7, *each) + stream.uniform(-0.15, 0.15, *each) * across
    images = images + stream.uniform(-0.15, 0.15, *each) * across[:, None]
    for _ in range(DISTRACTORS):
        sigma = stream.uniform(0.8, 4, BLOCK, 1)
        gu, gv = (_derivatives(stream.uniform(0, SIZE - 1, BLOCK, 1), sigma)[0] for _ in "xy")  # (n, 1, W), (n, 1, H)
        images += stream.uniform(-0.15, 0.15, *each) * (gv[:, 0, :, None] * gu[:, 0, None, :])[:, None]
    return images


def _motif_plane(stream: _Stream, motif: Motif, scale: float, mirror: np.ndarray) -> Plane:
    """Σ_k ±motif_k / ‖motif‖ for each of len(mirror) images: (m, H, W)."""
    m, k = len(mirror), max(1, round(COVERAGE / (scale * scale)))
    sigma = stream.uniform(0.9 * scale, 1.1 * scale, m, 1)
    margin = min(1.5 * scale, SIZE / 3)  # a motif's middle keeps this far from the border
    x, y = (stream.uniform(margin, SIZE - 1 - margin, m, k) for _ in "xy")
    (g, gu, guu), (h, hv, hvv) = _derivatives(x, sigma), _derivatives(y, sigma)  # (m, K, W), (m, K, H)
    a, au, av, auu, auv, avv = (np.float32(c / sqrt(pi * motif.energy)) for c in motif.jet)
    flip, sign = mirror[:, None, None], stream.signs(m, k)[:, :, None]
    products = (  # the motif is Σ of (derivative along y) × (row along x)
        (h, sign * (a * g + flip * au * gu + auu * guu)),
        (hv, sign * (av * g + flip * auv * gu)),
        (hvv, sign * (avv * g)),
    )
    plane = np.zeros((m, SIZE, SIZE), np.float32)
    for column, row in products:
        if row.any():
            for j in range(k):
                plane += column[:, j, :, None] * row[:, j, None, :]
    return plane


def _derivatives(centre: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """G, −G_u and G_uu in one dimension on the pixel grid, (m, K, SIZE), for centres (m, K) and σ (m, 1); (4).

    exp(−u²/2) = lim (1 − u²/2ν)^ν is taken at ν = 1024 = 2¹⁰: ten squarings, the same bits everywhere.
    """
    u = (np.arange(SIZE, dtype=np.float32) - centre[:, :, None]) / sigma[:, :, None]
    g = np.maximum(1 - u * u * np.float32(1 / 2048), 0)
    for _ in range(10):
        g = g * g
    return g, u * g, (u * u - 1) * g


class _Stream:
    """Random numbers made of raw PCG64 words alone, whose stream NumPy promises not to change."""

    def __init__(self, seed: int, block: int) -> None:
        self.words = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(block,)))

    def raw(self, n: int) -> np.ndarray:
        return self.words.random_raw(n)

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        """float32 in [low, high]."""
        unit = (self.raw(int(np.prod(shape))) >> np.uint64(11)) * 2.0**-53  # 53 bits: [0, 1) in float64
        return (low + (high - low) * unit).astype(np.float32).reshape(shape)

    def signs(self, *shape: int) -> np.ndarray:
        """−1 or 1."""
        return np.where(self.uniform(0, 1, *shape) < 0.5, np.float32(-1), np.float32(1))

    def normal(self, *shape: int) -> np.ndarray:
        """Nearly normal, mean 0 and variance 1, within ±3.46: the sum of four bytes, standardised."""
        n = int(np.prod(shape))
        a, b, c, d = self.raw(-(-n // 2)).astype("<u8").view(np.uint8)[: 4 * n].reshape(4, n)
        total = a.astype(np.int16) + b + c + d  # mean 510, variance 4 (256² − 1)/12 = 21845
        return ((total - np.int16(510)) / np.float32(sqrt(21845))).reshape(shape)
