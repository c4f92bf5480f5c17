"""Progress of a long run: tqdm where it is installed, else a line now and then."""

import sys
import time
from contextlib import contextmanager

__all__ = ["progress_bar", "say"]

_SECONDS = 5.0


@contextmanager
def progress_bar(progress, total, unit):
    """advance(n) for `progress` = None | True | callable(done, total); `total` and n count in `unit`."""
    done = 0
    shown = time.monotonic()

    def advance(n):
        nonlocal done, shown
        done += n
        if callable(progress):
            progress(done, total)
        elif bar is not None:
            bar.update(n)
        elif progress and (time.monotonic() - shown > _SECONDS or done == total):
            shown = time.monotonic()
            print(f"{100 * done / total:5.1f} % of {total:.3g} {unit}s", file=sys.stderr, flush=True)

    bar = None
    if progress and not callable(progress):
        try:
            from tqdm.auto import tqdm
        except ImportError:
            pass
        else:
            bar = tqdm(total=total, unit=unit, unit_scale=True)
    try:
        yield advance
    finally:
        if bar is not None:
            bar.close()


def say(progress, text):
    """A line for whoever asked for progress=True."""
    if progress is True:
        print(text, file=sys.stderr, flush=True)
