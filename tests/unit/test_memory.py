"""Memory that can be had: of the machine, and of the control groups around a process, as files say."""

import pytest

from nnqft._lanczos import _driver
from nnqft._memory import available_memory
from nnqft.errors import ArgumentError
from nnqft.lanczos import as_operator, eigsh, lanczos

MEMINFO = "MemTotal: 16000000 kB\nMemFree: 1 kB\nMemAvailable: 8000000 kB\n"  # 8.192e9 bytes


def machine(root, groups, files):
    for path, text in {"proc/meminfo": MEMINFO, "proc/self/cgroup": groups, **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def v2(path, limit, used, cached=0):
    return {f"{path}/memory.max": f"{limit}\n", f"{path}/memory.current": f"{used}\n", f"{path}/memory.stat": f"anon 5\ninactive_file {cached}\nactive_file 9\n"}


def v1(path, limit, used, cached=0):
    files = {"limit_in_bytes": limit, "usage_in_bytes": used}
    return {f"{path}/memory.{name}": f"{value}\n" for name, value in files.items()} | {f"{path}/memory.stat": f"inactive_file 7\ntotal_inactive_file {cached}\n"}


CG = "sys/fs/cgroup"
CASES = {
    "no groups": ("", {}, 8.192e9),
    "no limit": ("0::/a/b\n", v2(f"{CG}/a/b", "max", 10**9), 8.192e9),
    "limit": ("0::/a/b\n", v2(f"{CG}/a/b", 3 * 10**9, 10**9), 2e9),
    "cached files can be dropped": ("0::/a/b\n", v2(f"{CG}/a/b", 3 * 10**9, 10**9, 5 * 10**8), 2.5e9),
    "limit around": ("0::/a/b\n", v2(f"{CG}/a/b", "max", 10**9) | v2(f"{CG}/a", 4 * 10**9, 3 * 10**9), 1e9),
    "container": ("0::/\n", v2(CG, 10**9, 10**8), 9e8),
    "container that sees the host's path": ("0::/../../x.slice\n", v2(CG, 10**9, 10**8), 9e8),
    "hybrid": ("1:name=systemd:/\n0::/a\n", v2(f"{CG}/unified/a", 10**9, 0), 1e9),
    "version 1": ("5:cpu,cpuacct:/z\n4:memory:/a/b\n0::/\n", v1(f"{CG}/memory/a/b", 2 * 10**9, 10**9, 10**8), 1.1e9),
    "version 1 in a container": ("4:memory:/docker/123\n", v1(f"{CG}/memory", 2 * 10**9, 10**9), 1e9),
    "version 1 without limit": ("4:memory:/a\n", v1(f"{CG}/memory/a", 9223372036854771712, 10**9), 8.192e9),
    "path with colons": ("0::/a:b\n", v2(f"{CG}/a:b", 10**9, 0), 1e9),
    "nothing left": ("0::/a\n", v2(f"{CG}/a", 10**9, 2 * 10**9), 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_left_is_the_least_of_machine_and_groups(case, tmp_path):
    groups, files, left = CASES[case]
    assert available_memory(machine(tmp_path, groups, files)) == left


def test_this_machine_has_some():
    assert 1e6 < available_memory() <= 2**47


def test_runs_are_measured_by_what_is_left(monkeypatch):
    monkeypatch.setattr(_driver, "available_memory", lambda: 1e6)
    op = as_operator(lambda x: x, n=10_000)
    for run in (lambda: lanczos(op, 50), lambda: eigsh(op, 20), lambda: lanczos(op, 7, reorth="none", basis=True, check_symmetric=False)):
        with pytest.raises(ArgumentError, match=r"0.001 GB are free"):
            run()
    lanczos(op, 50, reorth="none")
    lanczos(op, 7, reorth="none", check_symmetric=False)
