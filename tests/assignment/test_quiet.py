"""What an answer prints stays out of the graded cell, whichever way it takes: a word on stderr would cost its marks."""

import logging
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from visattn.assignment.cells import quiet

logger = logging.getLogger("somebody")


def printing():
    print("to stdout")
    print("to stderr", file=sys.stderr)
    sys.stderr.writelines(["more\n"])
    sys.stderr.flush()


def writing_to_descriptors():
    os.write(1, b"one\n")
    os.write(2, b"two\n")


def starting_a_process():
    subprocess.run([sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr)"], check=True)


def warning():
    warnings.simplefilter("always")
    warnings.warn("careful", RuntimeWarning, stacklevel=1)
    np.log(np.zeros(1))


def logging_to_a_stream_that_was_there_before():
    logger.warning("old")


@pytest.mark.parametrize("speak", [printing, writing_to_descriptors, starting_a_process, warning,
                                   logging_to_a_stream_that_was_there_before], ids=lambda f: f.__name__)
def test_nothing_comes_out(speak, capfd):
    handler = logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        with quiet(), quiet():
            speak()
    finally:
        logger.removeHandler(handler)
    print("after")
    print("afterwards", file=sys.stderr)
    os.write(2, b"and last\n")
    assert capfd.readouterr() == ("after\n", "afterwards\nand last\n")


def test_an_error_comes_through(capfd):
    with pytest.raises(ZeroDivisionError), quiet():
        print(1 / 0)
    print("still here")
    assert capfd.readouterr().out == "still here\n"


def test_a_stream_that_is_closed_or_missing_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with quiet():
        pass
