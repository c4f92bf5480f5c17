"""Memory that this process can still have: the kernel's estimate for the machine, less where control groups (containers, batch jobs) say so."""

import os
from pathlib import Path

__all__ = ["available_memory"]

# Limit, use, and the name in memory.stat of cached files that the kernel drops first: version 2 and version 1 of control groups.
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available_memory(root="/"):
    """Bytes that can be had; where nothing is known, all that addresses reach.

    root : where /proc and /sys are.
    """
    return max(0.0, min(_machine(Path(root)), *_groups(Path(root)), 2.0**47))


def _machine(root):
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return 1024.0 * int(line.split()[1])
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return 2.0**47


def _groups(root):
    """What is left in each group of this process and in those around it; inside a container the outermost seen is its own."""
    yield 2.0**47
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.rstrip("\n").split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mounts, names = (["memory"], _V1) if controllers else (["", "unified"], _V2)
        for mount in mounts:
            base = root / "sys/fs/cgroup" / mount
            group = base / path.lstrip("/")
            for place in (group, *group.parents):
                if place == base.parent:
                    break
                yield _left(place, *names)


def _left(group, limit, use, cached):
    try:
        most, used = (float((group / name).read_text()) for name in (limit, use))
    except (OSError, ValueError):  # no such group here, or "max"
        return 2.0**47
    dropped = sum(float(line.split()[1]) for line in _lines(group / "memory.stat") if line.startswith(cached + " "))
    return most - used + dropped


def _lines(path):
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []
