"""`nnqft spectrum`: what it reads, what it writes, and that no file it is given runs code."""

import json
import os
import pickle
import warnings

import numpy as np
import pytest

from nnqft import _cli
from nnqft.errors import ArgumentError, ShapeError
from nnqft.hessian import Hessian, load_net
from nnqft.lanczos import SpectralDensity, slq
from nnqft.net import Net
from nnqft.networks import mlp

RNG = np.random.default_rng(1)
NET = mlp(5, (7, 6), activation="tanh", dim_out=1, sigma_b=0.3).draw(0, seed=1)
X, Y = RNG.normal(size=(30, 5)), np.sign(RNG.normal(size=30))


def state(net):
    out = {}
    for i, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        out |= {f"{2 * i}.weight": w, f"{2 * i}.bias": b}
    return out


@pytest.fixture
def files(tmp_path):
    np.savez(tmp_path / "net.npz", **state(NET))
    np.savez(tmp_path / "data.npz", X=X, y=Y)
    return tmp_path


def arguments(files, *more):
    return ["spectrum", str(files / "net.npz"), str(files / "data.npz"), "--loss", "logistic", "--activation", "tanh", "--dtype", "float64", *more]


def test_one_command_writes_numbers_quadrature_and_figure(files, capsys):
    pytest.importorskip("matplotlib")
    assert _cli.main(arguments(files, "-k", "20", "--probes", "4", "--seed", "3", "--top", "3")) == 0
    report = json.loads((files / "net-spectrum.json").read_text())
    H = Hessian(NET, X, Y, loss="logistic")
    S, eigenvalues = slq(H, 20, probes=4, seed=3), np.linalg.eigvalsh(H.dense())
    np.testing.assert_array_equal(SpectralDensity.load(files / "net-spectrum.npz").nodes, S.nodes)
    assert report["trace"] == {"mean": S.trace().mean, "stderr": S.trace().stderr}
    assert (report["parameters"], report["samples"], report["risk"], report["seed"]) == (H.shape[0], 30, H.risk, 3)
    largest = np.sort(eigenvalues[np.argsort(-abs(eigenvalues))[:3]])
    np.testing.assert_allclose(report["eigenvalues"]["values"], largest, rtol=1e-8)
    assert report["eigenvalues"]["converged"] == [True] * 3
    x, density = (np.array(report["density"]["linear"][name]) for name in ("x", "density"))
    np.testing.assert_allclose(density, S.density(x), rtol=1e-12)
    assert report["density"]["cesm"]["share"][-1] == pytest.approx(1)
    assert (files / "net-spectrum.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in files.iterdir()) == ["data.npz", "net-spectrum.json", "net-spectrum.npz", "net-spectrum.png", "net.npz"]
    out = capsys.readouterr().out
    assert f"{H.shape[0]} parameters" in out and "net-spectrum.png" in out


def test_without_a_figure_matplotlib_is_not_needed_and_with_one_it_is_missed_before_any_work(files, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    prefix = str(files / "there")
    assert _cli.main(arguments(files, "-k", "5", "--probes", "2", "--out", prefix)) == 2
    assert "needs matplotlib" in capsys.readouterr().err and not (files / "there.json").exists()
    assert _cli.main(arguments(files, "-k", "5", "--probes", "2", "--top", "0", "--out", prefix, "--no-plot")) == 0
    report = json.loads((files / "there.json").read_text())
    assert "eigenvalues" not in report and not (files / "there.png").exists()


def test_results_that_cannot_be_written_leave_what_was_there(files, capsys):
    (files / "old.json").write_text("old")
    assert _cli.main(arguments(files, "-k", "5", "--no-plot", "--out", str(files / "missing" / "x"))) == 2
    assert "could not be saved" in capsys.readouterr().err
    assert (files / "old.json").read_text() == "old"


def test_a_spectrum_of_one_point_and_one_probe_still_make_a_report(files):
    pytest.importorskip("matplotlib")
    np.savez(files / "data.npz", X=X, y=10 * np.ones(30))  # the linear loss of a linear net has no curvature
    np.savez(files / "net.npz", **{"a.weight": np.ones((1, 5))})
    command = ["spectrum", str(files / "net.npz"), str(files / "data.npz"), "--loss", "linear", "--probes", "1"]
    assert _cli.main(command) == 0
    report = json.loads((files / "net-spectrum.json").read_text())
    assert report["trace"] == {"mean": 0.0, "stderr": None} and list(report["density"]) == ["cesm"]


def test_torch_files_are_read_and_modules_are_refused(files, capsys):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3, bias=False))
    x, y = torch.as_tensor(X, dtype=torch.float32), torch.arange(30) % 3
    torch.save(module.state_dict(), files / "net.pt")
    torch.save({"epoch": 3, "model_state_dict": module.state_dict()}, files / "checkpoint.pt")
    torch.save({"X": x.reshape(30, 5, 1), "y": y}, files / "data.pt")
    for name in ("net.pt", "checkpoint.pt"):
        net = load_net(files / name, activation="relu")
        np.testing.assert_allclose(net(X), module.double()(torch.as_tensor(X)).detach().numpy(), rtol=1e-12)
        module.float()
    command = ["spectrum", str(files / "net.pt"), str(files / "data.pt"), "--loss", "cross_entropy", "--no-plot", "-k", "8"]
    assert _cli.main(command) == 0
    assert json.loads((files / "net-spectrum.json").read_text())["net"] == "Net(5-4-3, relu)"

    torch.save(module, files / "module.pt")
    torch.save({"0.weight": [1.0]}, files / "lists.pt")
    torch.save({"0.weight": torch.ones(4, 3, device="meta")}, files / "meta.pt")
    torch.save({"0.weight": torch.eye(3).to_sparse()}, files / "sparse.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, but such files are about
        torch.jit.trace(module, x).save(files / "script.pt")
    for name in ("module.pt", "script.pt"):
        with pytest.raises(ArgumentError, match="save module.state_dict"):
            load_net(files / name)
    for name in ("meta.pt", "sparse.pt"):
        with pytest.raises(ArgumentError, match=r"'0.weight' \((Tensor|Parameter)\)"):
            load_net(files / name)
    with pytest.raises(ArgumentError, match="list"):
        load_net(files / "lists.pt")
    capsys.readouterr()


class Trap:
    def __reduce__(self):
        return os.mkdir, (TRAP,)


TRAP = ""


@pytest.mark.parametrize("name", ["trap.pt", "trap.npz", "trap.pkl"])
def test_no_file_runs_code(tmp_path, name):
    global TRAP
    TRAP = str(tmp_path / "sprung")
    if name.endswith(".npz"):
        np.savez(tmp_path / name, **{"0.weight": np.array([Trap()], dtype=object)})
    else:
        pytest.importorskip("torch")
        (tmp_path / name).write_bytes(pickle.dumps({"0.weight": Trap()}))
    with pytest.raises(ArgumentError, match="plain arrays|more than tensors"):
        load_net(tmp_path / name)
    assert not os.path.exists(TRAP)


@pytest.mark.parametrize(("content", "error", "message"), [
    ({}, ArgumentError, "no weights"), ({"0.bias": np.ones(3)}, ArgumentError, "no weights"),
    ({"0.weight": np.ones((2, 3)), "1.bias": np.ones(3)}, ArgumentError, "1.bias has no 1.weight"),
    ({"conv.weight": np.ones((2, 3, 3, 3))}, ShapeError, "from_torch"), ({"0.weight": np.ones((2, 3)) + 1j}, ShapeError, "complex"),
    ({"0.weight": np.ones((2, 3)), "running_mean": np.ones(2)}, ArgumentError, "'running_mean'"),
    ({"0.weight": np.ones((2, 3)), "1.weight": np.ones((2, 3))}, ShapeError, "layer|weight"),
    ({"0.weight": np.ones((2, 3)), "0.bias": np.ones(3)}, ShapeError, "bias"), ({"weight": np.ones((2, 3))}, None, ""),
])  # fmt: skip
def test_tensors_that_are_no_perceptron_are_named(tmp_path, content, error, message):
    np.savez(tmp_path / "net.npz", **content)
    if error is None:
        assert repr(load_net(tmp_path / "net.npz")) == "Net(3-2, relu)"
        return
    with pytest.raises(error, match=message):
        load_net(tmp_path / "net.npz")


@pytest.mark.parametrize(("break_it", "message"), [
    (lambda d: (d / "net.npz").unlink(), "No such file"), (lambda d: (d / "net.npz").write_bytes(b"PK\3\4 junk"), "plain arrays"),
    (lambda d: (d / "data.npz").write_bytes(b""), "plain arrays"), (lambda d: np.savez(d / "data.npz", X=X), "no array 'y'"),
    (lambda d: np.savez(d / "data.npz", X=X[:, 0], y=Y), "X has shape"), (lambda d: np.savez(d / "data.npz", X=X[:, :4], y=Y), "expected"),
    (lambda d: np.savez(d / "data.npz", X=X, y=Y[:3]), "one target per sample"), (lambda d: np.savez(d / "data.npz", X=X * np.nan, y=Y), "finite"),
    (lambda d: np.savez(d / "data.npz", X=X, y=0 * Y), "targets -1 and"),
])  # fmt: skip
def test_wrong_files_are_one_line_and_exit_code_2(files, break_it, message, capsys):
    break_it(files)
    assert _cli.main(arguments(files, "--no-plot")) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("nnqft: error:") and err.count("\n") == 1
    assert not (files / "net-spectrum.json").exists()


@pytest.mark.parametrize("option", [["-k", "0"], ["--probes", "0"], ["--top", "-1"], ["--seed", "-1"], ["--threads", "0"], ["--weight-decay", "-1"],
                                    ["--activation", "cube"]])  # fmt: skip
def test_options_out_of_range_are_errors_of_the_library(files, option, capsys):
    assert _cli.main(arguments(files, "--no-plot", *option)) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_net_survives_the_way_through_a_file(tmp_path):
    np.savez(tmp_path / "net.npz", **state(NET))
    net = load_net(tmp_path / "net.npz", activation="tanh")
    assert isinstance(net, Net)
    np.testing.assert_array_equal(net(X), NET(X))
