"""Random changes of training images, whole batches at a time: `(images uint8 (n, 3, H, W), rng) -> images`.

Each is a small frozen record of its settings, and draws what it needs for every image from `rng`; images are
never written to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minidl.errors import ConfigError

__all__ = ["ColorJitter", "Compose", "Cutout", "Flip", "Lighting", "PadCrop", "augment_names", "create_augment"]


class Compose:
    """One change after another.

    Args:
        transforms: functions (images, rng) → images.

    Example:
        >>> images = np.zeros((2, 3, 8, 8), np.uint8)
        >>> Compose(PadCrop(2), Flip())(images, np.random.default_rng(0)).shape
        (2, 3, 8, 8)
    """

    def __init__(self, *transforms) -> None:
        self.transforms = transforms

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for transform in self.transforms:
            images = transform(images, rng)
        return images

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


@dataclass(frozen=True)
class PadCrop:
    """Shift each image by up to `padding` pixels either way; what comes in from outside is `fill`.

    Args:
        padding: pixels, >= 0.
        fill: the grey value of the border, 0 to 255.
    """

    padding: int = 4
    fill: int = 0

    def __post_init__(self) -> None:
        _require(self.padding >= 0, f"PadCrop: padding must be >= 0, got {self.padding}")
        _require(0 <= self.fill <= 255, f"PadCrop: fill must be within 0 and 255, got {self.fill}")

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, _, height, width = images.shape
        p = self.padding
        top, left = rng.integers(0, 2 * p + 1, size=(2, n))
        padded = np.pad(images, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=self.fill)
        cropped = np.empty_like(images)
        for i in range(n):  # n contiguous copies are faster than one gather of n·3·H·W indices
            cropped[i] = padded[i, :, top[i] : top[i] + height, left[i] : left[i] + width]
        return cropped


@dataclass(frozen=True)
class Flip:
    """Mirror images, left to right.

    Args:
        probability: with which each one is.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        _require(0 <= self.probability <= 1, f"Flip: probability must be within 0 and 1, got {self.probability}")

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mirrored = rng.random(len(images)) < self.probability
        images = images.copy()
        images[mirrored] = images[mirrored, :, :, ::-1]
        return images


@dataclass(frozen=True)
class Cutout:
    """Blank a square of `size` pixels around a random pixel; it may reach over the border (DeVries & Taylor 2017).

    Args:
        size: side of the square, >= 1.
        fill: the grey value put there, 0 to 255.  The middle stands near the mean colour, as in the paper.
    """

    size: int = 16
    fill: int = 128

    def __post_init__(self) -> None:
        _require(self.size >= 1, f"Cutout: size must be >= 1, got {self.size}")
        _require(0 <= self.fill <= 255, f"Cutout: fill must be within 0 and 255, got {self.fill}")

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, _, height, width = images.shape
        top = rng.integers(0, height, size=(n, 1)) - self.size // 2
        left = rng.integers(0, width, size=(n, 1)) - self.size // 2
        y, x = np.arange(height), np.arange(width)
        rows, columns = (y >= top) & (y < top + self.size), (x >= left) & (x < left + self.size)  # (n, H), (n, W)
        inside = rows[:, None, :, None] & columns[:, None, None, :]  # (n, 1, H, W)
        return np.where(inside, np.uint8(self.fill), images)


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast and saturation of each image, in an order drawn a batch.

    An image x with grey image g = 0.299 R + 0.587 G + 0.114 B and mean grey m becomes

        f x  (brightness),   m + f (x − m)  (contrast),   g + f (x − g)  (saturation),

    each factor f uniform in [1 − s, 1 + s], s its strength.  Values are rounded and cut to 0…255 once, at the end.

    Args:
        brightness, contrast, saturation: strengths, within 0 and 1.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            _require(0 <= value <= 1, f"ColorJitter: {name} must be within 0 and 1, got {value}")

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x = images.astype(np.float32)
        factors = dict(zip(vars(self), rng.uniform(-1, 1, (3, len(x), 1, 1, 1)).astype(np.float32), strict=True))
        for name in rng.permutation(list(factors)):
            factor = 1 + getattr(self, name) * factors[name]  # (n, 1, 1, 1)
            grey = np.float32(0.299) * x[:, 0:1] + np.float32(0.587) * x[:, 1:2] + np.float32(0.114) * x[:, 2:3]
            fixed = {"brightness": 0, "contrast": grey.mean((2, 3), keepdims=True), "saturation": grey}[name]
            x = fixed + factor * (x - fixed)
        return _rounded(x)


@dataclass(frozen=True)
class Lighting:
    """Shift each image along the principal axes p_i of ImageNet's colours (Krizhevsky et al. 2012, section 4.1):

        x + 255 Σ_i α_i λ_i p_i,   α_i ~ N(0, strength²)

    with the eigenvalues λ_i and axes that fb.resnet.torch published, for pixels in 0…1.

    Args:
        strength: standard deviation of α, >= 0.
    """

    strength: float = 0.1

    def __post_init__(self) -> None:
        _require(self.strength >= 0, f"Lighting: strength must be >= 0, got {self.strength}")

    def __call__(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        alpha = self.strength * rng.standard_normal((len(images), 3))
        shift = 255 * (alpha * EIGENVALUES) @ AXES.T  # (n, 3)(3, 3)
        return _rounded(images + shift.astype(np.float32)[:, :, None, None])


EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
AXES = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])  # columns p_i


def _rounded(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _require(rule: bool, message: str) -> None:
    if not rule:
        raise ValueError(message)


_BY_NAME = {
    "crop": lambda size: PadCrop(max(1, size // 8)),  # 4 pixels at 32
    "flip": lambda size: Flip(),
    "cutout": lambda size: Cutout(max(1, size // 2)),  # 16 pixels at 32
    "jitter": lambda size: ColorJitter(),
    "lighting": lambda size: Lighting(),
}


def augment_names() -> list[str]:
    """The names that `create_augment` knows.

    Example:
        >>> augment_names()
        ['crop', 'flip', 'cutout', 'jitter', 'lighting']
    """
    return list(_BY_NAME)


def create_augment(names: Sequence[str], image_size: int) -> Compose:
    """The named transforms in that order, their lengths in proportion to the image.

    Args:
        names: of `augment_names()`; none gives a Compose that changes nothing.
        image_size: shorter side in pixels.

    Returns:
        A `Compose`.

    Raises:
        ConfigError: a name is unknown.

    Example:
        >>> create_augment(["crop", "flip"], 32)
        Compose(PadCrop(padding=4, fill=0), Flip(probability=0.5))
    """
    for name in names:
        if name not in _BY_NAME:
            raise ConfigError(f"augment: must be of {', '.join(_BY_NAME)}, got {name!r}")
    return Compose(*(_BY_NAME[name](image_size) for name in names))
