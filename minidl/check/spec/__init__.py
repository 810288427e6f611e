"""The specification: one OpCase per public op, a file a family, mirroring `minidl.ops`."""

from minidl.check.spec import (
    activation,
    conv,
    dropout,
    elementwise,
    gaussian,
    index,
    loss,
    norm,
    piecewise,
    pool,
    products,
    reduce,
    rotation,
    shape,
    softmax,
    stochastic_pool,
)
from minidl.check.spec.case import ErrorCase, Kink, OpCase, Sample

FAMILIES = (
    activation,
    conv,
    dropout,
    elementwise,
    gaussian,
    index,
    loss,
    norm,
    piecewise,
    pool,
    products,
    reduce,
    rotation,
    shape,
    softmax,
    stochastic_pool,
)
CASES: list[OpCase] = [case for family in FAMILIES for case in family.CASES]

__all__ = ["CASES", "ErrorCase", "Kink", "OpCase", "Sample"]
