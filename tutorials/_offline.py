"""Imported first where tutorials are executed: nothing beyond this machine can be reached."""

import sys
from typing import Any


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        address = arguments[1]
        if isinstance(address, tuple) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            raise OSError(f"a tutorial must not use the network, got {address[0]}")
    elif event == "socket.getaddrinfo" and arguments[0] not in (
        None,
        "",
        "127.0.0.1",
        "::1",
        "localhost",
    ):
        raise OSError(f"a tutorial must not use the network, got {arguments[0]}")


sys.addaudithook(_refuse)
