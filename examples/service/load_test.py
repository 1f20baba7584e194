"""Many clients of a running service, some of them hostile; then its metrics against their counts.

    pip install "pedseg[prometheus]" httpx
    PEDSEG_ARTIFACT=pedseg.onnx uvicorn --factory app:from_environment --port 8000
    python load_test.py http://localhost:8000 --images photos --clients 64 --minutes 10

Every client sends one image after the other, and comes back a second later where it is told to.
Exits with 1 if an image is not answered as it should be, or if the metrics say otherwise. Run
it while no other client uses the service.
"""

from __future__ import annotations

import asyncio
import base64
import io
import random
import struct
import sys
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import click
import httpx
import numpy as np
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from pedseg_runtime import PedsegError, find_images

BUSY = (503, 504)
PERCENTILES = (50, 95, 99)
HTTP = "pedseg_http_request_duration_seconds_count"
REQUESTS = "pedseg_requests_total"


@dataclass(frozen=True)
class Upload:
    """One kind of request: its name, body and headers, and the codes that answer it rightly."""

    name: str
    body: bytes
    codes: tuple[int, ...] = (200,)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Counts:
    """What the clients saw: kind and code of every response, and seconds by code."""

    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def add(self, upload: Upload, response: httpx.Response, seconds: float) -> None:
        """Count one response."""
        code = response.status_code
        self.codes[upload.name, code] += 1
        self.seconds.setdefault(code, []).append(seconds)
        if code not in (*upload.codes, *BUSY):
            self.wrong[f"{upload.name}: {code} {response.text[:200]}"] += 1

    def by_code(self) -> Counter[int]:
        """Responses by code."""
        return Counter({code: len(seconds) for code, seconds in self.seconds.items()})


