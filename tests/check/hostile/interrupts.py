"""Raises what is meant for the keyboard."""


def forward(x):
    raise KeyboardInterrupt
