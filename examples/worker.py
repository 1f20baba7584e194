"""A worker that watches a folder: images in, one JSON file beside each, until it is stopped.

    python examples/worker.py pedseg.onnx inbox outbox --device cuda

Put files into the inbox under another name and rename them when they are whole. An image that was
answered is removed; one that cannot be read, or fails in any other way, is moved to `failed`, with
its reason beside it. Many workers may share an inbox: the worker that renames an image first has
it, and what a killed worker left behind is taken up by the next one that starts with its name. An
image that two workers died of, because it took all memory for example, is moved to `failed` too.

After a failure that may be the device's, a black image is tried: if that fails as well, the worker
ends with exit code 1, rather than put aside image after image.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import click
import numpy as np

from pedseg_runtime import DeviceError, InputError, PedsegError, Segmenter
from pedseg_runtime.console import Command
from pedseg_runtime.files import write_json
from pedseg_runtime.images import SUFFIXES

MOST_ATTEMPTS = 2


def claim(inbox: Path, taken: Path, limit: int) -> list[Path]:
    """Move up to `limit` images from the inbox into this worker's own folder."""
    claimed = sorted(file for file in taken.iterdir() if file.name[0] != ".")[:limit]
    for file in sorted(inbox.iterdir()):
        if len(claimed) >= limit:
            break
        if file.suffix.lower() in SUFFIXES and file.is_file():
            try:
                claimed.append(file.rename(taken / file.name))
            except FileNotFoundError:  # another worker was faster
                continue
    return claimed


def answer(segmenter: Segmenter, files: list[Path], outbox: Path) -> None:
    """Segment claimed images one by one, so that a broken one leaves the others their answer.

    Raises:
        DeviceError: an image failed, and so does a black one.
        OSError: a result cannot be written.
    """
    for file in files:
        note = file.with_name(f".{file.name}.attempts")  # outlives this process
        attempts = note.stat().st_size if note.exists() else 0
        if attempts >= MOST_ATTEMPTS:
            put_aside(file, outbox, f"{attempts} workers died of it")
            note.unlink()
            continue
        with note.open("ab") as stream:
            stream.write(b".")
        try:
            found = segmenter(file).to_coco(file.name)
        except Exception as error:  # any: it is this image's
            put_aside(file, outbox, describe(error))
            note.unlink()
            if not isinstance(error, InputError):
                check_device(segmenter)
        else:
            write_json(outbox / f"{file.name}.json", {"file": file.name, "detections": found})
            file.unlink()
            note.unlink()


def put_aside(file: Path, outbox: Path, reason: str) -> None:
    """Move an image out of the way, with the reason beside it."""
    failed = outbox / "failed"
    failed.mkdir(exist_ok=True)
    write_json(failed / f"{file.name}.json", {"file": file.name, "reason": reason})
    file.rename(failed / file.name)


def describe(error: Exception) -> str:
    """What to write down of an error: of one that is not made on purpose its type too."""
    return str(error) if isinstance(error, PedsegError) else f"{type(error).__name__}: {error}"


def check_device(segmenter: Segmenter) -> None:
    """Raise DeviceError if not even a black image can be segmented."""
    try:
        segmenter(np.zeros((64, 64, 3), np.uint8))
    except Exception as error:
        raise DeviceError(
            f"{segmenter.provider}: expected it to segment a black image after a failure, found "
            f"{describe(error)}; start the worker again"
        ) from error


@click.command(cls=Command)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("inbox", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("outbox", type=click.Path(path_type=Path, file_okay=False))
@click.option("--device", default="auto", show_default=True)
@click.option("--name", default="worker", show_default=True, help="Different for each worker.")
@click.option("--once", is_flag=True, help="Stop when the inbox is empty.")
@click.option("--pause", default=0.5, show_default=True, help="Seconds between empty looks.")
def main(
    artifact: Path, inbox: Path, outbox: Path, device: str, name: str, once: bool, pause: float
) -> None:
    """Answer the images in INBOX with ARTIFACT into OUTBOX."""
    taken = outbox / f"taken-{name}"
    taken.mkdir(parents=True, exist_ok=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())  # finish what is claimed, then end
    with Segmenter.load(artifact, device=device) as segmenter:
        click.echo(f"ready on {segmenter.provider}, process {os.getpid()}", err=True)
        while not stop.is_set():
            files = claim(inbox, taken, limit=8)
            if files:
                answer(segmenter, files, outbox)
            elif once:
                break
            else:
                stop.wait(pause)


if __name__ == "__main__":
    main()
