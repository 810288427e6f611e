"""The fast form for CuPy, a file a family; the kernels themselves are CUDA C++ in `src/`.

Where a family has no file here, or a kernel none for a dtype, the readable form serves.  All of them return maps that
lie channels last, (N, H, W, C) under the logical shape (N, C, H, W), and take them in any order (`layout.py`).
Nothing here waits for the card, and nothing uses atomic operations: the same input gives the same bits.
"""

from minidl.kernels.array import *  # noqa: F403
from minidl.kernels.cuda.conv import *  # noqa: F403
from minidl.kernels.cuda.elementwise import *  # noqa: F403
from minidl.kernels.cuda.loss import *  # noqa: F403
from minidl.kernels.cuda.noise import *  # noqa: F403
from minidl.kernels.cuda.norm import *  # noqa: F403
from minidl.kernels.cuda.optim import *  # noqa: F403
from minidl.kernels.cuda.separable import *  # noqa: F403
from minidl.kernels.cuda.stochastic_pool import *  # noqa: F403
from minidl.kernels.cuda.window import *  # noqa: F403

FILTER_AXES = (0, 2, 3, 1)  # filters lie as maps do: (O, kh, kw, C/G) under the logical shape (O, C/G, kh, kw)
