"""Every name of CuPy in the package exists in CuPy: by a list made with CuPy 14.2, and in the CuPy of this machine if there is one."""

import ast
import importlib
import json
import sys
from pathlib import Path

import nnqft
import pytest

KNOWN = json.loads((Path(__file__).parent / "cupy_names.json").read_text())
EMULATION = Path(__file__).parents[1] / "emulation"


def names_in(source):
    """Dotted names that begin with cupy or cupyx, each at its full length."""
    found = set()

    class Visitor(ast.NodeVisitor):
        def visit_Attribute(self, node):
            parts, x = [], node
            while isinstance(x, ast.Attribute):
                parts.append(x.attr)
                x = x.value
            if isinstance(x, ast.Name) and x.id in ("cupy", "cupyx", "cp"):
                found.add(".".join(["cupy" if x.id == "cp" else x.id, *reversed(parts)]))
            else:
                self.generic_visit(node)

    Visitor().visit(ast.parse(source))
    return found


def used():
    """{name: the file that uses it} over the package."""
    folder = Path(nnqft.__file__).parent
    return {
        name: file.name
        for file in sorted(folder.rglob("*.py"))
        for name in names_in(file.read_text())
        if name != "cupy.emulated"
    }


def test_the_package_uses_only_names_that_cupy_has():
    unknown = {name: file for name, file in used().items() if not resolves_in_list(name)}
    assert not unknown, f"not in tests/gpu/cupy_names.json, which lists CuPy 14.2: {unknown}"


def resolves_in_list(name):
    """Whether a prefix of the name is a listed function or type, or all of it a listed module or name."""
    parts = name.split(".")
    return any(".".join(parts[:n]) in KNOWN["names"] for n in range(2, len(parts) + 1))


def test_the_package_uses_some_names():
    assert {"cupy.empty", "cupy.cuda.Device"} <= set(used())


def real_cupy():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    if getattr(cupy, "emulated", False):
        pytest.skip("this CuPy is the stand-in")
    return cupy


@pytest.mark.gpu
def test_the_list_agrees_with_the_cupy_of_this_machine():
    real_cupy()
    missing = [name for name in KNOWN["names"] if not exists(name)]
    missing += [f"{x}.{name}" for x, names in KNOWN["members"].items() for name in names if not exists(f"{x}.{name}")]
    # Those of an instance.
    assert set(missing) <= {"cupy.cuda.Device.id", "cupy.cuda.Stream.ptr", "cupy.cuda.Stream.device_id"}


def exists(name):
    module, *rest = name.split(".")
    x = importlib.import_module(module)
    for part in rest:
        try:
            x = getattr(x, part) if hasattr(x, part) else importlib.import_module(f"{x.__name__}.{part}")
        except ImportError:
            return False
    return True


def test_the_stand_in_has_no_name_that_cupy_lacks():
    source = ast.parse((EMULATION / "cupy/__init__.py").read_text())
    lists = [node.value.func.value.value.split() for node in source.body
             if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute)]  # fmt: skip
    assert len(lists) == 2
    unknown = [name for names in lists for name in names if f"cupy.{name}" not in KNOWN["names"]]
    assert not unknown


def test_the_arrays_and_streams_of_the_stand_in_have_no_member_that_cupys_lack(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "cupy"]:
        monkeypatch.delitem(sys.modules, name)  # whatever was there is back afterwards
    monkeypatch.syspath_prepend(str(EMULATION))
    stand_in = importlib.import_module("cupy")
    for name in [name for name in sys.modules if name.split(".")[0] == "cupy"]:
        monkeypatch.delitem(sys.modules, name)
    assert stand_in.emulated
    for owner in (
        "cupy.ndarray",
        "cupy.cuda.Device",
        "cupy.cuda.Stream",
        "cupy.cuda.Event",
        "cupy.cuda.MemoryPool",
        "cupy.cuda.MemoryPointer",
    ):
        members, x = KNOWN["members"][owner], stand_in
        for part in owner.split(".")[1:]:
            x = getattr(x, part)
        extra = [name for name in vars(x) if not name.startswith("_") and name not in members]
        assert not extra, f"{owner} of the stand-in has {extra}"
