"""The fast form for NumPy, a file a family: fixed blocks on threads, one BLAS thread each, buffers reused.

Where a family has no file here, the readable form serves.
"""

from minidl.kernels.array import *  # noqa: F403
from minidl.kernels.cpu.conv import *  # noqa: F403
from minidl.kernels.cpu.elementwise import *  # noqa: F403
from minidl.kernels.cpu.maxent import *  # noqa: F403
from minidl.kernels.cpu.memory import keep_freed_memory
from minidl.kernels.cpu.norm import *  # noqa: F403
from minidl.kernels.cpu.separable import *  # noqa: F403
from minidl.kernels.cpu.window import *  # noqa: F403

keep_freed_memory()
