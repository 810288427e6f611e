"""Changes that nobody notices, explained by reading: {target: {change: reason}}.

EQUIVALENT ones change nothing.  SURVIVING ones do, where no property looks.
`tests/test_mutation.py` refuses an entry whose change is no longer made.
"""

ONE_IMAGE = "the weight was given one leading axis: its first element is its last"
GROUPED = "the reshape that follows cuts the channels into the groups too"
FAR = "the factor 1 - σ(x) and the exponential are 0 long before 799"
AT_ZERO = "multiplied by b = 0; a ** 2 and a ** 0 are finite as a ** 1 is"
SUMMED = "the sum to the kernels' shape that follows sums over the channels too, and (11), (13) are linear in gt"
NOWHERE = "one more column of zeros that no index names"
LAST_OF_TWO = "the array has two axes: axis 1 is the last"
LAST_OF_ONE = "the stacked arrays have one axis: the new last axis is axis 1"
PARALLEL = "where R = 0 x and w are parallel, so that the two terms with gr in (4)-(6) cancel for any gr"
BOTH_NONE = "both are None"

SEPARABLE = "self.kernels.separable_map_adjoint(gy, self.x, self.z, self.t_h, self.t_w, needs_gx, needs_gk"

EQUIVALENT: dict[str, dict[str, str]] = {
    "kernels.array.conv.correlate": {
        "_grouped(_padded(xp, x, padding), groups) → _padded(xp, x, padding)": GROUPED,
        "0 → -1": ONE_IMAGE,
    },
    "kernels.array.conv.correlate_adjoint_x": {"_grouped(gy, groups) → gy": GROUPED, "0 → -1": ONE_IMAGE},
    "kernels.array.separable.reading_matrix_adjoint": {"1 → 2": NOWHERE, "-1 → 1": f"{LAST_OF_TWO}; and {LAST_OF_ONE}"},
    "kernels.array.maxent.maxent_variance": {
        "(p * above * above).sum(axis=0) → p * above * above": "`sum_to` sums over the leading axis too",
    },
    "kernels.array.separable._rows": {
        "x.transpose(1, 2, 0, 3) → x.transpose(1, 2, 3, 0)": "both factors are reordered alike, and then summed over",
    },
    "ops.norm.FixedNorm.backward": {
        "(gy * _column(self.scale, gy.ndim)).astype(gy.dtype, copy=False) → gy * _column(self.scale, gy.ndim)": (
            "of one dtype already but in mixed precision, where tests/test_precision.py looks"
        ),
    },
    "ops.activation.SiLU.backward": {"800 → 801": FAR, "800 → 799": FAR},
    "ops.elementwise.Pow.backward": {"1 → 2": AT_ZERO, "1 → 0": AT_ZERO},
    "ops.gaussian.SeparableFilter.backward": {
        f"{SEPARABLE}, sources=self.sources) → {SEPARABLE})": "`sources` says what need not be computed",
    },
    "ops.gaussian.SeparableFilter._taps_gradient": {"sum_to(gt, t.shape) → gt": SUMMED},
    "ops.index.GetItem.backward": {
        "any((isinstance(k, np.ndarray) for k in self.key)) → (isinstance(k, np.ndarray) for k in self.key)": (
            "a generator is true: the general path, which is right for every key, in the place of the short one"
        ),
    },
    "ops.index.PadFromInside.backward": {
        "reversed(list(enumerate(self.sources))) → list(enumerate(self.sources))": "sums along different axes commute",
    },
    "ops.reduce.LogSumExp.backward": {"0 → 1": "e^(-∞ - 1) = 0 too", "0 → -1": "e^(-∞ + 1) = 0 too"},
    "ops.rotation.StatRotLinear.backward": {
        "self.alive * (gy * self.noise / (2 * xp.where(self.alive, self.root, 1)))"
        " → gy * self.noise / (2 * xp.where(self.alive, self.root, 1))": PARALLEL,
        "1 → 2": PARALLEL,
    },
}

SURVIVING: dict[str, dict[str, str]] = {
    "ops.elementwise.Pow.backward": {"0 → -1": "differs at a = 0, -1 ≤ b < 0, where y is infinite and NumPy warns"},
}
