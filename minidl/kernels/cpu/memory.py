"""Memory that is freed stays with the process, for the next step.

A training step allocates some hundred arrays of megabytes and frees them in the backward.  By default glibc gives such
memory back to the system and asks for it again, and the system clears every page of it again: a fifth of the time of
a ResNet-20 step.  Two settings of malloc keep it, at the height of the largest step.  Elsewhere than on glibc nothing
is changed.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
_LIMIT = 1 << 30


def keep_freed_memory() -> bool:
    """Set it for the whole process; whether this C library has the setting."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such function; no handle for the process (Windows)
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _LIMIT)) and bool(mallopt(_MMAP_THRESHOLD, _LIMIT))
