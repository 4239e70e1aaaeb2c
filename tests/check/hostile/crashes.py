"""Writes to address zero."""

import ctypes


def forward(x):
    ctypes.memset(0, 1, 8)
