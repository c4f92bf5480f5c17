"""Stored files: what goes in comes out, or an error says which file is wrong; never other data, never half a file."""

import builtins
import contextlib
import errno
import hashlib
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import types
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from nnqft import _store
from nnqft._store import Lock, from_bytes, load, load_with_fallback, save, spec_hash, to_bytes
from nnqft.errors import ArgumentError, NNQFTWarning, StateError

HEADER = {"orders": [2, 4], "sigma": 0.1, "name": "größe", "none": None, "deep": {"yes": True, "big": 2**64 - 1}}
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX processes")


def some_arrays():
    rng = np.random.default_rng(1)
    return {
        "limbs": rng.integers(-(2**63), 2**63 - 1, (5, 3), dtype=np.int64),
        "counts": rng.integers(0, 2**64 - 1, 7, dtype=np.uint64),
        "mean": rng.normal(size=(2, 3, 4)),
    }


def assert_same(stored, expected):
    assert stored.keys() == expected.keys()
    for name, array in expected.items():
        got = stored[name]
        assert got.dtype == array.dtype.newbyteorder("=") and got.dtype.isnative and got.shape == array.shape, name
        assert got.tobytes() == array.astype(got.dtype).tobytes(), name  # by bits: NaN and -0.0 too
        assert got.flags.c_contiguous and got.flags.aligned and got.flags.writeable and got.flags.owndata, name


def run_python(code, *arguments):
    """A child that sees the same packages; its script is told `arguments` as sys.argv[1:]."""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def entries(folder):
    return sorted(os.listdir(folder))


# --- what goes in comes out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_path", [str, Path, os.fsencode])
def test_header_and_arrays_come_back_from_a_file_with_any_kind_of_path(tmp_path, as_path):
    path = as_path(tmp_path / "Prüfung [1] 数.npz")
    save(path, HEADER, some_arrays())
    header, arrays = load(path)
    assert header == HEADER
    assert_same(arrays, some_arrays())
    assert_same(load(path, expect=lambda header: {n: (a.dtype, a.shape) for n, a in some_arrays().items()})[1], arrays)
    assert entries(tmp_path) == ["Prüfung [1] 数.npz"]


@pytest.mark.parametrize(
    "array",
    [
        np.array(2.5),
        np.array(-(2**63)),
        np.zeros(0),
        np.zeros((0, 3), np.uint64),
        np.zeros((2, 0, 5), np.complex64),
        np.arange(24.0).reshape(4, 6)[::-2, 1::3],
        np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
        np.broadcast_to(np.float32(1.5), (3, 2)),
        np.arange(5, dtype=">f8"),
        np.array([1, 2**63, 2**64 - 1], dtype=">u8")[::-1],
        np.array(3 + 4j, dtype=">c16"),
        np.array([np.nan, -0.0, np.inf, 5e-324]),
        np.frombuffer(b"\1\0\0\xf8\x7f\0\0\0\0", np.float32, 2, offset=1),
        np.arange(-3, 3, dtype=np.int8),
        np.array([[True], [False]]),
        np.arange(4, dtype=np.float16),
        np.zeros((1,) * 32),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape if array.ndim < 9 else array.ndim}",
)
def test_every_layout_and_byte_order_comes_back_bit_for_bit_in_native_order(array):
    before = array.tobytes()
    assert_same(from_bytes(to_bytes({}, {"x": array}))[1], {"x": array})
    assert array.tobytes() == before


def test_equal_content_gives_equal_bytes_whatever_order_layout_and_endianness():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(3, dtype=np.int64)
    first = to_bytes({"p": 1, "q": (2.0, np.float64(3.0), np.int32(4))}, {"a": a, "b": b})
    second = to_bytes({"q": [2.0, 3.0, 4], "p": 1}, {"b": b.astype(">i8"), "a": np.asfortranarray(a)})
    assert first == second
    # Frozen with format version 1: a machine, numpy or Python that writes other bytes is noticed here.
    assert first[-64:] == b"9be65c226f4064d03b11684ef735a5edc7f2c734fceb103d9623933b2d6eb03b"


