"""The operations: mathematics on Tensors, a file a family.

Every file opens with its numbered equations; `forward` and `backward` cite them line by line.
"""

from minidl.ops import operators  # noqa: F401  (attaches them to Tensor)
from minidl.ops.activation import *  # noqa: F403
from minidl.ops.conv import *  # noqa: F403
from minidl.ops.dropout import *  # noqa: F403
from minidl.ops.elementwise import *  # noqa: F403
from minidl.ops.gaussian import *  # noqa: F403
from minidl.ops.index import *  # noqa: F403
from minidl.ops.loss import *  # noqa: F403
from minidl.ops.norm import *  # noqa: F403
from minidl.ops.piecewise import *  # noqa: F403
from minidl.ops.pool import *  # noqa: F403
from minidl.ops.products import *  # noqa: F403
from minidl.ops.reduce import *  # noqa: F403
from minidl.ops.rotation import *  # noqa: F403
from minidl.ops.shape import *  # noqa: F403
from minidl.ops.softmax import *  # noqa: F403
from minidl.ops.stochastic_pool import *  # noqa: F403
