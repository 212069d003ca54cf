"""What the service manager is told, where there is one.

Law: standard library only, and never in the way: a manager that is gone is nobody's trouble. Source: sd_notify(3).
"""

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Send ``state``, such as "READY=1"."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.send(state.encode())
