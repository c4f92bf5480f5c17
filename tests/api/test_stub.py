"""python/nnqft/_core.pyi is what pybind11-stubgen makes of the compiled module."""

import subprocess
import sys
from difflib import unified_diff
from pathlib import Path

import pytest

STUB = Path(__file__).parents[2] / "python" / "nnqft" / "_core.pyi"


def test_the_stub_of_the_compiled_module_is_up_to_date(tmp_path):
    pytest.importorskip("pybind11_stubgen", reason='the stub is made by pybind11-stubgen: pip install ".[test]"')
    command = [sys.executable, "-m", "pybind11_stubgen", "nnqft._core", "--exit-code", "--output-dir", str(tmp_path)]
    made = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert made.returncode == 0, made.stderr
    fresh = (tmp_path / "nnqft" / "_core.pyi").read_text(encoding="utf-8")
    difference = unified_diff(STUB.read_text(encoding="utf-8").splitlines(), fresh.splitlines(), str(STUB), "fresh", lineterm="", n=0)
    assert not list(difference), f"the bindings changed: run {' '.join(command[:-1])} python"
