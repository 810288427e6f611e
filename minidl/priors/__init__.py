"""Parameters that derive from a prior, as layers."""

from minidl.priors.gaussian_conv import GaussianConv2d
from minidl.priors.gaussian_pool import GaussianPool2d
from minidl.priors.guidance import GlobalGuidance
from minidl.priors.maxent_pool import MaxEntPool2d

__all__ = ["GaussianConv2d", "GaussianPool2d", "GlobalGuidance", "MaxEntPool2d"]
