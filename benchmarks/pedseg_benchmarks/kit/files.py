"""Files of one network taken apart into weights and the rest, and put together again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pedseg_runtime.errors import InputError
from pedseg_runtime.files import replacing

from .archive import Archive
from .tensors import Tensor, find_tensors
from .weight_store import WeightStore, rebuild, shuffled

PLAN, WEIGHTS, RESTS = "files.json", "weights", "rests"


def add_files(archive: Archive, files: Sequence[tuple[str, Path]]) -> list[dict[str, Any]]:
    """Add files to an archive, with each weight once; gives their names, sizes and SHA-256.

    Args:
        archive: gets `files.json`, the weights, and of every file the bytes between them.
        files: name in the kit and path, the checkpoint first: others follow from it.
    """
    store = WeightStore()
    entries = []
    for number, (name, path) in enumerate(files):
        content = path.read_bytes()
        tensors = find_tensors(path, content)
        entries.append(
            {
                "name": name,
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "weights": [
                    [
                        one.offset,
                        store.add(
                            content[one.offset : one.offset + one.size], one.dtype, one.shape
                        ),
                    ]
                    for one in tensors
                ],
            }
        )
        archive.add(f"{RESTS}/{number}", b"".join(_between(content, tensors)))
    for number, raw in store.stored.items():
        archive.add(f"{WEIGHTS}/{number}", shuffled(raw, store.recipes[number].item_size))
    plan = {"files": entries, "weights": store.to_list()}
    archive.add(PLAN, json.dumps(plan).encode())
    return [{name: entry[name] for name in ("name", "bytes", "sha256")} for entry in entries]


def _between(content: bytes, tensors: Sequence[Tensor]) -> Iterator[bytes]:
    position = 0
    for tensor in tensors:
        yield content[position : tensor.offset]
        position = tensor.offset + tensor.size
    yield content[position:]


def rebuild_files(folder: Path) -> list[Path]:
    """Put the files together in an extracted kit; what they were made of is removed.

    Raises:
        InputError: a file is not what was packed.
    """
    plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    weights = dict(
        rebuild(plan["weights"], lambda number: (folder / WEIGHTS / str(number)).read_bytes())
    )
    made = []
    for number, entry in enumerate(plan["files"]):
        content = _joined((folder / RESTS / str(number)).read_bytes(), entry, weights)
        found = hashlib.sha256(content).hexdigest()
        if found != entry["sha256"]:
            raise InputError(
                f"{entry['name']}: expected the file that was packed (sha256 "
                f"{entry['sha256'][:12]}), found another ({found[:12]}) after unpacking; pack anew"
            )
        path = folder / entry["name"]
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        made.append(path)
    for name in (WEIGHTS, RESTS):
        shutil.rmtree(folder / name)
    return made


def _joined(rest: bytes, entry: dict[str, Any], weights: dict[int, bytes]) -> bytes:
    content = bytearray(entry["bytes"])
    written, taken = 0, 0
    for offset, number in entry["weights"]:
        gap = offset - written
        content[written:offset] = rest[taken : taken + gap]
        taken += gap
        raw = weights[number]
        content[offset : offset + len(raw)] = raw
        written = offset + len(raw)
    content[written:] = rest[taken:]
    return bytes(content)
