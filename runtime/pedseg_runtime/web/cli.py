"""`pedseg-web`: an artifact as a static page that runs in the browser."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from ..console import Command, next_commands, notes, output
from ..text import pluralize
from .build import write_page
from .library import PACKAGE, VERSION, fetch_library, read_library
from .serving import page_server

FILE = click.Path(path_type=Path)


@click.command(cls=Command)
@click.argument("artifact", type=FILE)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--library",
    type=FILE,
    help=f"What 'npm pack {PACKAGE}@{VERSION}' wrote, if it was fetched elsewhere.",
)
@click.option(
    "--webgpu",
    is_flag=True,
    help="Let the page try WebGPU too; takes 27 MB more.  onnxruntime-web 1.30 refuses the graph.",
)
@click.option(
    "--serve",
    "port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve the folder on this machine, until Ctrl-C; 0 takes a free port.",
)
def main(
    artifact: Path, folder: Path, library: Path | None, webgpu: bool, port: int | None
) -> None:
    """Write ARTIFACT, an ONNX file of pedseg-export, as a static page into FOLDER.

    The page segments images, videos and the camera in the browser: nothing is sent anywhere. Put
    the folder on any web server. npm fetches onnxruntime-web (33 MB) or has it in its cache.
    """
    if library is None:
        with notes.status(f"fetching {PACKAGE} {VERSION}"):
            package = fetch_library()
    else:
        package = read_library(library)
    files = write_page(artifact, folder, library=package, webgpu=webgpu)
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    output.print(
        f"wrote {pluralize(len(files), 'file')}, {megabytes:.1f} MB, into {folder}", markup=False
    )
    if port is None:
        command = f"pedseg-web {shlex.quote(str(artifact))} {shlex.quote(str(folder))}"
        next_commands([("look at it", f"{command} --serve 8000")])
        return
    with page_server(folder, port=port) as server:
        notes.print(f"serving http://localhost:{server.server_port} until Ctrl-C", markup=False)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            notes.print("stopped")


if __name__ == "__main__":
    main()
