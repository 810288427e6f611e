"""minidl and the frameworks that it is compared with.

A peer is a class that runs cases in its framework's own ops.  A framework is imported when its class is made, and
may live in another environment: then the worker that makes it runs under that environment's Python.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minidl.bench.peers.base import Peer

__all__ = ["OURS", "PEERS", "get_peer"]

OURS = "minidl"
PEERS = {  # class, by the name of the command line, and the package that must be installed
    OURS: ("ours.Minidl", "minidl"),
    "torch": ("torch.Torch", "torch"),
    "jax": ("jax.Jax", "jax"),
    "chainer": ("chainer.Chainer", "chainer"),
    "mygrad": ("mygrad.MyGrad", "mygrad"),
}


def get_peer(name: str, threads: int) -> Peer:
    """The peer called `name`, on so many threads.

    Raises:
        ImportError: its framework is not installed here.
    """
    module, _, cls = PEERS[name][0].partition(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), cls)(threads)
