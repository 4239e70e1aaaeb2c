"""Asks Python to exit with success."""

import sys


def forward(x):
    sys.exit(0)
