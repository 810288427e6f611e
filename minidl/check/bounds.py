r"""How far rounding alone can carry a result.

With unit roundoff u, a sum of k products errs by at most γ_k Σ|a||b|, and γ_k bounds any k roundings in a row:

    γ_k = k u / (1 - k u)                                                                                     (1)

For any other formula the first-order model is the same with Σ|a||b| replaced by the result's sensitivity to a
relative change of everything it was computed from (for a sum of products the two agree):

    |fl(y) - y|    ≤  γ_k M,    M  = |y| + Σ_j |∂y/∂x_j| |x_j|                                                (2)
    |fl(gx) - gx|  ≤  γ_k Mg,   Mg = |J|ᵀ|gy| + Σ_j |∂gx/∂x_j| |x_j| + max_i |gy_i| M_i / max_j |x_j|         (3)

The last term is for gradients that vanish by cancellation (of σ on a constant map, of a softmax over one element):
x gx and y gy have one unit, and terms of that size cancel.  A transform (a kernel that is summed from a spectrum)
errs relative to its largest output, not to each: where an op is declared `normwise`, M in (2) is its maximum.

k counts the roundings between an input and an output: no sum here has more terms than there are elements in the
inputs, and no op chains more than a few such sums and elementary functions, each good to about 4 ulp:

    k = Σ_i size(x_i) + 64                                                                                    (4)

Higham, Accuracy and Stability of Numerical Algorithms, chapters 1 and 3.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def roundings(inputs: Iterable[np.ndarray | None]) -> int:
    """k of (4) for these inputs.

    Args:
        inputs: of a call; None for an absent one.

    Returns:
        k.

    Example:
        >>> roundings([np.ones((2, 3)), None])
        70
    """
    return sum(x.size for x in inputs if x is not None) + 64


def gamma(k: int, dtype: np.dtype | type) -> float:
    """γ_k of (1) for `dtype`, infinite where k u ≥ 1.

    Args:
        k: how many roundings.
        dtype: float32 or float64.

    Returns:
        γ_k.

    Example:
        >>> gamma(2, np.float64) == 2 * 2.0**-53 / (1 - 2 * 2.0**-53)
        True
    """
    ku = k * float(np.finfo(dtype).eps) / 2
    return ku / (1 - ku) if ku < 1 else float("inf")
