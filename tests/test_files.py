"""Files on the disk: how they are replaced, and how little a hostile one can do."""

import json
import os
import signal
import stat
import struct
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest

import fluxrs
from fluxrs import Chain, Dense, load, load_weights, param, save, save_weights
from fluxrs.files import leftovers

posix = pytest.mark.skipif(os.name != "posix", reason="permissions, links, pipes and kills of Unix")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.safetensors"


# Replacing


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o666])
def test_permissions_stay(file, mode):
    save(file, n=1)
    file.chmod(mode)
    save(file, n=2)
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert load(file) == {"n": 2}


@posix
def test_a_new_file_has_the_permissions_that_the_umask_leaves(file):
    old = os.umask(0o027)
    try:
        save(file, n=1)
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@posix
@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_links_stay(file, tmp_path, link):
    save(file, n=1)
    other = tmp_path / "other"
    link(file, other)
    for path, n in ((file, 2), (other, "a longer text"), (file, 3)):
        save(path, n=n)
        assert load(file) == load(other) == {"n": n}
    assert os.path.samefile(file, other)
    assert sorted(os.listdir(tmp_path)) == ["model.safetensors", "other"]


def test_the_path_may_be_bytes_text_or_a_path(file):
    for path in (os.fsencode(file), str(file), file):
        save(path, d=Dense(2, 2))
        assert repr(load(path)) == "{'d': Dense(2, 2)}"
        save_weights(path, Dense(2, 2))
        load_weights(path, Dense(2, 2))
    with pytest.raises(TypeError, match="PathLike"):
        save(3, n=1)


def test_a_long_name(tmp_path):
    path = tmp_path / ("m" * 250)
    save(path, n=1)
    assert load(path) == {"n": 1}


@posix
def test_file_and_folder_are_synced(file, monkeypatch):
    kinds, real = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (kinds.append(stat.S_IFMT(os.fstat(fd).st_mode)), real(fd))
    )
    save(file, n=1)
    assert kinds == [stat.S_IFREG, stat.S_IFDIR]