def test_numpy_alone_reads_a_stored_file(tmp_path):
    save(tmp_path / "a.npz", HEADER, some_arrays())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert json.loads(file["__header__"].tobytes().decode()) == {"format": "nnqft", "version": 1, "header": HEADER}
        assert_same({name: file[name].copy() for name in some_arrays()}, some_arrays())


def test_a_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    try:
        (tmp_path / "link.npz").symlink_to(tmp_path / "disk" / "file.npz")
    except OSError:
        pytest.skip("no symbolic links here")
    for n in range(2):
        save(tmp_path / "link.npz", {"n": n}, {}, keep_previous=True)
    assert (tmp_path / "link.npz").is_symlink() and load(tmp_path / "link.npz")[0] == {"n": 1}
    assert entries(tmp_path / "disk") == ["file.npz", "file.npz.previous"]


@pytest.mark.parametrize(
    ("header", "arrays", "message"),
    [
        ([], {}, "header is a list; a dict"),
        ({1: 2}, {}, "header has the key 1"),
        ({"a": [{"b": {3}}]}, {}, r"header\['a'\]\[0\]\['b'\] has type set"),
        ({"a": np.zeros(2)}, {}, "arrays are stored beside it"),
        ({}, {"x": [1, 2]}, r"arrays\['x'\] is a list"),
        ({}, {"x": np.ma.array([1.0, 2.0], mask=[0, 1])}, "is a MaskedArray"),
        ({}, {"x": np.array([None])}, "dtype object"),
        ({}, {"x": np.array(["text"])}, "dtype <U4"),
        ({}, {"x": np.zeros(2, "f8,i4")}, "dtype"),
        ({}, {"x": np.zeros(2, "M8[s]")}, "dtype datetime64"),
        ({}, {"__header__": np.zeros(2)}, "named '__header__'"),
        ({}, {"a/b": np.zeros(2)}, "named 'a/b'"),
        ({}, {"": np.zeros(2)}, "named ''"),
        ({}, {7: np.zeros(2)}, "named 7"),
    ],
)
def test_what_cannot_be_stored_faithfully_is_refused_before_the_disk_is_touched(tmp_path, header, arrays, message):
    with pytest.raises(ArgumentError, match=message):
        save(tmp_path / "a.npz", header, arrays)
    assert entries(tmp_path) == []


# --- damage ----------------------------------------------------------------------------------------------------------


def refused(path, data, match=None, **options):
    path.write_bytes(data)
    with pytest.raises(StateError, match=match) as raised:
        load(path, **options)
    assert str(path) in str(raised.value)
    assert path.read_bytes() == data and entries(path.parent) == [path.name]
    return str(raised.value)


def test_no_flipped_bit_goes_unnoticed():
    data = to_bytes(HEADER, some_arrays())
    rng = np.random.default_rng(2)
    ends = [*range(40), *range(len(data) - 120, len(data))]  # the zip directory's end and the seal, byte by byte
    for place in ends + rng.integers(0, len(data), 1500).tolist():
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.integers(8)
        with pytest.raises(StateError):
            from_bytes(damaged)


def test_a_file_cut_anywhere_or_with_bytes_added_is_refused(tmp_path):
    data = to_bytes(HEADER, some_arrays())
    for tenth in range(1, 10):
        refused(tmp_path / "a.npz", data[: len(data) * tenth // 10], "cut short.*delete it")
    for length in (0, 1, 3, 4, 22, 77, len(data) - 1):
        refused(tmp_path / "a.npz", data[:length])
    for padded in (data + b"\0", data + data, data[1:], b"\0" + data):
        refused(tmp_path / "a.npz", padded)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"time,loss\n0,1.5\n", "starts with b'time,los', so nnqft did not write it"),
        (b"\x93NUMPY\x01\0" + bytes(200), "so nnqft did not write it"),
        (b"PK\3\4" + bytes(500), "does not end in its checksum"),
        (b"PK\5\6" + bytes(18), "so nnqft did not write it"),
    ],
)
def test_files_of_another_kind_are_named_as_such(tmp_path, data, message):
    refused(tmp_path / "a.npz", data, message)


