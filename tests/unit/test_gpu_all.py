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


def test_a_bar_may_count_against_some_rivals_alone(gpu_all):
    row = {"title": "hafnian n=50", "unit": "hafnians/s", "rate": 9.0, "rival": "16 cores", "ratio": 6.0}
    row["ratios"] = {"16 cores": 6.0, "two cores": 41.0, "two cores more": 21.0}
    bars = [("hafnian", 20, "two cores", ">= 20x two cores"), ("hafnian", 2, "torch", ">= 2x torch")]
    assert gpu_all.judged(["passed"], bars, [row], False)[1] == "right; >= 20x two cores reached; >= 2x torch not measured"
    row["ratios"]["two cores"] = 19.0
    assert "MISSED" in gpu_all.judged(["passed"], bars, [row], False)[1]


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


def test_stages_end_in_time_and_do_not_stop_the_run(gpu_all, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu_all, "BUDGET", dict.fromkeys(("sleep", "nothing", "failure", "success"), (5, 5)))
    run = gpu_all.Run(tmp_path, emulated=False)
    start = time.monotonic()
    assert not run.stage("sleep", sys.executable, "-c", "import time; time.sleep(60)")
    assert time.monotonic() - start < 20
    assert not run.stage("nothing", "/nonexistent/program")
    assert not run.stage("failure", sys.executable, "-c", "raise SystemExit(3)")
    assert run.stage("success", sys.executable, "-c", "print('done')")
    status = [s["status"] for s in run.stages.values()]
    assert (
        status[0].startswith("out of time")
        and status[1].startswith("not run: ")
        and status[2:] == ["failed (exit code 3)", "passed"]
    )
    assert "done" in (tmp_path / "success.log").read_text() and "done" in capsys.readouterr().out


@pytest.mark.parametrize(("late", "fits"), [(0.0, True), (12.0, False)])  # seconds by which each stage outstays its limit
def test_a_stage_never_takes_what_is_kept_for_later_ones(gpu_all, tmp_path, monkeypatch, late, fits):
    now = 1000.0
    monkeypatch.setattr(gpu_all.time, "monotonic", lambda: now)
    run, given = gpu_all.Run(tmp_path, emulated=False), {}
    for name in gpu_all.BUDGET:
        given[name] = run.limit(name)
        now += given[name] + late  # everyone takes all it can get
    enough = {name: given[name] >= least for name, (least, _) in gpu_all.BUDGET.items()}
    assert all(given[name] <= most for name, (_, most) in gpu_all.BUDGET.items())
    assert sum(least for least, _ in gpu_all.BUDGET.values()) <= gpu_all.TOTAL < 600
    assert all(enough.values()) if fits else [name for name, ok in enough.items() if not ok] in (["tests"], ["racecheck", "tests"])
    assert now <= 1000.0 + gpu_all.TOTAL + 10 * late


def test_time_that_is_left_over_goes_to_the_first_that_can_use_it(gpu_all, tmp_path):
    run = gpu_all.Run(tmp_path, emulated=False)
    run.start -= 30  # a quick build
    assert run.limit("bits") == gpu_all.BUDGET["bits"][1]
    assert run.limit("tests") == gpu_all.BUDGET["tests"][1]


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        ("========= Error: Device not supported. Please refer to the manual.", 1, "not run: refused (Error: Device not supported. Please refer to the manual.)"),
        ("", 3, "not run: refused (exit code 3)"),
        ("========= ERROR SUMMARY: 0 errors", 0, None),
    ],
)
def test_a_sanitizer_that_refuses_the_device_was_not_run(gpu_all, tmp_path, text, code, why):
    program = tmp_path / "compute-sanitizer"
    program.write_text(f"#!/bin/sh\ncase $1 in --help) echo --kernel-regex;; *) echo '{text}'; exit {code};; esac\n")
    program.chmod(0o755)
    wrapper, missing = gpu_all.sanitizer("memcheck", path=str(program), program="pass")
    assert missing == why
    assert wrapper is None if why else wrapper[:3] == [str(program), "--tool", "memcheck"] and "kns=nnqft" in wrapper
    assert gpu_all.sanitizer("memcheck", path=str(tmp_path / "none"))[1] == "not run: no compute-sanitizer"


def test_what_the_sanitizer_runs_is_there(gpu_all):
    assert "mark.gpu" in (SCRIPT.parents[1] / gpu_all.SMALL).read_text()


def test_the_results_keep_every_rival(gpu_all, tmp_path):
    run = gpu_all.Run(tmp_path, emulated=False)
    row = {"title": "W1", "rate": 6.0, "unit": "nets/s", "rival": "torch", "rival_rate": 3.0, "ratio": 2.0, "bar": None, "limit": None}
    row["ratios"] = {"torch": 2.0, "two cores": 60.0}
    text = gpu_all.write(run, "a device", [], [row]).read_text()
    assert "| W1 | 6 nets/s | 3 (torch) | 2x |  |  | torch 2x, two cores 60x |" in text


def test_results_replace_those_of_the_last_device(gpu_all, tmp_path):
    page = tmp_path / "RESULTS.md"
    page.write_text("# Results\n\n## Normals\n\n1\n\n## On a device: old\n\n2\n\n## Wick\n\n3\n")
    gpu_all.publish("# NVIDIA H200, 2030-01-01\n\n4\n", page)
    assert (
        page.read_text()
        == "# Results\n\n## Normals\n\n1\n\n## Wick\n\n3\n\n## On a device: NVIDIA H200, 2030-01-01\n\n4\n"
    )
