"""The folder of a run: it resumes the same run, refuses any other, and holds no half-written file.

run.npz          what is computed (the spec) and its hash
raw/<part>.npz   one finished part of the work each
report.*, figures/
"""

import io
import os
import re
import secrets
from pathlib import Path

from .. import _store
from ..errors import StateError

__all__ = ["Folder"]

_NOT_CONTENT = re.compile(r"\..*|run\.npz(\.lock|\.[0-9a-f]{16}\.tmp)")  # what a killed start may leave, and dot files


class Folder:
    """`with Folder(path, spec) as folder:` one writer at a time, of one computation.

    Parameters
    ----------
    path : str or os.PathLike
        Made if missing.
    spec : dict for JSON
        Everything that the results depend on.

    Raises
    ------
    StateError
        On entry: the folder holds another run (the message says in what it differs), files of something else, or is in
        use. Nothing is written then.
    """

    def __init__(self, path, spec):
        self.path, self.spec = Path(path), spec
        self.hash = _store.spec_hash(spec)

    def __enter__(self):
        if not self._has_run():  # before anything is made in a folder that may be somebody else's
            self.path.mkdir(parents=True, exist_ok=True)
        self._lock = _store.Lock(self.path / "run.npz")
        self._lock.__enter__()
        try:
            if not self._has_run():
                _store.save(self.path / "run.npz", {"spec": self.spec, "spec_hash": self.hash}, {})
            (self.path / "raw").mkdir(exist_ok=True)
            (self.path / "figures").mkdir(exist_ok=True)
        except BaseException:
            self._lock.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        self._lock.__exit__(*exception)

    def _has_run(self):
        """Does the folder hold this run already? StateError if it holds something else."""
        if not self.path.exists():
            return False
        if not self.path.is_dir():
            raise StateError(f"{self.path} is not a folder: choose another path")
        if not (self.path / "run.npz").exists():
            others = sorted(name for name in os.listdir(self.path) if not _NOT_CONTENT.fullmatch(name))
            if others:
                raise StateError(
                    f"{self.path} holds other files ({', '.join(others[:5])}): choose a new or empty folder"
                )
            return False
        header, _ = _store.load(self.path / "run.npz", expect=lambda header: {})
        if header.get("spec_hash") == self.hash:
            return True
        raise StateError(
            f"{self.path} holds another run ({self._difference(header.get('spec', {}))}): choose another folder, "
            "or repeat that run's settings to go on with it; nothing was changed"
        )

    def _difference(self, theirs):
        same = lambda key: _store.spec_hash({"": theirs.get(key)}) == _store.spec_hash({"": self.spec.get(key)})
        keys = [key for key in sorted({*self.spec, *theirs}) if not same(key)]
        return "; ".join(
            f"{key} is {theirs.get(key)!r:.100} there and {self.spec.get(key)!r:.100} here" for key in keys
        )

    def read(self, name, members):
        """(header, arrays) of a finished part of the work; None if there is none.

        members : dict, name -> (dtype, shape) of its arrays. StateError for a damaged file or one of another run.
        """

        def mine(header):
            if (header.get("run"), header.get("part")) != (self.hash, name):
                raise StateError(f"it belongs to another run than {self.path}")
            return members

        try:
            return _store.load(self.path / "raw" / f"{name}.npz", expect=mine)
        except FileNotFoundError:
            return None

    def store(self, name, header, arrays):
        """Keep a finished part of the work; `header` for JSON."""
        path = self.path / "raw" / f"{name}.npz"
        _store.save(path, {**header, "run": self.hash, "part": name}, arrays)

    def write(self, name, content):
        """Put text or bytes in the file `name`, whole or not at all; returns its path."""
        path = self.path / name
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
        try:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def figure(self, name, figure, *, dpi=200):
        """Store a matplotlib figure as figures/<name>.png; returns its path."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
        return self.write(f"figures/{name}.png", buffer.getvalue())
