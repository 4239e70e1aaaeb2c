"""Returns what it was given, to be filled later."""


def forward(x):
    return x[...]