@posix
def test_only_regular_files_are_written_and_read(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/null", "/dev/zero"):
        with pytest.raises(OSError, match="no regular file"):
            save(path, n=1)
        with pytest.raises(ValueError, match="no regular file"):
            load(path)
    with pytest.raises(OSError, match="no regular file"):
        save(tmp_path, n=1)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


@posix
def test_a_save_removes_what_killed_ones_left_and_only_that(file, tmp_path):
    save(file, n=1)
    save(tmp_path / "beside", n=1)
    killed = """
        import os, signal, sys
        from fluxrs import files, save
        files._publish = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
        save(sys.argv[1], n=2)
    """
    for path in (file, tmp_path / "beside"):
        assert child(killed, path).returncode == -signal.SIGKILL
    assert load(file) == {"n": 1}
    assert len(leftovers(file)) == len(leftovers(tmp_path / "beside")) == 1
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{leftovers(file)[0]}, which may be whole"):
        load(file)
    save(file, n=3)
    assert leftovers(file) == []
    assert len(leftovers(tmp_path / "beside")) == 1


@posix
def test_a_running_save_is_left_alone_by_another(file, monkeypatch):
    real, seen = fluxrs.files._publish, []

    def between(*args):
        monkeypatch.setattr(fluxrs.files, "_publish", real)
        save(file, n="the other")
        seen.append(load(file))
        real(*args)

    monkeypatch.setattr(fluxrs.files, "_publish", between)
    save(file, n="this one")
    assert seen == [{"n": "the other"}]
    assert load(file) == {"n": "this one"}
    assert os.listdir(file.parent) == [file.name]


@posix
@pytest.mark.parametrize("linked", [False, True])
def test_a_kill_at_any_moment_leaves_a_whole_file(file, tmp_path, linked):
    """At every call of the system that writes, links, or syncs, in turn."""
    killed = """
        import os, signal, sys
        import numpy as np
        from fluxrs import files, save
        n = int(sys.argv[2])
        def counted(f):
            def call(*args):
                global n
                n -= 1
                if n == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return f(*args)
            return call
        for name in ("open", "fsync", "replace", "remove", "chmod"):
            setattr(os, name, counted(getattr(os, name)))
        files.open = counted(open)
        save(sys.argv[1], new=np.ones(10))
    """
    for n in range(1, 20):
        file.unlink(missing_ok=True)
        save(file, old=1)
        if linked:
            (tmp_path / "other").unlink(missing_ok=True)
            os.link(file, tmp_path / "other")
        done = child(killed, file, n)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        whole = [path for path in (file, *leftovers(file)) if loads(path)]
        assert whole, f"nothing whole after a kill at {n}"
        if done.returncode == 0:
            break
    assert done.returncode == 0
    assert n > 4


def loads(path):
    try:
        return set(load(path)) in ({"old"}, {"new"})
    except ValueError:
        return False


@posix
def test_an_interrupt_in_a_save_leaves_the_old_file(file, monkeypatch):
    save(file, n=1)
    crc, calls = zlib.crc32, []

    def interrupting(*args):
        calls.append(args)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return crc(*args)

    monkeypatch.setattr(fluxrs.files, "CHUNK", 1 << 10)
    monkeypatch.setattr(fluxrs.safetensors, "CHUNK", 1 << 10)
    monkeypatch.setattr(fluxrs.safetensors.zlib, "crc32", interrupting)
    with pytest.raises(KeyboardInterrupt):
        save(file, x=np.zeros(10_000))
    monkeypatch.undo()
    assert len(calls) == 5
    assert load(file) == {"n": 1}
    assert os.listdir(file.parent) == [file.name]


# Writing


def test_the_formats_own_name(file):
    save(file, **{"__metadata__": np.ones(2), "__metadata__'": np.zeros(1)})
    back = load(file)
    assert (back["__metadata__"].tolist(), back["__metadata__'"].tolist()) == ([1, 1], [0])
    with pytest.raises(ValueError, match="rename"):
        save_weights(file, {"__metadata__": param([1.0])})


def test_a_structure_too_large_for_the_format(file, monkeypatch):
    monkeypatch.setattr(fluxrs.safetensors, "MAX_HEADER", 1000)
    with pytest.raises(ValueError, match="keep many numbers in an array"):
        save(file, xs=list(range(1000)))
    assert os.listdir(file.parent) == []


def test_long_numbers(file):
    save(file, n=-(10**4299), f=-1.2345678901234567e-300)
    assert load(file) == {"n": -(10**4299), "f": -1.2345678901234567e-300}


def test_text_that_is_no_unicode(file):
    save(file, **{"\ud800": np.ones(1), "s": "\udfff"})
    back = load(file)
    assert (back["\ud800"].tolist(), back["s"]) == ([1], "\udfff")


def test_values_that_a_file_cannot_hold_are_refused_before_it_is_touched(file):
    save(file, n=1)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for thing, error in [
        (np.ma.masked_array([1.0], [True]), TypeError),
        (np.array([1j]), TypeError),
        (np.array(["text"]), TypeError),
        (np.array([None]), TypeError),
        (deep, ValueError),
    ]:
        with pytest.raises(error, match="save"):
            save(file, thing=thing)
    assert load(file) == {"n": 1}


def test_every_kind_of_array(file):
    x = np.arange(24).reshape(2, 3, 4)
    things = {
        "big": x.astype(">f8"), "strided": x[:, ::2, ::-1], "none": x[:0], "zero": np.array(3.5),
        "half": x.astype("f2"), "bool": x > 5, "bytes": x.astype("u1"), "T": x.T,
    }  # fmt: skip
    save(file, **things)
    for name, thing in load(file).items():
        np.testing.assert_array_equal(thing, things[name])
        assert thing.dtype == things[name].dtype.newbyteorder("=")


def test_a_file_of_the_first_version_loads(file):
    head = {"version": 1, "names": {"t": {"node": 1}, "n": 3}}
    head["nodes"] = [{"param": "t.0"}, {"list": [{"node": 0}]}]
    header = {"__metadata__": {"fluxrs": json.dumps(head)}, "t.0": entry(shape=[2])}
    file.write_bytes(raw(header, struct.pack("<2f", 1, 2)))
    things = load(file)
    assert (things["t"][0].tolist(), things["n"]) == ([1, 2], 3)


@pytest.mark.parametrize("write", [save, save_weights])
def test_no_flipped_bit_loads_as_something_else(file, write):
    d = Dense(3, 2)
    write(file, m=d) if write is save else write(file, d)
    whole = file.read_bytes()
    assert 100 < len(whole) < 1000
    other = Dense(3, 2)
    for bit in range(0, 8 * len(whole), 7):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        try:
            if write is save:
                other = load(file)["m"]
            else:
                load_weights(file, other)
        except (ValueError, TypeError):
            continue
        # A letter of the name of what is no metadata of ours, or a blank.
        assert (other.W == d.W).all() and (other.b == d.b).all(), bit


# Reading


def raw(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(shape=(1,), dtype="F32"):
    size = int(np.prod(shape, dtype=float)) * 4
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [0, size]}


def model(nodes, body=b"", **arrays):
    head = {"version": 1, "names": {"m": {"node": len(nodes) - 1}}, "nodes": nodes}
    return raw({"__metadata__": {"fluxrs": json.dumps(head)}, **arrays}, body)


def refer(n):
    return {"node": n}


def tower(depth, tag, width):
    return [{tag: []}] + [{tag: [refer(i)] * width} for i in range(depth)]


def hostile():
    """Files that take much time, memory or stack unless they are refused."""
    hashed = [{"dict": [[k * (2**61 - 1) << 40, 0] for k in range(20_000)]}]
    blocks = [{"object": "fluxrs.Chain", "fields": {"layers": refer(0)}}] * 10
    return {
        "a tree of tuples as a key": model([*tower(60, "tuple", 2), {"dict": [[refer(60), 1]]}]),
        "lists nested deep": model(tower(200_000, "list", 1)),
        "tuples nested deep as a key": model(
            [*tower(200_000, "tuple", 1), {"dict": [[refer(200_000), 1]]}]
        ),
        "many names of one array": model(
            [{"param": "a"}] * 1500 + [{"list": [refer(i) for i in range(1500)]}],
            bytes(4_000_000),
            a=entry([1_000_000]),
        ),
        "a shape with many digits": raw(
            {"a": {**entry(), "shape": [int("9" * 4000)] * 1000}}, b"1234"
        ),
        "a number with many digits": raw(b'{"a": ' + b"9" * 1_000_000 + b"}"),
        "a fraction with many digits": raw(b'{"a": 0.' + b"9" * 1_000_000 + b"}"),
        "a shape with many axes": raw({"a": entry([1] * 100_000)}, b"1234"),
        "keys with one hash": model(hashed),
        "json nested deep": raw(b'{"a":' * 200_000),
        "json in json nested deep": raw({"__metadata__": {"fluxrs": "[" * 200_000}}),
        "many empty lists": raw(b'{"a":[' + b"[]," * 300_000 + b"[]]}"),
        "many lists of a model": model([{"list": []}] * 100_000),
        "chains of what is no chain": model([{"list": [1]}, *blocks]),
    }


LOADED = """
    import os, resource, signal, sys
    from fluxrs import load
    for path in sys.argv[1:]:
        size = os.path.getsize(path)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.alarm(20)
        try:
            load(path)
            said = "loaded"
        except ValueError as error:
            said = str(error)[-100:]
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown * 1024 < 50 * size + 50e6, (path, size, grown)
        print(said)
"""


@posix
def test_hostile_files_take_little(tmp_path):
    paths = []
    for name, content in hostile().items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    done = child(LOADED, *paths, limit=8 << 30)
    assert done.returncode == 0, done.stderr[-2000:]
    said = dict(zip(hostile(), done.stdout.splitlines(), strict=True))
    assert [name for name, text in said.items() if text == "loaded"] == ["many lists of a model"]


@posix
def test_a_large_sparse_file_is_not_read(tmp_path):
    file = tmp_path / "sparse"
    with open(file, "wb") as f:
        f.write(b"no header")
        f.truncate(1 << 40)
    done = child(LOADED.replace("size = os.path.getsize(path)", "size = 0"), file, limit=4 << 30)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "a header of" in done.stdout


def test_a_nest_as_deep_as_save_allows_loads(file):
    nest = 1
    for _ in range(150):
        nest = (nest, [2])
    save(file, nest=nest, m=Chain(Chain(Chain(Dense(2, 2)))))
    assert load(file)["nest"] == nest


def child(source, *args, limit=None):
    """Run a program apart, with a limit on its memory."""
    bound = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))\n"
    start = bound if limit else ""
    return subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(source), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
    )
