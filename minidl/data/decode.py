"""One image file → pixels; and, run as a program, a process that does it for another.

It needs Pillow and NumPy alone, so that a process of it is there at once.  As a program it reads requests from its
standard input, each a length (four bytes) and that much JSON, an object of

    tasks        [[path, draws or null], …], see `view`
    shorter      as of `decode`
    size         as of `view`; 0 asks for the whole image
    min_area     as of `view`

It answers each task in turn with height, width and the pixels, or with zero, a length and a message, and ends when
its input does.
"""

from __future__ import annotations

import json
import math
import os
import signal
import stat
import struct
import sys
import warnings
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "GIF")  # decoders that run no other program
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".gif")
MAX_PIXELS = 1 << 26  # 8192 × 8192; more is refused before it is decoded
CENTRE = 7 / 8  # the side of the fixed view, as a share of the shorter side: 224 of 256
RATIO = (3 / 4, 4 / 3)  # width/height of a random part
ATTEMPTS = 10
DRAWS = 2 * ATTEMPTS + 2  # uniform numbers that choose a random part

HEADER, ANSWER = struct.Struct("<I"), struct.Struct("<II")


class Unreadable(Exception):
    """Why a file gives no image, in words."""


def refused(path: str) -> str | None:
    """Why the file cannot be an image, as far as its first bytes show; None if they are those of one.

    A file that is cut off further on is found when it is decoded.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return "is no file"
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"must have at most {MAX_PIXELS:,} pixels, has more"
    except OSError as error:
        return error.strerror or "damaged, or not an image"
    except Exception as error:  # a decoder fed with damaged bytes may raise anything
        return f"damaged ({type(error).__name__})"
    too_many = width * height > MAX_PIXELS
    return f"must have at most {MAX_PIXELS:,} pixels, has {width} × {height}" if too_many else None


def decode(path: str, shorter: int) -> np.ndarray:
    """The image in a file, upright, in RGB, reduced until its shorter side has `shorter` pixels (never enlarged).

    Grey, palette, CMYK and 16-bit images become RGB; what is transparent becomes white; of an animation the first
    frame counts.

    Returns:
        uint8 (H, W, 3).

    Raises:
        Unreadable: the file is missing, damaged, of another kind, or has more than 2²⁶ pixels.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise Unreadable(f"must have at most {MAX_PIXELS:,} pixels, has {width} × {height}")
            image.draft(None, (shorter, shorter))  # JPEG: decode at ½, ¼ or ⅛ where that is still enough
            upright: Image.Image = ImageOps.exif_transpose(image)
            rgb = _to_rgb(upright)
    except Unreadable:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unreadable(f"must have at most {MAX_PIXELS:,} pixels, has more") from None
    except OSError as error:
        raise Unreadable(error.strerror or "damaged, or not an image") from error
    except Exception as error:  # a decoder fed with damaged bytes may raise anything
        raise Unreadable(f"damaged ({type(error).__name__})") from error
    factor = shorter / min(rgb.size)
    if factor < 1:
        width, height = (max(shorter, round(side * factor)) for side in rgb.size)
        rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(rgb)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def view(image: np.ndarray, size: int, draws: Sequence[float] | None, min_area: float) -> np.ndarray:
    """A square of `size` pixels: the middle of `image`, or the random part that `draws` choose.

    Args:
        image: uint8 (H, W, 3).
        size: pixels.
        draws: DRAWS uniform numbers in [0, 1), or None for the middle.
        min_area: the smallest random part, as a share of the image's area.

    Returns:
        uint8 (size, size, 3).
    """
    height, width = image.shape[:2]
    if draws is None:
        side = CENTRE * min(height, width)
        box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    else:
        box = random_box(height, width, draws, min_area)
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=box))


def random_box(height: int, width: int, draws: Sequence[float], min_area: float) -> tuple[float, float, float, float]:
    """A part of random area and shape (Szegedy et al. 2015), as (left, top, right, bottom).

    The area is uniform in [min_area, 1] of the image's, the logarithm of width/height uniform in that of RATIO;
    the first of ten attempts that fits counts, else the largest part in the middle whose ratio is within RATIO.
    """
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for area_draw, ratio_draw in zip(draws[:ATTEMPTS], draws[ATTEMPTS : 2 * ATTEMPTS], strict=True):
        area = height * width * (min_area + (1 - min_area) * area_draw)
        ratio = math.exp(low + (high - low) * ratio_draw)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(draws[-2] * (width - w + 1)), int(draws[-1] * (height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until they end."""
    while header := requests.read(HEADER.size):
        request: dict[str, Any] = json.loads(requests.read(HEADER.unpack(header)[0]))
        for path, draws in request["tasks"]:
            try:
                image = decode(path, request["shorter"])
                if request["size"]:
                    image = view(image, request["size"], draws, request["min_area"])
                answers.write(ANSWER.pack(*image.shape[:2]) + image.tobytes())
            except Unreadable as reason:
                message = str(reason).encode()
                answers.write(ANSWER.pack(0, len(message)) + message)
        answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks
    warnings.simplefilter("ignore")
    serve(sys.stdin.buffer, sys.stdout.buffer)
