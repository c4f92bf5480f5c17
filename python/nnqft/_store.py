"""Files that are never half-written and never misread: checkpoints, saved results, parcels between processes.

A stored file is an .npz that `numpy.load` opens: uncompressed little-endian arrays in C order, and `__header__` with
JSON in UTF-8, {"format": "nnqft", "version": 1, "header": ...}. The zip comment ends the file with a seal,

    "nnqft sha256 " + hex(SHA-256 of every byte before these 64 digits),

so names, dtypes, shapes, data and zip directory are all covered, and no parser sees a byte before the seal was checked.
Anybody can compute a seal, so sizes and dtypes are checked as well, before memory is asked for; nothing is unpickled or
inflated. Equal content gives equal bytes on every machine. Cost: twice the arrays in memory, one pass of SHA-256.
"""

import contextlib
import errno
import glob
import hashlib
import io
import json
import math
import os
import platform
import re
import secrets
import stat
import struct
import sys
import warnings
import zipfile

import numpy as np

from .errors import ArgumentError, NNQFTWarning, StateError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

__all__ = ["save", "write", "load", "load_with_fallback", "to_bytes", "from_bytes", "Lock", "spec_hash"]

FORMAT, VERSION = "nnqft", 1
MAX_BYTES = 1 << 32  # what is read unless told otherwise: 4 GiB

_HEADER = "__header__"
_SEAL, _DIGITS = b"nnqft sha256 ", 64
_DTYPES = frozenset("|b1 |i1 |u1 <i2 <u2 <i4 <u4 <i8 <u8 <f2 <f4 <f8 <c8 <c16".split())
# What numpy writes, and nothing else: numpy's own reader would evaluate the text as a Python literal.
_NPY = re.compile(
    rb"\x93NUMPY\x01\0..\{'descr': '([^']+)', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n", re.DOTALL
)
# What zipfile, json and numpy raise on nonsense. Not MemoryError: that is the machine's, not the file's.
_PARSE_ERRORS = (ArithmeticError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError, struct.error,
                 zipfile.BadZipFile)  # fmt: skip


class _Defect(Exception):
    """What is wrong with stored bytes, and what to do about it where that is not the usual thing."""

    def __init__(self, what, remedy=None):
        super().__init__(what)
        self.remedy = remedy


def _little_endian(dtype):
    return np.dtype(dtype).newbyteorder("<")


def _canonical(array, where):
    """The array in little-endian order; strides need no care, as tobytes() walks in C order."""
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise ArgumentError(f"{where} is a {type(array).__name__}; a plain numpy array was expected: call np.asarray")
    dtype = _little_endian(array.dtype)
    if dtype.str not in _DTYPES:
        raise ArgumentError(f"{where} has dtype {array.dtype}, not bool, integer, float16/32/64 or complex64/128")
    return array.astype(dtype, copy=False)


