"""benches/gpu_all without a device: verdicts that say what was not measured, stages that end in time, results that are published."""

import importlib.util
import sys
import time
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benches/gpu_all"


@pytest.fixture(scope="module")
def gpu_all():
    loader = SourceFileLoader("gpu_all", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_all", loader))
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


BARS = [("W1", 5e8, "rate", ">= 5e8 nets/s"), ("W1", 5, "ratio", ">= 5x the best rival")]


@pytest.mark.parametrize(
    ("status", "row", "verdict"),
    [
        (["passed", "failed"], {}, "WRONG"),
        (["skipped"], {}, "NO TEST RAN"),
        (["passed"], None, "right; >= 5e8 nets/s not measured; >= 5x the best rival not measured"),
        (["passed"], {"rate": 6e8}, "right; >= 5e8 nets/s reached; >= 5x the best rival not measured"),
        (
            ["passed"],
            {"rate": 4e8, "ratio": 5.5, "rival": "torch"},
            "right; >= 5e8 nets/s MISSED; >= 5x the best rival reached",
        ),
    ],
)
def test_a_verdict_says_what_is_wrong_missed_or_was_not_measured(gpu_all, status, row, verdict):
    rows = [] if row is None else [{"title": "W1, direct", "unit": "nets/s", "rate": 0.0} | row]
    assert gpu_all.judged(status, BARS, rows, emulated=False)[1] == verdict


def test_a_rehearsal_has_no_figures(gpu_all):
    rows = [{"title": "W1, direct", "unit": "nets/s", "rate": 9e9}]
    assert gpu_all.judged(["passed"], BARS, rows, emulated=True) == ("", "right (emulated: no figure)")


def test_every_kernel_counts_its_own_tests(gpu_all):
    names = {
        "normals": "tests.unit.test_cuda_random.test_device_words_are_the_words_of_the_cpu[a0]",
        "ensemble": "tests.gpu.test_ensemble.test_outputs_have_the_bits_of_the_cpu",
        "moments": "tests.gpu.test_wick.test_moments_have_the_bits_of_the_cpu",
        "index batches": "tests.gpu.test_wick.test_index_batches_have_the_bits_of_the_cpu",
        "all multisets": "tests.gpu.test_wick.test_multisets_have_the_bits_of_the_cpu",
        "hafnian": "tests.gpu.test_wick.test_a_hafnian_has_the_bits_of_the_cpu",
        "Hessians": "tests.gpu.test_hessian.test_one_vector_and_many_in_lockstep_have_the_same_bits",
        "Lanczos": "tests.gpu.test_lanczos.test_t_of_a_dense_matrix_is_that_of_the_cpu",
        "plumbing": "tests.gpu.test_backend.test_scratch_returns_to_the_pool",
    }
    assert list(names) == list(gpu_all.KERNELS)
    for kernel, name in names.items():
        table = gpu_all.verdicts({name: "passed"}, [], emulated=True)
        assert [row[0] for row in table if row[1]] == [kernel]


def test_stages_end_in_time_and_do_not_stop_the_run(gpu_all, tmp_path, capsys):
    run = gpu_all.Run(tmp_path, emulated=False)
    start = time.monotonic()
    assert not run.stage("sleep", 5, sys.executable, "-c", "import time; time.sleep(60)")
    assert time.monotonic() - start < 20
    assert not run.stage("nothing", 5, "/nonexistent/program")
    assert not run.stage("failure", 5, sys.executable, "-c", "raise SystemExit(3)")
    assert run.stage("success", 5, sys.executable, "-c", "print('done')")
    status = [s["status"] for s in run.stages.values()]
    assert (
        status[0].startswith("out of time")
        and status[1].startswith("not run: ")
        and status[2:] == ["failed (exit code 3)", "passed"]
    )
    assert "done" in (tmp_path / "success.log").read_text() and "done" in capsys.readouterr().out


def test_results_replace_those_of_the_last_device(gpu_all, tmp_path):
    page = tmp_path / "RESULTS.md"
    page.write_text("# Results\n\n## Normals\n\n1\n\n## On a device: old\n\n2\n\n## Wick\n\n3\n")
    gpu_all.publish("# NVIDIA H200, 2030-01-01\n\n4\n", page)
    assert (
        page.read_text()
        == "# Results\n\n## Normals\n\n1\n\n## Wick\n\n3\n\n## On a device: NVIDIA H200, 2030-01-01\n\n4\n"
    )