def test_what_numpy_saved_is_refused_also_when_it_holds_pickles(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([{}], dtype=object))
    refused(tmp_path / "a.npz", buffer.getvalue(), "nnqft did not write it")


def test_pipes_folders_and_missing_files_do_not_hang(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.npz"):
        load(tmp_path / "missing.npz")
    with pytest.raises(FileNotFoundError, match=r"missing\.npz"):
        load_with_fallback(tmp_path / "missing.npz")
    with pytest.raises(StateError, match="cannot be read"):
        load(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(StateError, match="not a regular file"):
            load(tmp_path / "pipe")


def test_a_file_above_max_bytes_is_not_read(tmp_path):
    with open(tmp_path / "huge.npz", "wb") as file:
        file.truncate(1 << 40)  # a hole: a terabyte that takes no space
    with pytest.raises(StateError, match=r"has 1099511627776 bytes, more than max_bytes=4294967296.*larger max_bytes"):
        load(tmp_path / "huge.npz")
    with pytest.raises(StateError, match="more than max_bytes=100"):
        from_bytes(to_bytes(HEADER, some_arrays()), max_bytes=100)
    with pytest.raises(ArgumentError, match="data is a int"):
        from_bytes(1 << 40)


# --- forgeries: the seal is right, the contents are not --------------------------------------------------------------


def npy(dtype="<f8", shape="(2,)", body=bytes(16), version=b"\1\0", order="False"):
    descr = dtype if dtype.startswith("[") else repr(dtype)
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode() + body


def header_member(**changes):
    text = json.dumps({"format": "nnqft", "version": 1, "header": {"n": 1}, **changes}).encode()
    return npy("|u1", f"({len(text)},)", text)


def sealed(members, *, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")  # a double name
        archive.comment = b"nnqft sha256 " + b"0" * 64
        for name, content in members:
            archive.writestr(name, content)
    return reseal(buffer.getvalue())


def reseal(data):
    return data[:-64] + hashlib.sha256(data[:-64]).hexdigest().encode()


def test_the_forger_of_these_tests_can_make_sound_files():
    data = sealed([("__header__.npy", header_member()), ("x.npy", npy())])
    header, arrays = from_bytes(data)
    assert header == {"n": 1}
    assert_same(arrays, {"x": np.zeros(2)})


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (npy("|O"), "nnqft does not write"),
        (npy("<U4"), "nnqft does not write"),
        (npy("[('a', '<f8')]"), "nnqft does not write"),
        (npy(">f8"), "nnqft does not write"),
        (npy("<f16"), "nnqft does not write"),
        (npy(order="True"), "nnqft does not write"),
        (npy(version=b"\2\0"), "nnqft does not write"),
        (npy(shape="(2, __import__('os').abort())"), "nnqft does not write"),
        (npy(shape="(-2,)"), "nnqft does not write"),
        (npy(shape="(3,)"), r"float64 of shape \(3,\), but has 16 bytes"),
        (npy(shape="(4294967296, 4294967296)", body=b""), "but has 0 bytes"),  # 2^67 bytes, 0 modulo 2^64
        (npy(shape="(0, 99999999999999999999)", body=b""), "forged"),
        (npy(shape=f"({'1, ' * 70})", body=bytes(8)), "forged"),
        (npy(shape=f"({'9' * 5000},)"), "forged|but has"),
        (npy(body=b""), "but has 0 bytes"),
        (npy(body=bytes(17)), "but has 17 bytes"),
        (b"", "nnqft does not write"),
        (b"\x93NUMPY", "nnqft does not write"),
    ],
)
def test_a_member_that_declares_anything_but_a_plain_array_of_its_size_is_refused(tmp_path, member, message):
    refused(tmp_path / "a.npz", sealed([("__header__.npy", header_member()), ("x.npy", member)]), message)


def wrong_header(**changes):
    return [("__header__.npy", header_member(**changes)), ("x.npy", npy())]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("x.npy", npy())], "no __header__"),
        ([("__header__.npy", header_member()), ("x.npy", npy()), ("x.npy", npy())], "two members of one name"),
        ([("__header__.npy", npy())], "damaged or forged"),
        ([("__header__.npy", npy("|u1", "(2,)", b"[]"))], "does not call itself"),
        ([("__header__.npy", npy("|u1", "(99999,)", b"[" * 99999))], "damaged or forged"),
        ([("__header__.npy", npy("|u1", "(2,)", b"\xff\xff"))], "damaged or forged"),
        (wrong_header(format="other"), "does not call itself a file of format 'nnqft'"),
        (wrong_header(version=2), "format version 2, while this nnqft reads version 1.*the nnqft that wrote it"),
        (wrong_header(version=None), "format version None"),
        (wrong_header(header=3), "does not call itself"),
    ],
)
def test_a_file_without_a_proper_header_is_refused(tmp_path, members, message):
    refused(tmp_path / "a.npz", sealed(members), message)


