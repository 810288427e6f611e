"""The specification: one OpCase per public op, a file a family, mirroring `minidl.ops`."""

from minidl.check.spec import (
    activation,
    conv,
    dropout,
    elementwise,
    gaussian,
    loss,
    norm,
    pool,
    products,
    reduce,
    shape,
    softmax,
)
from minidl.check.spec.case import ErrorCase, Kink, OpCase, Sample

CASES: list[OpCase] = [
    case
    for family in (activation, conv, dropout, elementwise, gaussian, loss, norm, pool, products, reduce, shape, softmax)
    for case in family.CASES
]

__all__ = ["CASES", "ErrorCase", "Kink", "OpCase", "Sample"]
