"""The readable form of the heavy routines, a file a family: whole-array expressions for NumPy or CuPy."""

from minidl.kernels.array.conv import *  # noqa: F403
from minidl.kernels.array.elementwise import *  # noqa: F403
from minidl.kernels.array.loss import *  # noqa: F403
from minidl.kernels.array.maxent import *  # noqa: F403
from minidl.kernels.array.noise import *  # noqa: F403
from minidl.kernels.array.norm import *  # noqa: F403
from minidl.kernels.array.optim import *  # noqa: F403
from minidl.kernels.array.separable import *  # noqa: F403
from minidl.kernels.array.window import *  # noqa: F403
