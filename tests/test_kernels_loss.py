"""The forms of cross-entropy against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from minidl.kernels import array, cpu, reference


@pytest.mark.parametrize("kernels", [array, cpu], ids=["array", "cpu"])
@pytest.mark.parametrize(("shape", "axis"), [((5, 7), 1), ((4,), 0), ((2, 3, 4, 5), 1)])
def test_forms_agree_with_the_definition(kernels, shape, axis) -> None:
    rng = np.random.default_rng(0)
    z, t = rng.normal(size=shape) * 100, rng.random(shape) * (rng.random(shape) < 0.5)
    losses, logp = kernels.cross_entropy(z, t, axis)
    for got, want in zip((losses, logp), reference.cross_entropy(z, t, axis), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-15)
    rows = np.expand_dims(rng.normal(size=losses.shape), axis)
    for gl in (np.float64(0.5), rows):
        np.testing.assert_allclose(
            kernels.cross_entropy_adjoint(gl, logp, t, axis),
            reference.cross_entropy_adjoint(gl, logp, t, axis),
            rtol=1e-12,
            atol=1e-15,
        )


@pytest.mark.parametrize("kernels", [reference, array, cpu], ids=["reference", "array", "cpu"])
def test_a_class_without_weight_may_be_impossible(kernels) -> None:
    losses, _ = kernels.cross_entropy(np.array([[0.0, -np.inf]]), np.array([[1.0, 0.0]]), 1)
    assert losses.tolist() == [0.0]
