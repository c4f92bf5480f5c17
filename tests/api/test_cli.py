"""The command line: what it prints, its exit codes, and that nothing it meets ends in a traceback."""

import json
import os
import signal
import subprocess
import sys
import types
from types import SimpleNamespace

import pytest

import nnqft
from nnqft import _cli
from nnqft.errors import ArgumentError


@pytest.fixture
def paper(monkeypatch):
    """A paper that exists for this test only; what it does and what it was asked can be set and read."""
    fake = SimpleNamespace(asked=None, error=None)

    def run(outdir, **options):
        fake.asked = {"outdir": outdir, **options}
        if fake.error is not None:
            raise fake.error
        return SimpleNamespace(path=f"{outdir}/report.md")

    fake.run = run
    monkeypatch.setitem(sys.modules, "nnqft.experiments.fake", fake)
    monkeypatch.setattr(_cli, "papers", lambda: ["fake"])
    return fake


def test_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit, match="^0$"):
        _cli.main(["--version"])
    assert capsys.readouterr().out == f"nnqft {nnqft.__version__}\n"


def test_info_as_json_is_build_info(capsys):
    assert _cli.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(nnqft.build_info()))


def test_info_for_people_names_version_instruction_set_threads_and_why_there_is_no_device(capsys):
    assert _cli.main(["info"]) == 0
    out = capsys.readouterr().out
    info = nnqft.build_info()
    for part in (f"nnqft {info['version']}", info["isa"], f"threads          {info['threads']}", info["blas"]):
        assert part in out
    assert ("none: " in out) == (not info["devices"])
    assert ("not built" in out) == (not info["cuda"])


def test_an_error_of_the_library_is_one_line_on_stderr_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setenv("NNQFT_ISA", "abacus")
    assert _cli.main(["info"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("nnqft: error: instruction set 'abacus' is not available here")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("argv", [[], ["sing"], ["reproduce"], ["reproduce", "genesis"], ["reproduce", "_report"], ["bench", "--hard"]])
def test_arguments_that_mean_nothing_exit_with_code_2(argv, capsys):
    with pytest.raises(SystemExit, match="^2$"):
        _cli.main(argv)
    assert "usage: nnqft" in capsys.readouterr().err


def test_papers_are_the_modules_of_the_experiments_folder():
    assert "halverson" in _cli.papers()
    assert not any(name.startswith("_") for name in _cli.papers())


def test_reproduce_uses_the_experiments_own_defaults_and_prints_the_path_of_its_report(paper, capsys):
    assert _cli.main(["reproduce", "fake"]) == 0
    assert paper.asked == {"outdir": "nnqft-fake", "scale": "quick", "progress": True}
    assert capsys.readouterr().out == "nnqft-fake/report.md\n"


def test_reproduce_passes_every_option_on(paper):
    argv = ["reproduce", "fake", "--scale", "paper", "--outdir", "there", "--seed", "7", "--threads", "3", "--quiet"]
    assert _cli.main(argv) == 0
    assert paper.asked == {"outdir": "there", "scale": "paper", "seed": 7, "threads": 3, "progress": False}


@pytest.mark.parametrize("error", [ArgumentError("two\n lines"), PermissionError("two lines")])
def test_reproduce_reports_library_and_file_errors_without_a_traceback(paper, error, capsys):
    paper.error = error
    assert _cli.main(["reproduce", "fake"]) == 2
    assert capsys.readouterr().err == "nnqft: error: two lines\n"


def test_a_mistake_in_the_library_keeps_its_traceback(paper):
    paper.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        _cli.main(["reproduce", "fake"])


def test_an_interrupt_exits_with_130(paper, capsys):
    paper.error = KeyboardInterrupt()
    assert _cli.main(["reproduce", "fake"]) == 130
    assert capsys.readouterr().err == "nnqft: interrupted\n"


def test_without_matplotlib_reproduce_names_the_extra_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    outdir = tmp_path / "results"
    assert _cli.main(["reproduce", "halverson", "--outdir", str(outdir), "--quiet"]) == 2
    assert not outdir.exists()
    err = capsys.readouterr().err
    assert "needs matplotlib" in err and "[experiments]" in err and err.count("\n") == 1


def test_bench_prints_two_rates_and_the_command_for_more(capsys):
    assert _cli.main(["bench", "--quick"]) == 0
    head, normals, nets, more = capsys.readouterr().out.splitlines()
    assert head.startswith(f"nnqft {nnqft.__version__}, {nnqft.build_info()['isa']}")
    # Far below any machine: one lane of plain code draws 1e7 normals and 1e4 nets per second.
    assert normals.split()[0] == "normals" and float(normals.split()[1]) > 1e5
    assert nets.split()[:2] == ["W1", "nets"] and float(nets.split()[2]) > 100
    assert "benches" in more


def test_bench_refuses_to_time_a_kernel_that_computes_wrong_numbers(monkeypatch, capsys):
    normals = _cli._core.normals
    monkeypatch.setattr(_cli._core, "normals", lambda *address: 1.1 * normals(*address))
    assert _cli.main(["bench", "--quick"]) == 2
    assert "wrong numbers" in capsys.readouterr().err


def start(*argv):
    command = [sys.executable, "-m", "nnqft", *argv]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=os.environ)


def test_python_dash_m_nnqft_is_the_command():
    with start("info", "--json") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["version"] == nnqft.__version__


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_ends_the_process_with_130_and_without_a_traceback():
    with start("bench") as process:
        assert process.stdout.readline().startswith("nnqft ")  # from here on the kernels run
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "nnqft: interrupted\n"


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "not built"),
        (types.SimpleNamespace(emulated=True), "emulated on the CPU, for tests"),
        (types.SimpleNamespace(emulated=False, runtime_version=lambda: 13020, architectures="80-real 90"), "built with CUDA 13.2 for 80-real 90"),
    ],
)
def test_info_says_which_device_code_was_built(module, words):
    assert _cli._cuda_module(module) == words