def test_compressed_members_are_refused_so_no_bomb_goes_off(tmp_path):
    bomb = sealed([("__header__.npy", header_member()), ("x.npy", npy("|u1", f"({1 << 26},)", bytes(1 << 26)))],
                  compression=zipfile.ZIP_DEFLATED)  # fmt: skip
    assert len(bomb) < 1 << 18
    refused(tmp_path / "a.npz", bomb, "larger members than the file")
    small = sealed(wrong_header(), compression=zipfile.ZIP_DEFLATED)
    refused(tmp_path / "a.npz", small, "compressed|larger")


def test_sealed_rubbish_raises_nothing_but_state_errors():
    data = to_bytes(HEADER, some_arrays())
    rng = np.random.default_rng(3)
    for _ in range(1500):
        rubbish = bytearray(data)
        first, last = (len(data) - 700, len(data) - 77) if rng.random() < 0.7 else (4, 300)  # zip directory, or header
        for place in rng.integers(first, last, 2):
            rubbish[place] = rng.integers(256)
        with contextlib.suppress(StateError):  # a date or a value in the header may change unnoticed: the seal is right
            from_bytes(reseal(bytes(rubbish)))


def test_expect_is_checked_before_the_data(tmp_path):
    path = tmp_path / "a.npz"
    save(path, {"n": 5}, {"x": np.zeros((5, 2)), "n": np.arange(3)})
    good = {"x": (np.float64, (5, 2)), "n": (np.int64, (3,))}
    for shape in [(5, 2), [5, 2], (None, 2), (None, None)]:
        load(path, expect=lambda header, s=shape: good | {"x": (">f8", s)})
    for expected, message in [
        ({"x": good["x"]}, r"holds the arrays \['n', 'x'\], expected were \['x'\]"),
        (good | {"y": (np.float64, ())}, r"expected were \['n', 'x', 'y'\]"),
        (good | {"x": (np.float64, (5, 3))}, r"x.npy as float64 of shape \(5, 2\), expected were float64 and \(5, 3\)"),
        (good | {"x": (np.float64, (10,))}, "expected"),
        (good | {"x": (np.float64, (None,))}, "expected"),
        (good | {"x": (np.float64, (5, 2, None))}, "expected"),
        (good | {"x": (np.float32, (5, 2))}, "expected were float32"),
        (good | {"n": (np.uint64, (3,))}, "expected were uint64"),
    ]:
        refused(path, path.read_bytes(), message, expect=lambda header, e=expected: e)
    for wrong in [lambda h: h["m"], lambda h: h["n"]["m"], lambda h: h["n"].x, lambda h: np.zeros(h["n"] - 6)]:
        refused(path, path.read_bytes(), "header of something else", expect=wrong)

    def refuse(header):
        raise StateError("these are no correlators")

    refused(path, path.read_bytes(), "these are no correlators", expect=refuse)


# --- two generations -------------------------------------------------------------------------------------------------