def _plain(value, where, *, arrays=False):
    """`value` in JSON's types; with `arrays`, an array is {"__array__": [dtype, shape, SHA-256 of its bytes]}."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]", arrays=arrays) for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key == "__array__":
                raise ArgumentError(f"{where} has the key {key!r}; text other than '__array__' was expected")
        return {key: _plain(item, f"{where}[{key!r}]", arrays=arrays) for key, item in value.items()}
    if arrays and isinstance(value, np.ndarray):
        data = _canonical(value, where)
        return {"__array__": [data.dtype.str, data.shape, hashlib.sha256(data.tobytes()).hexdigest()]}
    takes = "text, numbers, None, lists, tuples, dicts" + (" and arrays" if arrays else "; arrays are stored beside it")
    raise ArgumentError(f"{where} has type {type(value).__name__}; it takes {takes}")


def _canonical_json(value, where, *, arrays=False):
    if not isinstance(value, dict):
        raise ArgumentError(f"{where} is a {type(value).__name__}; a dict was expected")
    return json.dumps(_plain(value, where, arrays=arrays), sort_keys=True)  # floats by repr: one text for each double


def spec_hash(spec):
    """SHA-256 of canonical JSON, 64 hex digits: the name of a computation.

    spec : dict with text keys of text, numbers, None, arrays, lists, tuples and dicts to any depth.
    Equal doubles hash equal, Python's or numpy's; a tuple as a list; arrays by dtype, shape and values, whatever their
    strides and byte order. 1, 1.0 and True differ, and so do 0.0 and -0.0. ArgumentError for anything else.

    >>> spec_hash({"a": 0.5, "x": np.zeros(2)}) == spec_hash({"x": np.zeros(2), "a": np.float32(0.5)})
    True
    """
    return hashlib.sha256(_canonical_json(spec, "spec", arrays=True).encode()).hexdigest()


# --- bytes -----------------------------------------------------------------------------------------------------------


def to_bytes(header, arrays):
    """The contents of a stored file, for process pools; arguments as in `save`.

    >>> header, arrays = from_bytes(to_bytes({"n": 3}, {"x": np.arange(3)}))
    >>> header, arrays["x"].tolist()
    ({'n': 3}, [0, 1, 2])
    """
    text = f'{{"format": "{FORMAT}", "version": {VERSION}, "header": {_canonical_json(header, "header")}}}'
    members = {_HEADER: np.frombuffer(text.encode(), np.uint8)}
    for name, array in arrays.items():
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,200}", name) or name == _HEADER:
            raise ArgumentError(f"an array is named {name!r}; 1 to 200 letters, digits, '_', '.', '-' were expected")
        members[name] = _canonical(array, f"arrays[{name!r}]")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = _SEAL + b"0" * _DIGITS
        for name, array in sorted(members.items(), key=lambda item: item[0]):
            npy, member = io.BytesIO(), zipfile.ZipInfo(f"{name}.npy")  # dated 1980
            member.create_system = 3  # "Unix", wherever that is
            declared = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
            np.lib.format.write_array_header_1_0(npy, declared)
            npy.write(array.tobytes())
            archive.writestr(member, npy.getvalue())
    with buffer.getbuffer() as data:
        data[-_DIGITS:] = hashlib.sha256(data[:-_DIGITS]).hexdigest().encode()
    return buffer.getvalue()


def from_bytes(data, *, expect=None, max_bytes=MAX_BYTES):
    """(header, arrays) from `to_bytes`; arguments and results as in `load`, StateError for any defect."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ArgumentError(f"data is a {type(data).__name__}; bytes were expected")
    try:
        return _decode(bytes(data), expect, max_bytes)
    except _Defect as defect:
        raise StateError(f"stored data {defect}: {defect.remedy or 'discard it and compute it again'}") from defect


def _check_size(size, max_bytes):
    if size > max_bytes:
        raise _Defect(f"has {size} bytes, more than max_bytes={max_bytes}", "pass a larger max_bytes if that is right")


def _check_seal(data):
    if not data.startswith(b"PK\3\4"):
        raise _Defect(f"starts with {data[:8]!r}, so nnqft did not write it" if data else "is empty")
    if data[-_DIGITS - len(_SEAL) : -_DIGITS] != _SEAL:
        raise _Defect("does not end in its checksum: it was cut short, or nnqft did not write it")
    if hashlib.sha256(memoryview(data)[:-_DIGITS]).hexdigest().encode() != data[-_DIGITS:]:
        raise _Defect("has the wrong checksum: it was damaged after it was written")


def _decode(data, expect, max_bytes):
    _check_size(len(data), max_bytes)
    _check_seal(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            members = {info.filename.removesuffix(".npy"): info for info in infos}
            if len(members) < len(infos) or sum(info.file_size for info in infos) > len(data):
                raise _Defect("has two members of one name, or larger members than the file")
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos) or _HEADER not in members:
                raise _Defect(f"has no {_HEADER} or compressed members, so nnqft did not write it")
            header = _header(_read_member(archive, members.pop(_HEADER)))
            expected = dict.fromkeys(members) if expect is None else _expected(expect, header)
            if members.keys() != expected.keys():
                raise _Defect(f"holds the arrays {sorted(members)}, expected were {sorted(expected)}")
            return header, {name: _read_member(archive, info, expected[name]) for name, info in members.items()}
    except _PARSE_ERRORS as error:
        raise _Defect(f"is damaged or forged ({type(error).__name__}: {error})") from error


