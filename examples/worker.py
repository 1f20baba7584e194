"""A worker that watches a folder: images in, one JSON file beside each, until it is stopped.

    python examples/worker.py pedseg.onnx inbox outbox --device cuda

Put files into the inbox under another name and rename them when they are whole. An image that was
answered is removed; one that cannot be read is moved to `failed`, with its reason beside it. Many
workers may share an inbox: the worker that renames an image first has it, and what a killed worker
left behind is taken up by the next one that starts with its name.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import click

from pedseg_runtime import InputError, Segmenter
from pedseg_runtime.console import Command
from pedseg_runtime.files import write_json
from pedseg_runtime.images import SUFFIXES


def claim(inbox: Path, taken: Path, limit: int) -> list[Path]:
    """Move up to `limit` images from the inbox into this worker's own folder."""
    claimed = sorted(taken.iterdir())[:limit]
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
    """Segment claimed images one by one, so that a broken one leaves the others their answer."""
    for file in files:
        try:
            detections = segmenter(file)
        except InputError as error:
            failed = outbox / "failed"
            failed.mkdir(exist_ok=True)
            write_json(failed / f"{file.name}.json", {"file": file.name, "reason": str(error)})
            file.rename(failed / file.name)
            continue
        found = {"file": file.name, "detections": detections.to_coco(file.name)}
        write_json(outbox / f"{file.name}.json", found)
        file.unlink()


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
