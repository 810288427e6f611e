"""Fetching with interruptions, and archives that mean harm, on a server of our own."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from test_data_cifar import write_python

from minidl.data import CIFAR, CIFAR10, cifar
from minidl.data.download import extract, fetch
from minidl.errors import DataError

CONTENT = np.random.default_rng(0).bytes(1_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Gives `content`; `ranges`: honours Range; `stop_after`: hangs up after that many bytes."""

    content, ranges, stop_after = CONTENT, True, None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/a.tar.gz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.split("=")[1].rstrip("-")) if asked and self.server.ranges else 0
        body = self.server.content[start:]
        self.send_response(206 if asked and self.server.ranges else 200)
        if asked and self.server.ranges:
            end = len(self.server.content)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.server.stop_after is None else body[: self.server.stop_after])

    def log_message(self, *arguments) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def fetch_from(server: Server, target: Path, md5: str = MD5, size: int = len(CONTENT)) -> Path:
    return fetch(server.url, target, md5, size, progress=False)


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.tar.gz"
    assert fetch_from(server, target) == target and target.read_bytes() == CONTENT
    fetch_from(server, target)
    assert server.asked == [None] and [p.name for p in target.parent.iterdir()] == ["a.tar.gz"]


def test_an_interrupted_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    server.stop_after = 300_000
    for _ in range(3):
        with pytest.raises(DataError, match=r"(stopped after|cannot be fetched).*start again to go on"):
            fetch_from(server, target)
        assert not target.exists()
    fetch_from(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    target.with_name("a.tar.gz.part").write_bytes(b"x" * 1000)
    server.ranges = False
    assert fetch_from(server, target).read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    target.with_name("a.tar.gz.part").write_bytes(CONTENT)
    assert fetch_from(server, target).read_bytes() == CONTENT and server.asked == []


def test_another_file_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"MD5 must be {'0' * 32}, got {MD5}"):
        fetch_from(server, tmp_path / "a.tar.gz", md5="0" * 32)
    with pytest.raises(DataError, match="must have 999,999 bytes, the server sends more"):
        fetch_from(server, tmp_path / "a.tar.gz", size=999_999)
    assert list(tmp_path.iterdir()) == []


def test_no_server_and_no_http_are_one_line(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as gone:
        url = f"http://127.0.0.1:{gone.server_address[1]}/a"
    with pytest.raises(DataError, match=r"cannot be fetched: .*refused"):
        fetch(url, tmp_path / "a", MD5, 10, progress=False)
    with pytest.raises(DataError, match="URL must be http or https, got 'file:///etc/passwd'"):
        fetch("file:///etc/passwd", tmp_path / "a", MD5, 10)


def test_progress_is_shown(server: Server, tmp_path: Path, capsys) -> None:
    fetch(server.url, tmp_path / "a.tar.gz", MD5, len(CONTENT))
    assert "a.tar.gz: 100%" in capsys.readouterr().err


def test_cifar_is_fetched_unpacked_and_read(server: Server, tmp_path: Path, monkeypatch) -> None:
    write_python(CIFAR10, tmp_path / "made" / CIFAR10.folder)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(tmp_path / "made" / CIFAR10.folder, CIFAR10.folder)
    server.content = packed.getvalue()
    sums = {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in (tmp_path / "made" / CIFAR10.folder).iterdir()}
    files = dataclasses.replace(
        CIFAR10, archive_md5=hashlib.md5(server.content).hexdigest(), archive_bytes=len(server.content), md5=sums
    )
    monkeypatch.setattr(cifar, "URL", server.url.removesuffix("a.tar.gz"))
    for _ in range(2):
        assert len(CIFAR(files, "train", tmp_path / "data", download=True)) == 20
    assert [p.name for p in (tmp_path / "data").iterdir()] == [CIFAR10.folder] and len(server.asked) == 1
    (tmp_path / "data" / CIFAR10.folder / "test_batch").unlink()
    assert len(CIFAR(files, "test", tmp_path / "data", download=True)) == 4


# Archives.


def archive_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o6777
    return info


def test_plain_files_are_unpacked(tmp_path: Path) -> None:
    made = archive_of(tmp_path / "a.tar.gz", (member("d", tarfile.DIRTYPE), b""), (member("d/e/f"), b"12"))
    for _ in range(2):  # over what is there already
        extract(made, tmp_path / "out", max_bytes=10)
        assert (tmp_path / "out/d/e/f").read_bytes() == b"12"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["d"]
    assert (tmp_path / "out/d/e/f").stat().st_mode & 0o7000 == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (member("../evil"), "paths must stay inside the folder, got '../evil'"),
        (member("/evil"), "paths must stay inside"),
        (member("d/../../evil"), "paths must stay inside"),
        (member("c:evil"), "paths must stay inside"),
        (member("d\\..\\evil"), "paths must stay inside"),
        (member("link", tarfile.SYMTYPE, "/etc"), "must hold plain files and folders, 'link' is of type b'2'"),
        (member("link", tarfile.LNKTYPE, "/etc/passwd"), "'link' is of type b'1'"),
        (member("device", tarfile.CHRTYPE), "'device' is of type b'3'"),
        (member("pipe", tarfile.FIFOTYPE), "'pipe' is of type b'6'"),
        (member("good"), "cannot be unpacked .* File exists"),
    ],
)
def test_archives_that_mean_harm_leave_nothing_behind(bad: tarfile.TarInfo, message: str, tmp_path: Path) -> None:
    made = archive_of(tmp_path / "a.tar.gz", (member("good"), b"12"), (bad, b""))
    with pytest.raises(DataError, match=message) as caught:
        extract(made, tmp_path / "out", max_bytes=1000)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == [] and not (tmp_path / "evil").exists()


def test_archives_that_unpack_to_too_much_are_refused(tmp_path: Path, monkeypatch) -> None:
    made = archive_of(tmp_path / "a.tar.gz", (member("a"), bytes(600)), (member("b"), bytes(600)))
    with pytest.raises(DataError, match=r"must unpack to at most 1,000 bytes"):
        extract(made, tmp_path / "out", max_bytes=1000)
    monkeypatch.setattr("minidl.data.download.SLACK", 1 << 16)
    header = member("a")
    header.pax_headers = {"comment": "x" * (1 << 20)}  # a header that is larger than all files together may be
    made = archive_of(tmp_path / "b.tar.gz", (header, b""))
    with pytest.raises(DataError, match=r"unpacks to more than its files may have"):
        extract(made, tmp_path / "out", max_bytes=1000)
    assert list((tmp_path / "out").iterdir()) == []


def test_damaged_archives_are_one_line(tmp_path: Path) -> None:
    whole = archive_of(tmp_path / "a.tar.gz", (member("a"), np.random.default_rng(0).bytes(5000))).read_bytes()
    flipped = bytearray(whole)
    flipped[2000] ^= 255
    for content in (b"", b"not an archive", whole[:3000], bytes(flipped), gzip.compress(b"no tar" * 1000)):
        (tmp_path / "b.tar.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"b.tar.gz: (damaged archive|cannot be unpacked)") as caught:
            extract(tmp_path / "b.tar.gz", tmp_path / "out", max_bytes=10_000)
        assert "\n" not in str(caught.value)
        assert list((tmp_path / "out").iterdir()) == []
