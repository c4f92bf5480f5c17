"""Long runs: launches in short steps, with progress and Ctrl-C between them; several devices, one thread each."""

import collections
import concurrent.futures
import threading
import time

from .. import _backend

__all__ = ["on_each", "paced"]

_POLL = 2e-4  # s between looks at an event: short against a step, and Ctrl-C gets through


def paced(steps, *, report=None, size=None, ahead=2, stop=None):
    """The steps one by one, for the caller to launch: never more than `ahead` unfinished ones on the current stream.

    A step should keep the device busy for 1 to 100 ms: long against a launch, short against the patience of Ctrl-C. The next
    one is queued while its predecessor runs, so the device has no gap. The end of the loop waits for nothing unless there
    is a `report`.

    Parameters
    ----------
    steps : iterable
        Whatever the caller's loop needs to launch a step.
    report : callable, optional
        Called with the number of steps, or the sum of `size(step)`, that the device has finished.
    size : callable, optional
        The size of a step, for `report`.
    ahead : int
        Steps in flight.
    stop : threading.Event, optional
        Ends the loop when set (`on_each`).

    Yields
    ------
    object
        The steps.

    Examples
    --------
    >>> list(paced([], report=print))
    []
    """
    flying = collections.deque()
    done = 0

    def land(most):
        nonlocal done
        while len(flying) > most:
            event, amount = flying[0]
            while not event.done:
                if stop is not None and stop.is_set():
                    return
                time.sleep(_POLL)
            flying.popleft()
            done += amount
            if report is not None:
                report(done)

    for step in steps:
        if stop is not None and stop.is_set():
            return
        yield step
        cuda = _backend.cupy_module().cuda
        flying.append(
            (cuda.get_current_stream().record(cuda.Event(disable_timing=True)), 1 if size is None else size(step))
        )
        land(ahead - 1)
    if report is not None:
        land(0)


def on_each(indices, work):
    """`work(index, stop)` for every device, each in a thread of its own; the results in order.

    The first error, or Ctrl-C, sets the event `stop`, waits for the others, and is raised. `work` passes `stop` to `paced`, or
    looks at it itself. The current device and stream belong to a thread: `work` enters `_backend.on_device(index)`.

    Parameters
    ----------
    indices : sequence of int
        Devices. One of them alone is served by the calling thread.
    work : callable

    Returns
    -------
    list

    Examples
    --------
    >>> on_each([0, 1, 2], lambda index, stop: index * index)
    [0, 1, 4]
    """
    stop = threading.Event()
    if len(indices) == 1:
        return [work(indices[0], stop)]
    with concurrent.futures.ThreadPoolExecutor(len(indices), thread_name_prefix="nnqft-device") as pool:
        futures = [pool.submit(work, index, stop) for index in indices]
        try:
            waiting = set(futures)
            while waiting:  # in slices: Ctrl-C reaches this thread between them
                finished, waiting = concurrent.futures.wait(waiting, 0.05, concurrent.futures.FIRST_EXCEPTION)
                for future in finished:
                    future.result()
        except BaseException:
            stop.set()
            raise
    return [future.result() for future in futures]
