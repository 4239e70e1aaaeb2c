"""What lessons and their notebooks share: quotations of the source, and a judge for the exercises.

    quote("visattn/ops/pairs/attention.py:forward")           # shows the function as it is installed
    judge(my_forward, my_backward, args)                      # every law of gradcheck, on your two functions

A lesson quotes operators and defines none; so a quotation is read from the installed package when it is shown.
"""

import inspect
from importlib import import_module

import numpy as np

from visattn import gradcheck
from visattn._extras import need


def source(where):
    """The text of a function, from "visattn/path/to/module.py:name"."""
    path, _, name = where.partition(":")
    module = import_module(path.removesuffix(".py").replace("/", "."))
    return inspect.getsource(getattr(module, name))


class Quotation:
    """The text of a function, which a notebook shows in colours: to be read, not run."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text

    def _repr_html_(self):
        pygments, formatters, lexers = (need(f"pygments{part}") for part in ("", ".formatters", ".lexers"))
        block = "color: #1d2433; background: #f7f7f7; padding: 2px 8px"          # in dark themes too
        text = "font-family: ui-monospace, monospace; color: inherit; background: inherit"
        formatter = formatters.HtmlFormatter(noclasses=True, cssstyles=block, prestyles=text)
        return pygments.highlight(self.text, lexers.PythonLexer(), formatter)


def quote(where):
    """What a notebook shows in the place of a quotation: where it is from, and the function as it is installed."""
    return Quotation(f"# {where}\n{source(where)}")


def verdict(forward, backward, args, options=None, *, y=None):
    """None where your two functions are right, else what is wrong, in words.

    y    what forward must give, where that is part of the exercise
    """
    try:
        if y is not None:
            mine = forward(*args, **(options or {}))
            if not (isinstance(mine, tuple) and len(mine) == 2):
                return f"forward must return two things, y and a cache; it returns {type(mine).__name__}"
            if np.shape(mine[0]) != np.shape(y):
                return f"forward gives shape {np.shape(mine[0])}, expected {np.shape(y)}"
            if not np.allclose(mine[0], y, rtol=1e-9, atol=1e-12):
                where = np.unravel_index(np.argmax(abs(mine[0] - y)), np.shape(y))
                place = tuple(int(i) for i in where)
                return f"forward gives {mine[0][where]:.6g} at {place}, expected {y[where]:.6g}"
        gradcheck.check(gradcheck.Pair(forward, backward), args, options)
    except NotImplementedError:
        return "nothing is written here yet"
    except AssertionError as wrong:
        return str(wrong)
    return None


def judge(forward, backward, args, options=None, *, y=None):
    """Print the verdict on your two functions."""
    wrong = verdict(forward, backward, args, options, y=y)
    print("Right: every law holds." if wrong is None else f"Not yet: {wrong}")
