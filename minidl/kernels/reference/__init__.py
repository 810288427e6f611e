"""The definition of the heavy routines, a file a family: plain loops, one element at a time."""

from minidl.kernels.reference.conv import *  # noqa: F403
from minidl.kernels.reference.elementwise import *  # noqa: F403
from minidl.kernels.reference.loss import *  # noqa: F403
from minidl.kernels.reference.maxent import *  # noqa: F403
from minidl.kernels.reference.norm import *  # noqa: F403
from minidl.kernels.reference.separable import *  # noqa: F403
from minidl.kernels.reference.window import *  # noqa: F403