def good_uploads(folder: Path | None) -> list[Upload]:
    """The images of a folder, or generated ones of several sizes and formats."""
    if folder is not None:
        return [Upload("image", file.read_bytes()) for file in find_images(folder)]
    rng = np.random.default_rng(0)
    uploads = []
    for height, width, kind in ((240, 320, "JPEG"), (480, 640, "JPEG"), (300, 200, "PNG")):
        coarse = rng.integers(0, 256, (height // 20, width // 20, 3), np.uint8)
        uploads.append(
            Upload("image", encoded(Image.fromarray(coarse).resize((width, height)), kind))
        )
    return uploads


def hostile_uploads(image: bytes) -> list[Upload]:
    """What strangers send, made from one good image."""
    jpeg = encoded(Image.open(io.BytesIO(image)).convert("RGB"), "JPEG")
    boundary = "----pedseg"
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    refused = (400,)
    return [
        Upload("cut JPEG", jpeg[: len(jpeg) // 2], refused),
        Upload("mutated JPEG", jpeg[:300] + bytes(100) + jpeg[400:], (200, 400)),
        Upload("empty body", b"", refused),
        Upload("text", b"<html>not found</html>", refused),
        Upload("data URL", b"data:image/jpeg;base64," + base64.b64encode(jpeg), refused),
        Upload("1x500 strip", encoded(Image.new("RGB", (500, 1)), "PNG"), (200, 400)),
        Upload("1x9000 strip", encoded(Image.new("RGB", (9000, 1)), "PNG"), refused),
        Upload("60000x60000", huge_png(60_000), refused),
        Upload(
            "multipart body",
            part.encode() + jpeg + f"\r\n--{boundary}--\r\n".encode(),
            refused,
            {"Content-Type": f"multipart/form-data; boundary={boundary}"},
        ),
        Upload("21 MB", bytes(21 << 20), (413,)),
    ]


def encoded(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def huge_png(side: int) -> bytes:
    """A small PNG file that claims to have `side` x `side` pixels."""
    content = bytearray(encoded(Image.new("RGB", (8, 8)), "PNG"))
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


async def client(
    http: httpx.AsyncClient,
    good: list[Upload],
    hostile: list[Upload],
    share: float,
    until: float,
    rng: random.Random,
    counts: Counts,
) -> None:
    """Send one upload after the other until the time is over."""
    while time.monotonic() < until:
        upload = rng.choice(hostile if rng.random() < share else good)
        start = time.monotonic()
        try:
            response = await http.post("/segment", content=upload.body, headers=upload.headers)
        except httpx.TransportError as error:
            counts.wrong[f"{upload.name}: {type(error).__name__}"] += 1
            continue
        counts.add(upload, response, time.monotonic() - start)
        if response.status_code in BUSY:
            await asyncio.sleep(float(response.headers.get("Retry-After", 1)))


async def scrape(http: httpx.AsyncClient) -> dict[str, Counter[str]]:
    """The counters that are compared: responses by code, and requests by how they ended."""
    text = (await http.get("/metrics")).text
    found: dict[str, Counter[str]] = {HTTP: Counter(), REQUESTS: Counter()}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == HTTP and sample.labels["route"] == "/segment":
                found[HTTP][sample.labels["code"]] += int(sample.value)
            elif sample.name == REQUESTS:
                ending = f"{sample.labels['outcome']} {sample.labels['error']}".strip()
                found[REQUESTS][ending] += int(sample.value)
    return found


def disagreements(counts: Counts, metrics: dict[str, Counter[str]]) -> list[str]:
    """What the service's metrics and its clients count differently."""
    codes = counts.by_code()
    expected = {
        HTTP: Counter({str(code): count for code, count in codes.items()}),
        REQUESTS: Counter(
            {
                "answered": codes[200],
                "failed InputError": codes[400],
                "rejected QueueFullError": codes[503],
                "expired DeadlineError": codes[504],
            }
        ),
    }
    return [
        f"{name}: the clients count {dict(+expected[name])}, the service {dict(+metrics[name])}"
        for name in expected
        if +expected[name] != +metrics[name]
    ]


async def load(
    address: str, *, folder: Path | None, clients: int, seconds: float, hostile: float, seed: int
) -> tuple[Counts, dict[str, Counter[str]]]:
    """Run all clients at once; what they saw, and by how much the service's counters grew."""
    good = good_uploads(folder)
    bad = hostile_uploads(good[0].body)
    counts = Counts()
    # A connection that is kept may be closed by the server just as it is used again.
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits) as http:
        before = await scrape(http)
        until = time.monotonic() + seconds
        await asyncio.gather(
            *(
                client(http, good, bad, hostile, until, random.Random(f"{seed} {number}"), counts)
                for number in range(clients)
            )
        )
        await asyncio.sleep(1)  # the last response is counted after it was sent
        after = await scrape(http)
    return counts, {name: after[name] - before[name] for name in after}


def show(counts: Counts, seconds: float) -> None:
    """Print codes by kind of upload, and percentiles of seconds by code."""
    total = sum(counts.codes.values())
    click.echo(f"{total} responses, {total / seconds:.1f} per second")
    for (name, code), count in sorted(counts.codes.items()):
        click.echo(f"  {name:<16}{code:>5}{count:>9}")
    click.echo("seconds" + "".join(f"{f'p{percent}':>9}" for percent in PERCENTILES) + "      max")
    for code, times in sorted(counts.seconds.items()):
        found = [*np.percentile(times, PERCENTILES), max(times)]
        click.echo(f"  {code:<5}" + "".join(f"{value:9.3f}" for value in found))


@click.command()
@click.argument("address")
@click.option("--images", type=click.Path(path_type=Path), help="Folder; by default generated.")
@click.option("--clients", default=64, show_default=True, type=click.IntRange(min=1))
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--hostile", default=0.05, show_default=True, type=click.FloatRange(0, 1))
@click.option("--seed", default=0, show_default=True)
def main(
    address: str, images: Path | None, clients: int, minutes: float, hostile: float, seed: int
) -> None:
    """Put the service at ADDRESS under load, and compare its metrics with what clients saw."""
    seconds = minutes * 60
    try:
        counts, metrics = asyncio.run(
            load(
                address,
                folder=images,
                clients=clients,
                seconds=seconds,
                hostile=hostile,
                seed=seed,
            )
        )
    except (PedsegError, httpx.TransportError) as error:
        raise click.ClickException(str(error)) from error
    show(counts, seconds)
    problems = [f"{count} x {what}" for what, count in counts.wrong.items()]
    problems += disagreements(counts, metrics)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(1)
    click.echo("every response as expected, and the metrics agree with the clients")


if __name__ == "__main__":
    main()