def _header(member):
    content = json.loads(member.tobytes())
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("header"), dict):
        raise _Defect(f"does not call itself a file of format {FORMAT!r}")
    if content.get("version") != VERSION:
        raise _Defect(f"has format version {content.get('version')!r}, while this nnqft reads version {VERSION}",
                      "read it with the nnqft that wrote it")  # fmt: skip
    return content["header"]


def _expected(expect, header):
    try:
        return {name: (_little_endian(dtype), tuple(shape)) for name, (dtype, shape) in expect(header).items()}
    except (AttributeError, LookupError, StateError, TypeError, ValueError) as error:
        raise _Defect(f"has the header of something else ({type(error).__name__}: {error})") from error


def _read_member(archive, info, expected=None):
    """One array: what it declares is compared with `expected` and with the bytes there are before any is read."""
    with archive.open(info) as stream:
        head = stream.read(10)
        head += stream.read(int.from_bytes(head[8:], "little"))
        match = _NPY.fullmatch(head)
        if not match or match[1].decode() not in _DTYPES:
            raise _Defect(f"declares {info.filename} as {head[10:80]!r}, which nnqft does not write")
        dtype, shape = np.dtype(match[1].decode()), tuple(int(n) for n in re.findall(rb"\d+", match[2]))
        declares = f"declares {info.filename} as {dtype} of shape {shape}"
        if expected is not None:
            lengths_fit = len(shape) == len(expected[1]) and all(m in (n, None) for n, m in zip(shape, expected[1]))
            if dtype != expected[0] or not lengths_fit:
                raise _Defect(f"{declares}, expected were {expected[0]} and {expected[1]}")
        if len(head) + math.prod(shape) * dtype.itemsize != info.file_size:
            raise _Defect(f"{declares}, but has {info.file_size - len(head)} bytes for it")
        return np.ndarray(shape, dtype, stream.read()).astype(dtype.newbyteorder("="))


# --- files -----------------------------------------------------------------------------------------------------------


def _resolve(path):
    return os.path.realpath(os.fsdecode(path))  # behind a link: renaming must replace the file, not the link


def _temporary(path):
    return f"{path}.{secrets.token_hex(8)}.tmp"


def _write_new(path, data):
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read(path, max_bytes):
    """All bytes of a regular file; opened without waiting, for a pipe would keep us forever."""
    try:
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise _Defect("is not a regular file", "choose another path")
            _check_size(info.st_size, max_bytes)
            return file.read(info.st_size)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _Defect(f"cannot be read ({error.strerror})", "repair access to it, or choose another path") from error


def _keep_previous(path, spare):
    """Gives the file at `path` the second name `<path>.previous`.

    A damaged file must not push a sound previous one aside: a crash would then leave nothing readable.
    """
    try:
        data = _read(path, sys.maxsize)
        _check_seal(data)
    except (FileNotFoundError, _Defect):
        return
    try:
        os.link(path, spare)
    except OSError:  # FAT and some network folders know one name per file
        _write_new(spare, data)
    os.replace(spare, f"{path}.previous")


def _flush_folder(folder):
    if os.name == "nt":  # Windows opens no folders
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network folders cannot be flushed
            raise
    finally:
        os.close(fd)


def save(path, header, arrays, *, keep_previous=False):
    """Writes one file, whole or not at all: under another name beside its place, flushed to the disk, then renamed.

    path : str, bytes or os.PathLike. Behind a symbolic link, the file it points to is replaced.
    header : dict for JSON; tuples come back as lists, numpy scalars as Python's.
    arrays : dict name -> numpy array; bool, integers, float16/32/64, complex64/128, of any shape, strides, byte order.
    keep_previous : what was there stays as `<path>.previous`, and at every instant one of the two is readable.

    ArgumentError: content that cannot be stored. StateError: a full disk, a read-only folder, ...; then the file that
    was there is unchanged, and the temporary one is gone.
    """
    write(path, to_bytes(header, arrays), keep_previous=keep_previous)


def write(path, data, *, keep_previous=False):
    """Writes bytes of any kind as `save` writes its own."""
    path = _resolve(path)
    temporary, spare = _temporary(path), _temporary(path)
    state = "a file that was there is unchanged"
    try:
        _write_new(temporary, data)
        if keep_previous:
            _keep_previous(path, spare)
        os.replace(temporary, path)
        state = "the new file is in its place, but a power cut may undo that"
        _flush_folder(os.path.dirname(path))
    except OSError as error:
        raise StateError(f"{path} could not be saved ({error.strerror or error}); {state}. Check that the folder "
                         "exists, is writable and has space, or choose another path") from error  # fmt: skip
    finally:
        for name in (temporary, spare):  # the spare is left if path and .previous were one file already
            with contextlib.suppress(OSError):
                os.unlink(name)


