"""Mistakes that can be made in any op."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from minidl.check.mistakes.call import Call, Mistake
from minidl.check.spec import CASES


def _images(c: Call) -> int:
    x = next(x for x in c.sample.inputs if x is not None)
    return x.shape[0] if x.ndim else 1


def _every(f: Callable[[np.ndarray], np.ndarray]) -> Callable[[Call], Mapping[str, np.ndarray]]:
    return lambda c: {name: f(g) for name, g in c.pull().items()}


def _of_one_image(c: Call, k: int) -> Mapping[str, np.ndarray]:
    """Gradients of the inputs that all images share, from one image alone."""
    n = _images(c)
    if c.gy.ndim == 0 or c.gy.shape[0] != n:
        return {}
    gy = np.zeros_like(c.gy)
    gy[k] = c.gy[k]
    return {name: g for name, g in c.pull(gy).items() if name != c.names[0]}


def _noise_of_before(c: Call) -> np.ndarray | None:
    """The output with the noise of the call before."""
    if c.before is None or not c.case.constants:
        return None
    changes = {}
    for i in c.case.constants:
        old, new = c.before.inputs[i], c.sample.inputs[i]
        if old is None or new is None or old.shape != new.shape:
            return None
        changes[c.names[i]] = old
    return c(**changes)


NOISY = ("half_gaussian", "inverse_softplus_gaussian", "stat_rot_linear")

MISTAKES = [
    Mistake(
        "noise reused",
        NOISY,
        "the noise is that of an earlier call, not the one given",
        _noise_of_before,
    ),
    Mistake(
        "noise ignored",
        NOISY,
        "the output is that of noise 0",
        lambda c: c(noise=np.zeros_like(c["noise"])),
    ),
    Mistake(
        "cotangent ignored",
        (),
        "the gradient is that of a cotangent of ones: it is not multiplied by gy",
        gradient=lambda c: c.pull(np.ones_like(c.gy)),
    ),
    Mistake("factor 2", (), "the gradient is twice what it should be", gradient=_every(lambda g: 2 * g)),
    Mistake(
        "factor 2",
        (),
        "the gradient is half what it should be: a factor 2 is missing",
        gradient=_every(lambda g: g / 2),
    ),
    Mistake("sign", (), "the gradient has the wrong sign", gradient=_every(lambda g: -g)),
    Mistake("gradient is zero", (), "the gradient is 0 throughout", gradient=_every(np.zeros_like)),
    Mistake(
        "mean instead of sum",
        (),
        "the gradient is divided by the number of images: it is a sum over the batch (a mean loss has divided already)",
        gradient=lambda c: {name: g / _images(c) for name, g in c.pull().items()},
    ),
    Mistake(
        "mean instead of sum",
        (),
        "the gradient is divided by the number of outputs it is summed over",
        gradient=lambda c: {name: g * (g.size / c.gy.size) for name, g in c.pull().items() if g.size},
    ),
    Mistake(
        "sum instead of mean",
        (),
        "the gradient is not divided by the number of images",
        gradient=lambda c: {name: g * _images(c) for name, g in c.pull().items()},
    ),
    Mistake(
        "not summed over the batch",
        (),
        "the gradient is that of the last image alone: it is a sum over the batch",
        gradient=lambda c: _of_one_image(c, -1),
    ),
    Mistake(
        "not summed over the batch",
        (),
        "the gradient is that of the first image alone: it is a sum over the batch",
        gradient=lambda c: _of_one_image(c, 0),
    ),
    Mistake(
        "gradient transposed",
        (),
        "the gradient's last two axes are exchanged",
        gradient=lambda c: {name: g.swapaxes(-1, -2) for name, g in c.pull().items() if g.ndim > 1},
    ),
    Mistake(
        "gradient is the cotangent",
        (),
        "the gradient is gy itself",
        gradient=lambda c: {name: c.gy for name, g in c.pull().items() if g.shape == c.gy.shape},
    ),
    Mistake(
        "gradients swapped",
        (),
        "the gradients of the first two inputs stand in each other's place",
        gradient=lambda c: _swapped(c.pull()),
    ),
]


def _swapped(g: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    names = list(g)[:2]
    return {names[0]: g[names[1]], names[1]: g[names[0]]} if len(names) == 2 else {}


def other_ops(c_case: str) -> Iterator[Mistake]:
    """That the function computes another op, with the same arguments."""
    for case in CASES:
        if case.name != c_case and case.name != "split":

            def output(c: Call, case=case) -> np.ndarray:
                return Call(case, c.sample, c.gy).y

            yield Mistake(
                f"computes {case.name}", (c_case,), f"the output is that of {case.name}: {case.equations}", output
            )
