"""The journal of a prediction: one JSON line per finished file, so that a later run can go on.

The first line tells what made the results. Every further line stands for one file, written after
its outputs are in place: what the file was (path, size, time of change), what was written for it,
and its result. A line that a kill cut short is the last one and does not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..lifecycle import Closeable

_SCHEMA = {"schema": "pedseg-predictions", "schema_version": 1}
_OPTIONS = {"score_threshold": "--score-threshold", "formats": "--format", "every": "--every"}


class Fingerprint(NamedTuple):
    """Tells whether a file is the one that was segmented: absolute path, bytes, mtime in ns."""

    source: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, file: Path) -> Fingerprint:
        """The fingerprint of `file` as it is now.

        Raises:
            InputError: it cannot be looked at, e.g. because it vanished.
        """
        try:
            status = file.stat()
        except OSError as error:
            raise InputError(
                f"{file}: expected a readable file, found none ({error.strerror}); check the path"
            ) from error
        return cls(_source(file), status.st_size, status.st_mtime_ns)


class Entry(NamedTuple):
    """A finished file.

    Attributes:
        fingerprint: the file as it was read.
        outputs: what was written for it, by kind, relative to the journal's folder.
        result: JSON values; see `segment_images` and `segment_videos`.
    """

    fingerprint: Fingerprint
    outputs: dict[str, str]
    result: dict[str, Any]


class Journal(Closeable):
    """Entries on disk, found by the path of their file; only offsets are held in memory.

    Args:
        path: the journal.
        settings: what made the results, JSON values: "artifact" and options.
        resume: go on with what is there, if anything; else start anew.

    Raises:
        InputError: what is there was made with other settings, or is no journal.
        OSError: the folder cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
        self._path = path
        self._offsets: dict[str, int] = {}
        self._outputs: set[str] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = self._load(settings) if resume and path.exists() else 0
        self._writer = path.open("ab")
        self._reader = path.open("rb")
        self._writer.truncate(whole)
        self._writer.seek(whole)
        if whole == 0:
            self._append({**_SCHEMA, "settings": dict(settings)})

    def close(self) -> None:
        """Close the file; what was added is in it."""
        self._reader.close()
        self._writer.close()

    @property
    def outputs(self) -> frozenset[str]:
        """The names of everything that was written for the files in it."""
        return frozenset(self._outputs)

    def get(self, file: Path) -> Entry | None:
        """The latest entry of the file with the path of `file`."""
        offset = self._offsets.get(_source(file))
        if offset is None:
            return None
        self._reader.seek(offset)
        return _parse_entry(self._reader.readline(), self._path)

    def finished(self, file: Path) -> Entry | None:
        """The entry of `file` if the file is as it was then and its outputs are in place."""
        entry = self.get(file)
        try:
            if entry is None or entry.fingerprint != Fingerprint.of(file):
                return None
        except InputError:
            return None
        folder = self._path.parent
        return entry if all((folder / name).exists() for name in entry.outputs.values()) else None

    def entries(self, files: Iterable[Path]) -> Iterator[tuple[Path, Entry]]:
        """Each of `files` that has one, with its latest entry, read from the disk one by one."""
        for file in files:
            entry = self.get(file)
            if entry is not None:
                yield file, entry

    def add(self, entry: Entry) -> None:
        """Write an entry; it is on its way to the disk when this returns."""
        source, size, mtime_ns = entry.fingerprint
        line = {"source": source, "size": size, "mtime_ns": mtime_ns}
        offset = self._append({**line, "outputs": entry.outputs, "result": entry.result})
        self._offsets[source] = offset

    def _append(self, value: Mapping[str, Any]) -> int:
        """Write one line and return where it starts."""
        offset = self._writer.tell()
        self._writer.write(json.dumps(value, allow_nan=False).encode("ascii") + b"\n")
        self._writer.flush()
        return offset

    def _load(self, settings: Mapping[str, Any]) -> int:
        """Index what is there; returns how many bytes of it are whole lines."""
        end = 0
        for line in _whole_lines(self._path):
            if end == 0:
                _check_settings(self._path, _parse_header(line, self._path), settings)
            else:
                entry = _parse_entry(line, self._path)
                self._offsets[entry.fingerprint.source] = end
                self._outputs.update(entry.outputs.values())
            end += len(line)
        return end


def read_settings(path: Path) -> dict[str, Any] | None:
    """The settings in the first line of a journal; None if no journal is there."""
    try:
        return _parse_header(next(_whole_lines(path), b""), path)
    except (FileNotFoundError, InputError):
        return None


def _source(file: Path) -> str:
    return str(file.absolute())


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The lines up to the one that was cut short, if any."""
    with path.open("rb") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                yield line


def _parse_header(line: bytes, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(line)
        settings: dict[str, Any] = dict(header.pop("settings"))
    except (ValueError, KeyError, TypeError, AttributeError):
        header, settings = None, {}
    if header != _SCHEMA:
        raise _foreign(path, "another first line")
    return settings


def _parse_entry(line: bytes, path: Path) -> Entry:
    try:
        value = json.loads(line)
        fingerprint = Fingerprint(value["source"], value["size"], value["mtime_ns"])
        return Entry(fingerprint, dict(value["outputs"]), dict(value["result"]))
    except (ValueError, KeyError, TypeError) as error:
        raise _foreign(path, "a damaged line") from error


def _foreign(path: Path, found: str) -> InputError:
    return InputError(
        f"{path}: expected the journal of a prediction to go on from, found {found}; leave out "
        "--resume to start anew, or choose another --output"
    )


def _check_settings(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Results of different settings must not stand side by side."""
    differences = [
        f"{_OPTIONS.get(key, key)} {_shown(before.get(key))} (now {_shown(now.get(key))})"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    if differences:
        raise InputError(
            f"{path}: expected results of the same artifact and options to go on from, found "
            f"{', '.join(differences)}; repeat them as they were, choose another --output, or "
            "leave out --resume to start anew"
        )


def _shown(value: Any) -> str:
    """A setting in few words: a digest by its start, a list by its items."""
    if value is None:
        return "not given"
    return "+".join(value) if isinstance(value, list) else str(value)[:12]