def test_the_previous_generation_is_kept_on_request_and_used_with_a_warning(tmp_path):
    path = tmp_path / "a.npz"
    save(path, {"n": 0}, {}, keep_previous=True)
    assert entries(tmp_path) == ["a.npz"]
    for n in (1, 2):
        save(path, {"n": n}, {}, keep_previous=True)
        assert load(path)[0] == {"n": n} and load(f"{path}.previous")[0] == {"n": n - 1}
        assert load_with_fallback(path)[0] == {"n": n}
    assert entries(tmp_path) == ["a.npz", "a.npz.previous"]
    good = path.read_bytes()
    path.write_bytes(good[:-5])
    with pytest.raises(StateError, match=re.escape(f"put {path}.previous in its place")):
        load(path)
    with pytest.warns(NNQFTWarning, match=r"a\.npz does not end in its checksum.*a\.npz\.previous"):
        assert load_with_fallback(path)[0] == {"n": 1}
    (tmp_path / "alone.npz").write_bytes(good[:-5])
    with pytest.raises(StateError, match=r"alone\.npz does not end in its checksum.*delete it"):
        load_with_fallback(tmp_path / "alone.npz")
    path.unlink()
    with pytest.warns(NNQFTWarning, match=r"a\.npz is missing"):
        assert load_with_fallback(str(path))[0] == {"n": 1}
    Path(f"{path}.previous").write_bytes(b"")
    with pytest.raises(StateError, match=r"a\.npz is missing; but .*\.previous is empty"):
        load_with_fallback(path)


def test_a_damaged_file_does_not_push_a_sound_previous_one_aside(tmp_path):
    path = tmp_path / "a.npz"
    for n in range(2):
        save(path, {"n": n}, {}, keep_previous=True)
    path.write_bytes(path.read_bytes()[:-1])
    save(path, {"n": 2}, {}, keep_previous=True)
    assert load(path)[0] == {"n": 2} and load(f"{path}.previous")[0] == {"n": 0}


def no_links(*names):
    raise PermissionError(1, "Operation not permitted")


def test_where_hard_links_are_unknown_the_previous_generation_is_a_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    for n in range(3):
        save(tmp_path / "a.npz", {"n": n}, {}, keep_previous=True)
    assert load(tmp_path / "a.npz")[0] == {"n": 2} and load(tmp_path / "a.npz.previous")[0] == {"n": 1}
    assert entries(tmp_path) == ["a.npz", "a.npz.previous"]


# --- failures while writing ------------------------------------------------------------------------------------------


class PowerCut(BaseException):
    """After it, nothing that the process tries to do to the disk happens."""


