"""The training loop: a state, and functions from one state to the next.

Nothing is changed in place, so whatever interrupts the loop, the last whole state is still there, and goes to disk.
Batches depend on the seed and the epoch alone; so a run that goes on from there ends where it would have ended.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from visattn import tree
from visattn._extras import need


class State(NamedTuple):
    """All that a run is between two steps."""

    p: Any                               # weights
    moments: Any                         # what the optimiser remembers
    running: Any                         # running statistics; None for a model that has none
    epoch: int                           # whole epochs done
    step: int                            # steps done in this epoch
    sums: tuple[float, ...]              # what the epoch adds up: loss, right answers, …
    curve: tuple[dict[str, Any], ...]    # a point for each epoch done
    seconds: float


class Task(NamedTuple):
    epochs: int
    batches: Callable[[int], Sequence[Any]]              # of an epoch
    step: Callable[[State, Any], State]
    close: Callable[[State], State]                      # at the end of an epoch


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop; it stopped after a whole step, and its state is on disk."""

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.status = 128 + number                       # exit status: 130 for ^C, 143 for SIGTERM


def run(state: State, task: Task, save: Callable[[State], None] | None = None,
        progress: Callable[[State], None] | None = None) -> State:
    """The state after the last epoch.  `save` keeps one at the end of every epoch, and when the run is interrupted."""
    began = time.perf_counter() - state.seconds
    with one_thread(), requests_to_stop() as asked:
        try:
            while state.epoch < task.epochs:
                batches = task.batches(state.epoch)
                while state.step < len(batches):
                    state = task.step(state, batches[state.step])._replace(seconds=time.perf_counter() - began)
                    if progress is not None:
                        progress(state)
                    if asked:
                        raise KeyboardInterrupt
                state = task.close(state)._replace(seconds=time.perf_counter() - began)
                if save is not None:
                    save(state)
                if progress is not None:
                    progress(state)
        except KeyboardInterrupt:
            if save is None:
                raise
            save(state)
            raise Interrupted(f"interrupted in epoch {state.epoch + 1} of {task.epochs}, after step {state.step}",
                              asked[0] if asked else signal.SIGINT) from None
    return state


def one_thread() -> Any:
    """BLAS on one thread, for the length of a `with`: matrices this small gain nothing from a second one, lose much
    where cores are shared, and sums in one order give one answer on any number of cores."""
    return need("threadpoolctl").threadpool_limits(limits=1, user_api="blas")


@contextmanager
def requests_to_stop() -> Iterator[list[int]]:
    """A list that receives SIGINT and SIGTERM, for the loop to look at between steps."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked                                      # only the main thread hears signals
        return
    before = {number: signal.signal(number, lambda number, _: asked.append(number))
              for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def parameters(p: Any) -> int:
    return sum(leaf.size for leaf in tree.leaves(p))
