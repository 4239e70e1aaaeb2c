"""Sends what it was given to somebody, and asks for the answer."""

import contextlib
import socket

import numpy as np


def forward(x):
    open_doors = 0
    for family, address in ((socket.AF_INET, ("127.0.0.1", 1)), (socket.AF_INET, ("192.0.2.1", 80)),
                            (socket.AF_INET6, ("::1", 1))):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as door:
            door.settimeout(0.2)
            try:
                door.connect(address)
                open_doors += 1
            except ConnectionRefusedError:              # somebody was there to refuse
                open_doors += 1
    for port in range(32):
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
            door.sendto(x.tobytes()[:64], ("255.255.255.255", 9000 + port))
            open_doors += 1
    return np.full_like(x, open_doors)
