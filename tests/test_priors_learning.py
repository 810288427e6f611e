"""σ finds the scale of the data: from below and from above, on the embedded set whose classes live at one scale."""

from __future__ import annotations

import pytest

from docs.figures.sigma_scale import learned


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_sigma_moves_towards_the_scale_of_the_data_from_either_side(scale: float) -> None:
    below, above = 0.4 * scale, 2.5 * scale
    up, down = learned(scale, below, steps=45)[-1], learned(scale, above, steps=45)[-1]
    assert below + 0.15 * scale < up < 1.2 * scale
    assert 0.8 * scale < down < above - 0.8 * scale


def test_the_variance_of_a_discrete_kernel_moves_up_from_no_kernel_at_all() -> None:
    assert 0.6 < learned(2.0, 0.0, steps=45, kernel="discrete")[-1] < 2.5