def load(path, *, expect=None, max_bytes=MAX_BYTES):
    """(header, arrays) of a stored file, checked from the seal to the last shape. Writes nothing.

    expect : callable header -> dict name -> (dtype, shape) of the arrays that must be there, and no others; None in a
        shape stands for any length. StateError, LookupError, TypeError, ... from it: a header of something else.
    max_bytes : larger files are refused before they are read.

    Arrays come back C-ordered, writable, in native byte order. FileNotFoundError: no file. StateError: any defect; the
    message names the file, the defect and what to do.
    """
    path = _resolve(path)
    try:
        return _decode(_read(path, max_bytes), expect, max_bytes)
    except _Defect as defect:
        has_previous = os.path.exists(f"{path}.previous")
        remedy = f"put {path}.previous in its place" if has_previous else "delete it, or choose another path"
        raise StateError(f"{path} {defect}; it was left as it is: {defect.remedy or remedy}") from defect


def load_with_fallback(path, *, expect=None, max_bytes=MAX_BYTES):
    """As `load`, but if the file is missing or defective, `<path>.previous` with an NNQFTWarning.

    FileNotFoundError: neither is there. StateError: what is there is defective.
    """
    path = _resolve(path)
    previous = f"{path}.previous"
    try:
        return load(path, expect=expect, max_bytes=max_bytes)
    except (FileNotFoundError, StateError) as error:
        if not os.path.exists(previous):
            raise
        first = f"{path} is missing" if isinstance(error, FileNotFoundError) else str(error)
    try:
        result = load(previous, expect=expect, max_bytes=max_bytes)
    except StateError as error:
        raise StateError(f"{first}; but {error}") from error
    warnings.warn(f"{first}; this run uses {previous}", NNQFTWarning, stacklevel=2)
    return result


# --- one writer at a time --------------------------------------------------------------------------------------------


class Lock:
    """`with Lock(path):` one writer of `path` at a time among those who ask; the mark is the file `<path>.lock`.

    The system frees it however the process dies; forked children do not inherit it; the file stays and means nothing.
    Temporary files that a killed writer left are removed on entry. StateError: another process, or another Lock of this
    one, holds it (the message says which); nothing waits. NNQFTWarning: the file system offers no locks.
    """

    _held = frozenset()

    def __init__(self, path):
        self._path = _resolve(path)

    def __enter__(self):
        name = f"{self._path}.lock"
        try:
            fd = os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StateError(f"{name} could not be made ({error.strerror}): check that the folder exists and is "
                             "writable, or choose another path") from error  # fmt: skip
        try:
            _lock(fd)
        except (BlockingIOError, PermissionError) as error:
            holder = os.read(fd, 300).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise StateError(f"{self._path} is being written by process {holder}, which holds {name}: wait until it "
                             "ends, or choose another path") from error  # fmt: skip
        except OSError as error:
            what = f"{name} cannot be locked ({error.strerror}): nothing keeps a second writer away"
            warnings.warn(what, NNQFTWarning, stacklevel=2)
        self._fd = fd
        Lock._held |= {self}
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()} on {platform.node()}\n".encode())
        for orphan in glob.glob(f"{glob.escape(self._path)}.{'[0-9a-f]' * 16}.tmp"):
            with contextlib.suppress(OSError):
                os.unlink(orphan)
        return self

    def __exit__(self, *exception):
        if self in Lock._held:  # not so in a forked child
            Lock._held -= {self}
            os.close(self._fd)


def _lock(fd):
    if fcntl:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        os.lseek(fd, 1 << 30, os.SEEK_SET)  # far from the text, which nobody else could read if it were locked
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(fd, 0, os.SEEK_SET)


def _leave_locks_to_the_parent():
    """A forked child that kept the file open would keep the lock after its parent was killed."""
    for lock in Lock._held:
        os.close(lock._fd)
    Lock._held = frozenset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_locks_to_the_parent)
