"""Downloads from a server on this machine: whole, broken off, resumed, and of the wrong file."""

import dataclasses
import gzip
import hashlib
import multiprocessing
import os
import re
import sys

import numpy as np
import pytest

from fluxrs.datasets import cmudict, digits, iris, mnist, sentiment, store
from served import Server
from test_datasets import IMAGES, LABELS, SENTENCES, WORDS, idx, zipped

DATA = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(store, "TIMEOUT", 5.0)
    server = Server()
    yield server
    server.close()


def published(server, name="file.bin", data=DATA, **more):
    """A file that the server has, with its digest and its length."""
    server.files[name] = data
    known = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), **more}
    return store.File(name, (server.url(name),), **known)


def find(file, folder):
    return store.find("set", file, folder)


def left(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("size", [None, len(DATA)])
def test_a_file_is_downloaded_once(server, tmp_path, size):
    file = published(server, size=size)
    path = find(file, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "set" / "file.bin"
    assert path.read_bytes() == DATA
    assert find(file, tmp_path / "new" / "folder") == path
    assert server.asked == [("file.bin", None)]
    assert left(tmp_path) == ["file.bin"]


def test_a_bar_in_a_terminal(server, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stderr, "write", said.append, raising=False)
    find(published(server), tmp_path)
    assert "set/file.bin" in "".join(said) and "300k" in "".join(said)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("size", [None, len(DATA)])
def test_a_dropped_connection_is_taken_up_again(server, tmp_path, ranges, size):
    server.drop, server.ranges = [100_000, 120_000], ranges
    path = find(published(server, size=size), tmp_path)
    assert path.read_bytes() == DATA
    asked = ["bytes=100000-", "bytes=220000-" if ranges else "bytes=120000-"]
    assert server.asked == [("file.bin", given) for given in (None, *asked)]


def test_what_came_is_kept_for_the_next_call(server, tmp_path):
    server.drop = [50_000, 50_000, 50_000]
    file = published(server)
    with pytest.raises(OSError) as raised:
        find(file, tmp_path)
    said = str(raised.value)
    assert "the connection ended after 150000 of 300000 bytes" in said
    assert "the 150000 bytes that came are kept, and the next call goes on from there" in said
    assert left(tmp_path) == ["file.bin.part"]
    assert find(file, tmp_path).read_bytes() == DATA
    assert server.asked[-1] == ("file.bin", "bytes=150000-")
    assert left(tmp_path) == ["file.bin"]


def test_a_connection_that_brings_nothing_is_given_up(server, tmp_path):
    server.drop = [0] * 9
    with pytest.raises(OSError, match="ended after 0 of 300000 bytes[.] Put it there"):
        find(published(server), tmp_path)
    assert len(server.asked) == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize("kept", [b"other" * 1000, DATA[:-1] + b"?", DATA + b"more", DATA])
@pytest.mark.parametrize("size", [None, len(DATA)])
def test_what_was_kept_of_another_file_is_thrown_away(server, tmp_path, kept, size):
    file = published(server, size=size)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "file.bin.part").write_bytes(kept)
    assert find(file, tmp_path).read_bytes() == DATA
    assert left(tmp_path) == ["file.bin"]


@pytest.mark.parametrize(("change", "message"), [
    (lambda s: s.files.update({"file.bin": DATA[:-1] + b"?"}), "its SHA-256 is [0-9a-f]{64}, that of the published file [0-9a-f]{64}"),
    (lambda s: s.files.update({"file.bin": DATA[:-5]}), "it has 299995 bytes, the published file 300000"),
    (lambda s: s.files.update({"file.bin": b"<html>Please log in"}), "it has 19 bytes, the published file 300000"),
    (lambda s: s.said.update({"file.bin": 10**12}), "it has 1000000000000 bytes, the published file 300000"),
    (lambda s: s.files.clear(), "HTTP Error 404: Not Found"),
    (lambda s: s.status.update({"file.bin": 503}), "HTTP Error 503"),
    (lambda s: s.to.update({"file.bin": "http://example.org/file.bin"}), "http://example.org/file.bin is no address of HTTPS"),
    (lambda s: s.to.update({"file.bin": "file:///etc/passwd"}), "is no address of HTTPS|not allowed"),
    (lambda s: s.to.update({"file.bin": "/file.bin"}), "redirect"),
])  # fmt: skip
def test_a_server_that_has_no_such_file(server, tmp_path, change, message):
    file = published(server)
    change(server)
    with pytest.raises(OSError, match=message) as raised:
        find(file, tmp_path)
    said = str(raised.value)
    assert said.startswith(
        f"set: file.bin is not in {tmp_path / 'set'}, and it could not be downloaded: "
    )
    assert file.urls[0] in said and "FLUXRS_DATA" in said
    assert left(tmp_path) == []


@pytest.mark.parametrize("said", [None, "nonsense"])
def test_a_file_of_unknown_size_is_bounded(server, tmp_path, said):
    file = published(server, size=None, sha256=None, most=1000)
    if said:
        server.said["file.bin"] = said
    with pytest.raises(OSError, match="more than the 1000 that are taken|goes on past 1000 bytes"):
        find(file, tmp_path)
    assert left(tmp_path) == []


def test_a_redirection_is_followed(server, tmp_path):
    file = published(server)
    server.files["there"] = server.files.pop("file.bin")
    server.to["file.bin"] = server.url("there")
    assert find(file, tmp_path).read_bytes() == DATA


def test_the_second_address(server, tmp_path):
    file = published(server)
    both = (server.url("gone"), *file.urls)
    assert find(dataclasses.replace(file, urls=both), tmp_path).read_bytes() == DATA
    neither = (server.url("gone"), server.url("lost"))
    with pytest.raises(OSError, match=f"{neither[0]}: HTTP.*404.*{neither[1]}: HTTP.*404"):
        find(dataclasses.replace(file, name="other", urls=neither), tmp_path)


def test_nobody_answers(server, tmp_path):
    file = published(server)
    file = dataclasses.replace(file, urls=("http://127.0.0.1:9/file.bin",))
    with pytest.raises(
        OSError, match=r"http://127.0.0.1:9/file.bin: .*refused.*Put it there by other means"
    ):
        find(file, tmp_path)


def test_only_https(tmp_path):
    file = store.File("file.bin", ("http://example.org/file.bin",))
    with pytest.raises(OSError, match="http://example.org/file.bin is no address of HTTPS"):
        find(file, tmp_path)


def test_every_published_address_is_of_https():
    files = [*iris.__dict__.values(), *sentiment.__dict__.values()]
    for table in (mnist.FILES, cmudict.FILES, digits.FILES):
        files += [
            f for pair in table.values() for f in (pair if isinstance(pair, tuple) else [pair])
        ]
    files = [f for f in files if isinstance(f, store.File)]
    assert len(files) >= 11
    for f in files:
        assert all(url.startswith("https://") for url in f.urls)
        assert f.check or re.fullmatch("[0-9a-f]{64}", f.sha256)


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(server, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="Permission denied"):
        find(published(server), tmp_path)


def fetched(args):
    file, folder = args
    return find(file, folder).read_bytes() == DATA


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_two_processes_at_once(server, tmp_path):
    file = published(server)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(fetched, [(file, tmp_path)] * 3) == [True] * 3
    assert left(tmp_path) == ["file.bin"]
    assert server.asked == [("file.bin", None)]


def test_data_sets_come_over_the_network(server, tmp_path, monkeypatch):
    images, labels = gzip.compress(idx(IMAGES)), gzip.compress(idx(LABELS))
    pair = published(server, "images.gz", images), published(server, "labels.gz", labels)
    monkeypatch.setitem(mnist.FILES, "train", pair)
    x, y = mnist.arrays(folder=tmp_path)
    assert x.shape == (7, 1, 28, 28) and y.tolist() == LABELS.tolist()
    archive = published(server, "trees.zip", zipped(train=SENTENCES, dev="(1 a)", test="(2 b)"))
    monkeypatch.setattr(sentiment, "FILE", archive)
    assert len(sentiment.train(folder=tmp_path)) == 2
    monkeypatch.setitem(cmudict.FILES, "", published(server, "words", WORDS))
    assert "HELLO" in cmudict.cmudict(folder=tmp_path)
    assert left(tmp_path) == ["images.gz", "labels.gz", "trees.zip", "words"]


def test_digits_are_checked_by_what_is_in_them(server, tmp_path, monkeypatch):
    row = ",".join(["1"] * 64)
    counted = "".join(f"{row},{k}\n" * n for k, n in enumerate(digits.COUNTS["test"])).encode()
    file = digits.FILES["test"]
    assert file.sha256 is None
    for data, good in ((counted, True), (counted[: -len(row) - 3], False), (b"<html>", False)):
        server.files["optdigits.tes"] = data
        monkeypatch.setitem(
            digits.FILES,
            "test",
            dataclasses.replace(file, urls=(server.url("optdigits.tes"),), size=None),
        )
        folder = tmp_path / str(len(data))
        if good:
            assert len(digits.images("test", folder=folder)) == 1797
            continue
        with pytest.raises(
            OSError, match="of the digits 0 to 9, the published file|wanted is 64 numbers"
        ):
            digits.images("test", folder=folder)
        assert left(folder) == []
