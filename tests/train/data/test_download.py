import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from pedseg_runtime.errors import DatasetError, DownloadError
from pedseg_train.data import PennFudanDataset
from pedseg_train.data.download import download, fetch, unpack


class Server(ThreadingHTTPServer):
    """Serves `content` at any path; the switches make it behave like servers of the wild."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = b""
        self.ranges = True
        self.stop_after = None
        self.status = None
        self.requests = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/PennFudanPed.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if server.status:
            self.send_error(server.status)
            return
        size = len(server.content)
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        self.wfile.write(server.content[start : server.stop_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def archive(dataset, tmp_path):
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        for file in sorted(dataset.rglob("*.png")):
            bundle.write(file, f"PennFudanPed/{file.relative_to(dataset)}")
    return path


def anything(root):
    return True


def test_an_archive_becomes_a_dataset_and_nothing_else_is_left(server, archive, tmp_path):
    server.content = archive.read_bytes()
    seen = []
    root = tmp_path / "new" / "photos"
    download(root, url=server.url, trusted=anything, progress=lambda *step: seen.append(step))
    assert PennFudanDataset(root).names == ("a", "b", "c", "d")
    assert seen[-1] == (len(server.content),) * 2
    assert [path.name for path in root.parent.iterdir()] == ["photos"]


@pytest.mark.parametrize("ranges", [True, False], ids=["with ranges", "without ranges"])
def test_an_interrupted_download_is_completed(server, archive, tmp_path, ranges):
    server.content, server.ranges, server.stop_after = archive.read_bytes(), ranges, 700
    root = tmp_path / "photos"
    with pytest.raises(DownloadError, match="try again, which resumes where this ended"):
        download(root, url=server.url, trusted=anything)
    assert not root.exists()
    assert (tmp_path / "photos.zip.part").stat().st_size == 700
    server.stop_after = None
    download(root, url=server.url, trusted=anything)
    assert server.requests == [None, "bytes=700-"]
    assert len(PennFudanDataset(root)) == 4
    assert not (tmp_path / "photos.zip.part").exists()


def test_a_part_that_is_already_complete_is_used(server, archive, tmp_path):
    server.content = archive.read_bytes()
    (tmp_path / "photos.zip.part").write_bytes(server.content)
    download(tmp_path / "photos", url=server.url, trusted=anything)
    assert server.requests == [f"bytes={len(server.content)}-"]
    assert len(PennFudanDataset(tmp_path / "photos")) == 4


def test_a_part_longer_than_the_file_is_fetched_anew(server, archive, tmp_path):
    server.content = archive.read_bytes()
    part = tmp_path / "part"
    part.write_bytes(server.content + b"of another file")
    fetch(server.url, part)
    assert part.read_bytes() == server.content


def test_other_content_leaves_no_dataset_in_place(server, archive, tmp_path):
    server.content = archive.read_bytes()
    target = tmp_path / "out" / "photos"
    with pytest.raises(DownloadError, match="digests differ"):
        download(target, url=server.url)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("status", [404, 416, 503])
def test_a_refusal_names_the_address_and_the_way_out(server, tmp_path, status):
    server.status = status
    with pytest.raises(
        DownloadError, match=f"{server.url}: .* {status} .*--archive FILE"
    ) as caught:
        download(tmp_path / "photos", url=server.url)
    assert "\n" not in str(caught.value)


def test_without_a_network_the_archive_can_be_given_by_hand(tmp_path):
    with pytest.raises(DownloadError, match="by hand and give it with --archive"):
        download(tmp_path / "photos", url="http://127.0.0.1:9/PennFudanPed.zip", timeout=2)


def test_a_silent_server_is_given_up(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:
        url = f"http://127.0.0.1:{silent.server_port}/x.zip"
        with pytest.raises(DownloadError, match="timed out"):
            fetch(url, tmp_path / "part", timeout=0.2)


def test_only_web_addresses_are_fetched(tmp_path):
    with pytest.raises(DownloadError, match="http or https"):
        fetch("file:///etc/hosts", tmp_path / "part")


def test_a_local_archive_is_unpacked_and_kept(archive, tmp_path):
    (tmp_path / "photos").mkdir()
    assert download(tmp_path / "photos", archive=archive, trusted=anything) == tmp_path / "photos"
    assert len(PennFudanDataset(tmp_path / "photos")) == 4
    assert archive.exists()


def test_a_folder_in_use_is_refused(dataset, archive):
    with pytest.raises(DatasetError, match="expected an empty or new folder"):
        download(dataset, archive=archive, trusted=anything)


@pytest.mark.parametrize(
    "name",
    ["../outside.png", "/outside.png", "a/../../outside.png", "..\\outside.png", "C:\\outside"],
)
def test_members_that_leave_the_folder_are_refused(tmp_path, name):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr(name, "x")
    with pytest.raises(DownloadError, match="not to be trusted"):
        unpack(path, tmp_path / "inside")
    assert not (tmp_path / "outside.png").exists()


def test_links_are_refused(tmp_path):
    member = zipfile.ZipInfo("PennFudanPed/link")
    member.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as bundle:
        bundle.writestr(member, "/etc")
    with pytest.raises(DownloadError, match="not to be trusted"):
        unpack(tmp_path / "evil.zip", tmp_path / "inside")


def damaged(archive):
    content = bytearray(archive.read_bytes())
    content[len(content) // 3] ^= 255
    archive.write_bytes(bytes(content))


def cut(archive):
    archive.write_bytes(archive.read_bytes()[:-200])


def foreign(archive):
    archive.write_text("<html>not found</html>")


def without_dataset(archive):
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("other/readme.txt", "x")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damaged, "damaged or foreign"),
        (cut, "damaged or foreign"),
        (foreign, "damaged or foreign"),
        (without_dataset, "another archive"),
        (lambda archive: archive.unlink(), "found nothing"),
    ],
    ids=["damaged", "cut", "foreign", "without dataset", "missing"],
)
def test_a_bad_archive_is_refused(archive, tmp_path, spoil, message):
    spoil(archive)
    with pytest.raises(DownloadError, match=message):
        download(tmp_path / "photos", archive=archive, trusted=anything)
    assert not (tmp_path / "photos").exists()
    assert np.all([not path.name.startswith(".photos") for path in tmp_path.iterdir()])
