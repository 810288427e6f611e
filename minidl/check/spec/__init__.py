"""The specification: one OpCase per public op, a file a family, mirroring `minidl.ops`."""

from minidl.check.spec import conv, elementwise, norm, pool, products
from minidl.check.spec.case import ErrorCase, Kink, OpCase, Sample

CASES: list[OpCase] = [*conv.CASES, *elementwise.CASES, *norm.CASES, *pool.CASES, *products.CASES]

__all__ = ["CASES", "ErrorCase", "Kink", "OpCase", "Sample"]
