"""Prints without an end."""


def forward(x):
    while True:
        print("\x1b[32mpassed\x1b[0m" * 1000)
