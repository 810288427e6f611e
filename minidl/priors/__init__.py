"""Parameters that derive from a prior: as layers, and `convert`, which puts them into any model."""

from minidl.priors.basis_conv import BasisConv2d, filter_basis
from minidl.priors.convert import Conversion, convert, sigma_parameters, sigmas
from minidl.priors.gaussian_conv import GaussianConv2d
from minidl.priors.gaussian_pool import GaussianPool2d
from minidl.priors.guidance import GlobalGuidance
from minidl.priors.logit import LogitAdjustment
from minidl.priors.maxent_pool import MaxEntPool2d
from minidl.priors.rotation import StatRotLinear

__all__ = [
    "BasisConv2d",
    "Conversion",
    "GaussianConv2d",
    "GaussianPool2d",
    "GlobalGuidance",
    "LogitAdjustment",
    "MaxEntPool2d",
    "StatRotLinear",
    "convert",
    "filter_basis",
    "sigma_parameters",
    "sigmas",
]