class Disk:
    """Records what `save` does to the disk; step `fatal` fails, and if `dead` every later one, tidying up included."""

    def __init__(self, monkeypatch, fatal=None, error=None, *, dead=False):
        self.steps, self.fatal, self.error, self.dead = [], fatal, error, dead
        for name in ("fsync", "replace", "link", "unlink")[: 4 if dead else 3]:
            monkeypatch.setattr(os, name, self.watched(name))
        monkeypatch.setattr(_store, "open", self.open, raising=False)

    def step(self, what):
        self.steps.append(what)
        if self.fatal and (len(self.steps) == self.fatal or (self.dead and len(self.steps) > self.fatal)):
            raise self.error

    def watched(self, name):
        function = getattr(os, name)

        def call(subject, *names):
            folder = name == "fsync" and stat.S_ISDIR(os.fstat(subject).st_mode)
            self.step(f"{name} folder" if folder else " ".join([name, *(Path(to).suffix[1:] for to in names)]))
            return function(subject, *names)

        return call

    def open(self, path, mode, **options):
        if mode == "rb":
            return builtins.open(path, mode, **options)
        self.step("open")
        disk = self

        class TwoWrites(io.FileIO):
            def write(self, data):
                super().write(data[: len(data) // 2])
                disk.step("write")
                super().write(data[len(data) // 2 :])

        return TwoWrites(path, mode)


@posix
def test_the_steps_of_a_save_are_in_the_order_that_survives_a_power_cut(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    save(path, {}, {})
    disk = Disk(monkeypatch)
    save(path, {}, {})
    written = ["open", "write", "fsync"]
    assert disk.steps == [*written, "replace npz", "fsync folder"]
    disk.steps.clear()
    save(path, {}, {}, keep_previous=True)
    assert disk.steps == [*written, "link tmp", "replace previous", "replace npz", "fsync folder"]


@pytest.mark.parametrize("links", [True, False])
def test_a_power_cut_between_any_two_steps_leaves_a_readable_generation(tmp_path, monkeypatch, links):
    outcomes, fatal = [], 0
    while True:
        fatal += 1
        folder = tmp_path / str(fatal)
        folder.mkdir()
        path = folder / "a.npz"
        save(path, {"n": 0}, some_arrays())
        save(path, {"n": 1}, some_arrays(), keep_previous=True)
        with monkeypatch.context() as patch:
            disk = Disk(patch, fatal, PowerCut(), dead=True)
            if not links:
                patch.setattr(os, "link", no_links)
            with contextlib.suppress(PowerCut):
                save(path, {"n": 2}, some_arrays(), keep_previous=True)
        header, arrays = load(path)  # the file itself: it is never out of its place
        outcomes.append(header["n"])
        assert_same(arrays, some_arrays())
        assert load(f"{path}.previous")[0]["n"] in (header["n"] - 1, header["n"])
        if len(disk.steps) < fatal:
            break
        with Lock(path):  # the next writer tidies up
            save(path, {"n": 3}, some_arrays(), keep_previous=True)
        assert load(path)[0] == {"n": 3} and load(f"{path}.previous")[0] == header
        assert entries(folder) == ["a.npz", "a.npz.lock", "a.npz.previous"]
    assert len(outcomes) > 7 and outcomes == sorted(outcomes) and {1, 2} == set(outcomes)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_in_any_step_leaves_the_old_or_the_new_file_and_nothing_else(tmp_path, monkeypatch, error):
    path = tmp_path / "a.npz"
    save(path, {"n": 0}, {})
    for fatal in range(1, 20):
        with monkeypatch.context() as patch:
            disk = Disk(patch, fatal, error)
            try:
                save(path, {"n": fatal}, {}, keep_previous=True)
                changed = True
            except KeyboardInterrupt:
                changed = load(path)[0] == {"n": fatal}
            except StateError as raised:
                assert str(path) in str(raised) and "No space left on device" in str(raised)
                changed = "the new file is in its place" in str(raised)
                assert changed or "unchanged" in str(raised)
        assert load(path)[0] == {"n": fatal if changed else 0}
        assert entries(tmp_path) in (["a.npz"], ["a.npz", "a.npz.previous"])
        save(path, {"n": 0}, {})
        if len(disk.steps) < fatal:
            break
    else:
        pytest.fail("save never got through")


@posix
@pytest.mark.parametrize(("number", "fails"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_folder_that_cannot_be_flushed_is_accepted_but_one_that_fails_is_not(tmp_path, monkeypatch, number, fails):
    fsync = os.fsync

    def fsync_files_only(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", fsync_files_only)
    with pytest.raises(StateError, match="new file is in its place") if fails else contextlib.nullcontext():
        save(tmp_path / "a.npz", {"n": 1}, {})
    assert load(tmp_path / "a.npz")[0] == {"n": 1}


@posix
def test_a_full_disk_leaves_the_old_file_and_removes_the_temporary_one(tmp_path):
    path = tmp_path / "a.npz"
    save(path, {"n": 0}, {})
    child = run_python(
        """
        import resource, sys
        import numpy as np
        from nnqft._store import save
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # writing fails half-way, as on a full disk
        try:
            save(sys.argv[1], {"n": 1}, {"x": np.ones(50_000)})
        except Exception as error:
            print(type(error).__name__, error)
        """,
        path,
    )
    report = child.communicate(timeout=60)[0]
    assert report.startswith(f"StateError {path} could not be saved (File too large)") and "unchanged" in report
    assert load(path)[0] == {"n": 0} and entries(tmp_path) == ["a.npz"]


@contextlib.contextmanager
def read_only_folder():
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0  # whom permissions do not stop
    try:
        save(folder / "a.npz", {"n": 0}, {})
        folder.chmod(0o555)
        if root:
            os.seteuid(65534)
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        for name in entries(folder):
            (folder / name).unlink()
        folder.rmdir()


@posix
def test_a_read_only_folder_can_be_read_and_says_so_when_written():
    with read_only_folder() as folder:
        path = folder / "a.npz"
        with pytest.raises(StateError, match=r"a\.npz could not be saved \(Permission denied\).*unchanged.*writable"):
            save(path, {"n": 1}, {}, keep_previous=True)
        with pytest.raises(StateError, match=r"\.lock could not be made \(Permission denied\).*writable"), Lock(path):
            pass
        assert load(path)[0] == {"n": 0} and entries(folder) == ["a.npz"]


def test_a_missing_folder_a_file_as_folder_and_a_folder_as_file_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for name in ("missing/a.npz", "file/a.npz", "folder"):
        with pytest.raises(StateError, match=f"{name} could not be saved"):
            save(tmp_path / name, {}, {}, keep_previous=True)
    assert entries(tmp_path) == ["file", "folder"] and entries(tmp_path / "folder") == []


@posix
def test_a_stored_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "any").write_text("")
    save(tmp_path / "a.npz", {}, {})
    assert (tmp_path / "a.npz").stat().st_mode == (tmp_path / "any").stat().st_mode


# --- one writer at a time --------------------------------------------------------------------------------------------

HOLDER = """
    import sys
    from nnqft._store import Lock
    with Lock(sys.argv[1]):
        print("held", flush=True)
        sys.stdin.read()
"""


@posix
def test_a_second_process_is_told_who_holds_the_lock_and_a_killed_holder_frees_it(tmp_path):
    path = tmp_path / "a.npz"
    child = run_python(HOLDER, path)
    try:
        assert child.stdout.readline() == "held\n"
        message = rf"a\.npz is being written by process {child.pid} on .*which holds .*a\.npz\.lock: wait"
        for _ in range(2):
            with pytest.raises(StateError, match=message), Lock(path):
                pytest.fail("two writers")
        with Lock(tmp_path / "b.npz"):
            pass
        child.kill()
        assert child.wait(60) == -signal.SIGKILL
        with Lock(path):
            pass
    finally:
        child.kill()
        child.communicate()


def test_a_lock_is_free_again_after_the_block_and_after_an_error_in_it(tmp_path):
    lock = Lock(tmp_path / "a.npz")
    (tmp_path / "a.npz.lock").write_text("left by an earlier holder " * 9)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), lock:
            raise ZeroDivisionError
    with (
        lock,
        pytest.raises(StateError, match=rf"process {os.getpid()} on [^ ]+, which"),
        Lock(str(tmp_path / "a.npz")),
    ):
        pytest.fail("two writers in one process")
    with lock, pytest.raises(StateError, match="being written"), lock:
        pytest.fail("twice in one block")
    with Lock(tmp_path / "a.npz"):
        pass


@posix
def test_a_forked_child_neither_keeps_nor_frees_the_lock_of_its_parent(tmp_path):
    child = run_python(
        """
        import os, signal, sys
        from nnqft._store import Lock
        with Lock(sys.argv[1]):
            if os.fork() == 0:
                if os.fork() == 0:
                    signal.alarm(60)  # an orphan that lives longer than its parent
                    sys.stdin.read()
                    os._exit(0)
                sys.exit()  # leaves the block; the lock is the parent's
            print("held" if os.wait()[1] == 0 else "the child failed", flush=True)
            sys.stdin.read()
        """,
        tmp_path / "a.npz",
    )
    try:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(StateError, match=f"process {child.pid} on"), Lock(tmp_path / "a.npz"):
            pytest.fail("two writers")
        child.kill()
        child.wait(60)
        with Lock(tmp_path / "a.npz"):
            pass
    finally:
        child.kill()
        child.communicate()


def test_only_temporary_files_of_this_path_are_tidied_away(tmp_path):
    for name in ("a[b].0123456789abcdef.tmp", "a[b].0123456789abcdeg.tmp", "ab.0123456789abcdef.tmp", "a[b].tmp"):
        (tmp_path / name).write_text("")
    with Lock(tmp_path / "a[b]"):
        pass
    assert entries(tmp_path) == ["a[b].0123456789abcdeg.tmp", "a[b].lock", "a[b].tmp", "ab.0123456789abcdef.tmp"]


@posix
def test_a_file_system_without_locks_gives_a_warning(tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(_store.fcntl, "flock", no_locks)
    with pytest.warns(NNQFTWarning, match=r"a\.npz\.lock cannot be locked \(Function not"), Lock(tmp_path / "a.npz"):
        pass


def test_without_fcntl_one_byte_far_behind_the_text_is_locked(tmp_path, monkeypatch):
    path, locked = tmp_path / "a.npz", []

    def locking(fd, mode, n):
        place = os.lseek(fd, 0, os.SEEK_CUR)
        if locked:
            raise PermissionError(13, "Permission denied")
        locked.append((mode, place, n))

    monkeypatch.setattr(_store, "fcntl", None)
    monkeypatch.setattr(_store, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2), raising=False)
    with Lock(path):
        with pytest.raises(StateError, match=f"process {os.getpid()} on"), Lock(path):
            pytest.fail("two writers")
        assert (tmp_path / "a.npz.lock").read_bytes().startswith(str(os.getpid()).encode())
    assert locked == [(2, 1 << 30, 1)]


# --- names of computations -------------------------------------------------------------------------------------------


def test_the_hash_of_a_spec_is_the_same_on_every_machine():
    spec = {"sigma": 0.1, "x": np.arange(3.0), "orders": (2, 4), "name": "größe", "none": None, "yes": True}
    digest = hashlib.sha256(np.arange(3.0).astype("<f8").tobytes()).hexdigest()
    text = (r'{"name": "gr\u00f6\u00dfe", "none": null, "orders": [2, 4], "sigma": 0.1, '
            rf'"x": {{"__array__": ["<f8", [3], "{digest}"]}}, "yes": true}}')  # fmt: skip
    assert spec_hash(spec) == hashlib.sha256(text.encode()).hexdigest()


def test_equal_values_hash_equal_and_different_ones_do_not():
    x = np.arange(6.0).reshape(2, 3)
    base = spec_hash({"a": 0.5, "b": {"c": 3}, "x": x, "flag": True})
    same = [
        {"x": x.copy(order="F"), "flag": np.True_, "b": {"c": np.int64(3)}, "a": np.float64(0.5)},
        {"x": x.astype(">f8"), "flag": True, "b": {"c": np.uint8(3)}, "a": np.float32(0.5)},
    ]
    assert [spec_hash(spec) for spec in same] == [base, base]
    changed = [
        {"a": 0.5 + 2**-53}, {"b": {"c": 3.0}}, {"x": x.T.copy()}, {"x": x.reshape(3, 2)}, {"x": x.astype("f4")},
        {"x": x.tolist()}, {"x": x.view(np.int64)}, {"flag": 1}, {"extra": None}, {"a": "0.5"},
    ]  # fmt: skip
    hashes = {base} | {spec_hash({"a": 0.5, "b": {"c": 3}, "x": x, "flag": True} | change) for change in changed}
    assert len(hashes) == 1 + len(changed)
    assert spec_hash({"z": 0.0}) != spec_hash({"z": -0.0})
    assert spec_hash({"t": (1, 2)}) == spec_hash({"t": [1, 2]})


def test_a_spec_survives_the_header_of_a_file_with_its_hash():
    spec = {"sigma": 0.1 + 0.2, "points": [[5e-324, 1.7976931348623157e308]], "seed": 2**64 - 1, "bad": float("nan")}
    assert spec_hash(from_bytes(to_bytes({"spec": spec}, {}))[0]["spec"]) == spec_hash(spec)


@pytest.mark.parametrize("spec", [[1], {1: 2}, {"a": object()}, {"a": 1j}, {"a": b"b"}, {"a": np.array([None])},
                                  {"a": {"__array__": 1}}, {"a": np.datetime64("2020")}, {"a": {1, 2}}])  # fmt: skip
def test_a_spec_that_has_no_canonical_text_is_refused(spec):
    with pytest.raises(ArgumentError, match="spec"):
        spec_hash(spec)
