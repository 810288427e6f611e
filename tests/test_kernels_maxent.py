"""The forms of maximum-entropy pooling against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from minidl.kernels import array, cpu, reference


@pytest.mark.parametrize("kernels", [array, cpu], ids=["array", "cpu"])
@pytest.mark.parametrize(
    ("size", "place", "output_size"),
    [
        ((5, 6), ((2, 3), (2, 1), (0, 0)), (2, 4)),
        ((5, 4), ((3, 3), (2, 2), (1, 1)), (3, 2)),
        ((5, 3), ((2, 2), (2, 2), (0, 0)), (3, 2)),  # the last windows are cut off
    ],
    ids=["inside", "padded", "cut off"],
)
def test_forms_agree_with_the_definition(kernels, size, place, output_size) -> None:
    rng = np.random.default_rng(0)
    x, lam = rng.normal(size=(2, 3, *size)), rng.normal(size=(1, 3, 1, 1)) * 2
    gy = rng.normal(size=(2, 3, *output_size))
    y, kept = kernels.maxent_pool(x, lam, *place, output_size)
    want, _ = reference.maxent_pool(x, lam, *place, output_size)
    np.testing.assert_allclose(y, want, rtol=1e-13, atol=1e-14)
    for routine, first in (("maxent_pool_adjoint", (gy,)), ("maxent_variance", ())):
        got = getattr(kernels, routine)(*first, x, lam, y, kept, *place)
        np.testing.assert_allclose(
            got, getattr(reference, routine)(*first, x, lam, want, None, *place), rtol=1e-12, atol=1e-14
        )
