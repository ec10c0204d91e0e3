"""The sockets on which HTTP servers of this program listen."""

from __future__ import annotations

import socket

__all__ = ["listening_socket"]


def listening_socket(host: str, port: int) -> socket.socket:
    """A TCP socket that is bound and listens. Port 0 takes a free one. `host`: an address or a name of this machine.

    Raises `OSError` when the address cannot be taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's algorithm off (TCP_NODELAY) only where the protocol is named: with it, each response on a
    # connection that is kept waits 40 ms for the client's acknowledgement of its headers.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    except (TypeError, ValueError):  # what Python makes of a text that can be no name
        listening.close()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
    return listening
