"""Data sets: small files of the published formats, and what is said of broken ones."""

import gzip
import io
import struct
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest

import fluxrs
from fluxrs import datasets
from fluxrs.datasets import cifar10, cmudict, digits, fashionmnist, iris, mnist, read_idx, sentiment
from fluxrs.datasets.sentiment import Tree, parse

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (7, 28, 28)).astype("uint8")
LABELS = np.array([3, 0, 9, 1, 1, 2, 5], dtype="uint8")
TYPES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}


def idx(array):
    """An array in the format of MNIST's files."""
    head = bytes([0, 0, TYPES[str(array.dtype)], array.ndim]) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for files; nothing is downloaded."""
    monkeypatch.setattr(datasets.store, "_download", offline)
    return tmp_path


def offline(dataset, file, url, target):
    raise OSError("no network")


def write(folder, **files):
    for name, data in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


NAMES = {"images": "train-images-idx3-ubyte", "labels": "train-labels-idx1-ubyte"}


@pytest.mark.parametrize("data", [mnist, fashionmnist])
@pytest.mark.parametrize("place", ["", "mnist/", "fashionmnist/"])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_images(folder, data, place, packed):
    pack, end = (gzip.compress, ".gz") if packed else (bytes, "")
    name = data.__name__.rpartition(".")[2]
    write(
        folder,
        **{
            f"{place}{NAMES['images']}{end}": pack(idx(IMAGES)),
            f"{place}{NAMES['labels']}{end}": pack(idx(LABELS)),
        },
    )
    if place not in ("", f"{name}/"):
        with pytest.raises(OSError, match="is not in"):
            data.images(folder=folder)
        return
    x = data.images(folder=folder)
    assert x.dtype == "float32" and x.shape == (7, 28, 28)
    np.testing.assert_allclose(x, IMAGES / 255, rtol=1e-6)
    np.testing.assert_array_equal(data.images(folder=folder, dtype="uint8"), IMAGES)
    y = data.labels(folder=folder)
    assert y.dtype == "int64" and y.tolist() == LABELS.tolist()
    x, y = data.arrays(folder=folder)
    assert x.shape == (7, 1, 28, 28) and len(y) == 7
    for a, b in fluxrs.batches(x, y, size=3):
        assert len(a) == len(b)
    assert len(data.classes) == 10


def test_names_of_the_test_split_and_of_unpacked_files(folder):
    write(
        folder,
        **{
            "mnist__t10k-images.idx3-ubyte": idx(IMAGES),
            "mnist__t10k-labels-idx1-ubyte": idx(LABELS),
        },
    )
    assert mnist.images("test", folder=folder).shape == (7, 28, 28)
    assert len(mnist.labels("test", folder=str(folder))) == 7
    with pytest.raises(ValueError, match="mnist: the split is one of 'train', 'test', got 'dev'"):
        mnist.labels("dev", folder=folder)


def test_where_files_are_looked_for(folder, monkeypatch):
    write(folder, **{f"here__{NAMES['labels']}": idx(LABELS)})
    monkeypatch.setenv("FLUXRS_DATA", str(folder / "here"))
    assert len(mnist.labels()) == 7
    monkeypatch.delenv("FLUXRS_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(folder / "cache"))
    monkeypatch.setenv("HOME", str(folder / "home"))
    place = datasets.store.folder_of()
    assert str(place).startswith(str(folder)) and place.name == "fluxrs"
    with pytest.raises(OSError) as raised:
        mnist.labels()
    said = str(raised.value)
    for part in (
        f"mnist: train-labels-idx1-ubyte.gz is not in {place / 'mnist'}",
        "https://storage.googleapis.com/cvdf-datasets/mnist/train-labels-idx1-ubyte.gz: no network",
        "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz: no network",
        "Put it there by other means", "folder=", "FLUXRS_DATA",
    ):  # fmt: skip
        assert part in said
    write(place, **{f"mnist__{NAMES['labels']}": idx(LABELS)})
    assert len(mnist.labels()) == 7


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_of_idx(tmp_path, dtype):
    path = tmp_path / "file"
    for array in (np.arange(24).reshape(2, 3, 4), np.zeros((0, 5)), np.array(7)):
        array = array.astype(dtype)
        for data in (idx(array), gzip.compress(idx(array))):
            path.write_bytes(data)
            got = read_idx(path)
            assert got.dtype == dtype and got.dtype.isnative
            np.testing.assert_array_equal(got, array)


HUGE = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**31, 2**31)


@pytest.mark.parametrize(("data", "message"), [
    (b"", "is no IDX file: it begins with nothing"),
    (b"<html>", "is no IDX file: it begins with 3c 68 74 6d"),
    (bytes([0, 0, 7, 1, 0, 0, 0, 0]), "is no IDX file"),
    (idx(LABELS)[:6], "ends within its 1 lengths"),
    (idx(LABELS)[:-2], r"has 5 of the 7 bytes of an array of shape \(7,\)"),
    (idx(LABELS) + b"x", "goes on after the 7 bytes"),
    (HUGE, "says that it holds an array of shape"),
    (bytes([0, 0, 8, 255]) + bytes(1020), "says that it holds"),
    (gzip.compress(idx(LABELS))[:-6], "is no whole gzip file"),
    (gzip.compress(idx(LABELS))[:20], "is no whole gzip file"),
    (gzip.compress(idx(LABELS))[:-8] + bytes(8), "is no whole gzip file: CRC"),
    (b"\x1f\x8b" + bytes(30), "is no whole gzip file"),
    (gzip.compress(idx(LABELS) + bytes(10**6)), "goes on after"),
])  # fmt: skip
def test_broken_idx(tmp_path, data, message):
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"train-labels-idx1-ubyte .*{message}"):
        read_idx(path)


def test_memory_is_taken_as_the_bytes_come(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes([0, 0, 8, 1]) + struct.pack(">I", 2**29) + bytes(100))
    tracemalloc.start()
    with pytest.raises(ValueError, match="has 100 of the 536870912 bytes"):
        read_idx(path)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


@pytest.mark.parametrize(("images", "labels", "message"), [
    (IMAGES[:, :20], LABELS, r"holds uint8 of shape \(7, 20, 28\); wanted are bytes of shape"),
    (IMAGES.astype("int32"), LABELS, "holds int32"),
    (IMAGES, LABELS[:6], "mnist: 7 images and 6 labels"),
    (IMAGES, LABELS + 7, "wanted are N bytes from 0 to 9"),
    (IMAGES, LABELS[:, None], "wanted are N bytes"),
    (LABELS, IMAGES, "wanted are bytes of shape"),
])  # fmt: skip
def test_other_arrays_than_mnists(folder, images, labels, message):
    write(folder, **{NAMES["images"]: idx(images), NAMES["labels"]: idx(labels)})
    with pytest.raises(ValueError, match=message):
        mnist.arrays(folder=folder)


FLOWERS = b"5.1,3.5,1.4,0.2,Iris-setosa\n7.0,3.2,4.7,1.4,Iris-versicolor\n6.3,3.3,6.0,2.5,Iris-virginica\n\n"


def test_iris(folder):
    write(folder, **{"iris__iris.data": FLOWERS})
    x, y = iris.arrays(folder=folder)
    np.testing.assert_allclose(
        x, [[5.1, 3.5, 1.4, 0.2], [7, 3.2, 4.7, 1.4], [6.3, 3.3, 6, 2.5]], rtol=1e-6
    )
    assert x.dtype == "float32" and y.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(iris.features(folder=folder), x)
    assert iris.labels(folder=folder) == list(iris.classes)


def row(label=3, pixel=16):
    return ",".join(map(str, [pixel] * 64 + [label])).encode() + b"\n"


def test_digits(folder):
    write(folder, **{"optdigits.tra": row(3) + row(5, 4), "optdigits.tes": row(9, 0)})
    x, y = digits.arrays(folder=folder)
    assert x.shape == (2, 1, 8, 8) and x.dtype == "float32" and y.tolist() == [3, 5]
    assert x[0, 0, 0, 0] == 1 and x[1, 0, 7, 7] == 0.25
    assert digits.images("test", folder=folder).shape == (1, 8, 8)
    assert digits.images(folder=folder, dtype="uint8")[0, 0, 0] == 16
    assert digits.labels("test", folder=folder).tolist() == [9]
    assert [sum(digits.COUNTS[s]) for s in ("train", "test")] == [3823, 1797]


def test_scikit_learns_digits_are_the_test_split(folder):
    sklearn = pytest.importorskip("sklearn.datasets")
    x, y = sklearn.load_digits(return_X_y=True)
    lines = [",".join(map(str, [*map(int, a), b])) for a, b in zip(x, y, strict=True)]
    write(folder, **{"optdigits.tes": "\n".join(lines).encode()})
    np.testing.assert_array_equal(digits.images("test", folder=folder).reshape(-1, 64), x / 16)
    digits._check(folder / "optdigits.tes", "test")
    with pytest.raises(ValueError, match="of the digits 0 to 9, the published file"):
        digits._check(folder / "optdigits.tes", "train")


@pytest.mark.parametrize(("data", "file", "content", "message"), [
    (iris.arrays, "iris.data", b"", "is empty"),
    (iris.arrays, "iris.data", FLOWERS + b"1,2,3,Iris-setosa\n", "iris.data, line 5: wanted is four lengths and a species"),
    (iris.arrays, "iris.data", b"1,2,3,4,Iris-rosa\n", "got '1,2,3,4,Iris-rosa'"),
    (iris.arrays, "iris.data", b"1,2,3,nan,Iris-setosa\n", "line 1"),
    (iris.arrays, "iris.data", b"\xff\xfe\n", "is no text in utf-8"),
    (iris.arrays, "iris.data", b"x" * 1000, "got 'x{80}'"),
    (digits.arrays, "optdigits.tra", row(10), "64 numbers from 0 to 16 and a digit"),
    (digits.arrays, "optdigits.tra", row(3, 17), "line 1"),
    (digits.arrays, "optdigits.tra", row(3, -1), "line 1"),
    (digits.arrays, "optdigits.tra", row(3)[:-4], "line 1"),
    (cmudict.phones, "cmudict-0.7b.phones", b"AA\tvowel\nx y\n", "line 2 has other than phones: 'x y'"),
    (cmudict.symbols, "cmudict-0.7b.symbols", b"AA AA0\n", "line 1"),
    (cmudict.rawdict, "cmudict-0.7b", b";;; words\nHELLO\n", "line 2 has other than phones: 'HELLO'"),
    (cmudict.rawdict, "cmudict-0.7b", b"HELLO  HH <b>\n", "other than phones"),
    (cmudict.rawdict, "cmudict-0.7b", b";;;\n", "is empty"),
])  # fmt: skip
def test_broken_tables(folder, data, file, content, message):
    write(folder, **{file: content})
    with pytest.raises(ValueError, match=message):
        data(folder=folder)


def test_a_text_of_too_many_bytes_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(datasets.table, "MOST", 100)
    write(folder, **{"iris.data": FLOWERS * 2})
    with pytest.raises(ValueError, match="has more than 100 bytes"):
        iris.labels(folder=folder)


WORDS = b""";;; # CMUdict
!EXCLAMATION-POINT  EH2 K S K L AH0 M EY1 SH AH0 N P OY2 N T
HELLO  HH AH0 L OW1
HELLO(1)  HH EH0 L OW1
D\xc9J\xc0  D EY1 ZH AA2
R.-2_D  AA1 R
"""


def test_cmudict(folder):
    write(folder, **{"cmudict__cmudict-0.7b": WORDS, "cmudict__cmudict.phones": b"AA\tvowel\nCH\taffricate\n",
                     "cmudict__cmudict-0.7b.symbols": b"AA\nAA0\nAA1\nCH\n"})  # fmt: skip
    assert cmudict.phones(folder=folder) == ["AA", "CH"]
    assert cmudict.symbols(folder=folder) == ["AA", "AA0", "AA1", "CH"]
    raw = cmudict.rawdict(folder=folder)
    assert [*raw] == ["!EXCLAMATION-POINT", "HELLO", "HELLO(1)", "DÉJÀ", "R.-2_D"]
    assert raw["HELLO(1)"] == ["HH", "EH0", "L", "OW1"]
    assert cmudict.cmudict(folder=folder) == {
        "HELLO": ["HH", "AH0", "L", "OW1"],
        "R.-2_D": ["AA1", "R"],
    }
    assert cmudict.entries is cmudict.cmudict
    assert set("".join(cmudict.cmudict(folder=folder))) <= set(cmudict.alphabet())


SENTENCES = "(3 (2 It) (4 (2 's) (4 good\\/fine)))\n(0 (1 No) (2 -LRB-))\n"


def zipped(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(f"trees/{name}.txt", text)
    return out.getvalue()


@pytest.mark.parametrize("files", [
    {"sentiment__trainDevTestTrees_PTB.zip": zipped(train=SENTENCES, dev="(1 a)", test="(2 b)")},
    {"sentiment.zip": zipped(train=SENTENCES, dev="(1 a)", test="(2 b)")},
    {"trees__train.txt": SENTENCES.encode(), "trees__dev.txt": b"(1 a)", "trees__test.txt": b"(2 b)"},
    {"train.txt": SENTENCES.encode(), "dev.txt": b"(1 a)", "test.txt": b"(2 b)"},
])  # fmt: skip
def test_sentiment(folder, files):
    write(folder, **files)
    first, second = sentiment.train(folder=folder)
    assert first.value == (3, None) and first[1, 1].value == (4, "good/fine")
    assert first.leaves() == [(2, "It"), (2, "'s"), (4, "good/fine")]
    assert second == Tree((0, None), Tree((1, "No")), Tree((2, "-LRB-")))
    assert [t.value for t in sentiment.dev(folder=folder)] == [(1, "a")]
    assert [t.value for t in sentiment.test(folder=folder)] == [(2, "b")]


def test_trees():
    t = parse("(3 (2 a) (1 (0 b) (4 c)))")
    assert [n.value[0] for n in t.nodes()] == [3, 2, 1, 0, 4]
    assert len(t) == 2 and not t.isleaf and t[0].isleaf and t[1][0].value == (0, "b")
    assert t.map(lambda v: v[0]) == Tree(3, Tree(2), Tree(1, Tree(0), Tree(4)))
    assert repr(t.map(lambda v: v[0])) == "Tree(3, Tree(2), Tree(1, Tree(0), Tree(4)))"
    assert parse("(2 (2 8\u00a01) (1 b))").leaves() == [(2, "8\u00a01"), (1, "b")]
    assert t != parse("(3 (2 a) (1 (0 b) (4 d)))") and t != parse("(3 (2 a) (1 b))") and t != 3
    deepest = "(1 " * 199 + "(1 a)" + ")" * 199
    assert repr(parse(deepest).map(str)).count("Tree") == 200


@pytest.mark.parametrize(("line", "message"), [
    ("(3 a", "no one tree in brackets"),
    ("3 a)", "no one tree"),
    ("(3 a) (2 b)", "no one tree"),
    ("(3 a))", "no one tree"),
    ("a", "no one tree"),
    ("(5 a)", "after [(] stands '5' and no judgement from 0 to 4"),
    ("((1 a))", "after [(] stands '[(]'"),
    ("(", "after [(] stands ''"),
    ("(3)", "neither a word nor children"),
    ("(3 a b)", "two words, or a word and children"),
    ("(3 (2 a) b)", "two words, or a word and children"),
    ("(3 a (2 b))", "a word and children"),
    ("(1 " * 500 + "a" + ")" * 500, "no judgement|200"),
    ("(1 " * 10**5, "after [(]"),
])  # fmt: skip
def test_lines_that_are_no_trees(folder, line, message):
    write(folder, **{"train.txt": (SENTENCES + line).encode()})
    with pytest.raises(ValueError, match=rf"train.txt, line 3: .*{message}"):
        sentiment.train(folder=folder)


def broken(archive, at, to):
    return archive[:at] + to + archive[at + len(to) :]


@pytest.mark.parametrize(("content", "message"), [
    (b"no zip", "is no whole archive: File is not a zip file"),
    (zipped(train=SENTENCES)[:-30], "is no whole archive"),
    (zipped(dev=SENTENCES), "has no trees/train.txt"),
    (broken(zipped(train=SENTENCES), 50, b"\xff\xff\xff"), "is no whole archive"),
    (zipped(train=b"\xff\xfe"), "is no text in utf-8"),
    (zipped(train="\n"), "is empty"),
])  # fmt: skip
def test_broken_zip_files(folder, content, message):
    write(folder, **{"trainDevTestTrees_PTB.zip": content})
    with pytest.raises(ValueError, match=message):
        sentiment.train(folder=folder)


def test_a_zip_of_too_many_bytes(folder, monkeypatch):
    monkeypatch.setattr(sentiment, "MOST", 1000)
    write(folder, **{"sentiment.zip": zipped(train="(1 a)\n" * 1000)})
    with pytest.raises(ValueError, match="has more than 1000 bytes"):
        sentiment.train(folder=folder)


def records(labels, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3072)).astype("uint8")
    return np.concatenate([np.array(labels, "uint8")[:, None], pixels], axis=1)


BATCHES = {f"data_batch_{i}.bin": records([i, 9, 0], i) for i in range(1, 6)} | {
    "test_batch.bin": records([4, 2])
}


def packed(members=BATCHES, mode="w:gz", kind=tarfile.REGTYPE):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size, entry.type = len(bytes(data)), kind
            archive.addfile(entry, io.BytesIO(bytes(data)))
    return out.getvalue()


BYTES = {name: data.tobytes() for name, data in BATCHES.items()}


@pytest.mark.parametrize(
    "place", ["", "cifar10/", "cifar10/cifar-10-batches-bin/", "cifar-10-batches-bin/", "archive"]
)
def test_cifar10(folder, place):
    if place == "archive":
        write(folder, **{"cifar10/cifar-10-binary.tar.gz": packed(BYTES)})
    else:
        write(folder, **{f"{place}{name}": data for name, data in BYTES.items()})
    x, y = cifar10.arrays(folder=folder)
    assert x.shape == (15, 3, 32, 32) and x.dtype == "float32"
    assert y.tolist() == [k for i in range(1, 6) for k in (i, 9, 0)]
    np.testing.assert_allclose(x[3].ravel(), BATCHES["data_batch_2.bin"][0, 1:] / 255, rtol=1e-6)
    assert cifar10.images("test", folder=folder, dtype="uint8").shape == (2, 3, 32, 32)
    assert cifar10.labels("test", folder=folder).tolist() == [4, 2]
    assert cifar10.classes[4] == "deer"


@pytest.mark.parametrize(("content", "message"), [
    (b"", "is no whole archive"),
    (b"\x1f\x8b" + bytes(40), "is no whole archive"),
    (packed(BYTES)[:-300], "is no whole archive"),
    (packed({"test_batch.bin": BYTES["test_batch.bin"]}), "has no cifar-10-batches-bin/data_batch_1.bin"),
    (packed({**BYTES, "data_batch_3.bin": BYTES["data_batch_3.bin"][:-1]}), "data_batch_3.bin has 9218 bytes; wanted are"),
    (packed({**BYTES, "data_batch_3.bin": b""}), "data_batch_3.bin has 0 bytes"),
    (packed({**BYTES, "data_batch_3.bin": records([10]).tobytes()}), "has the label 10; there are ten classes"),
    (packed(dict.fromkeys(BYTES, b""), kind=tarfile.SYMTYPE), "is no file of up to"),
])  # fmt: skip
def test_broken_archives(folder, content, message):
    write(folder, **{"cifar-10-binary.tar.gz": content})
    with pytest.raises(ValueError, match=message):
        cifar10.images(folder=folder)


def test_the_modules_are_there():
    assert fluxrs.datasets.mnist is mnist
    for name in datasets.__all__:
        assert getattr(datasets, name).__doc__
    for data in (mnist, fashionmnist, cifar10, digits, iris, cmudict, sentiment):
        for name in data.__all__:
            assert getattr(data, name).__doc__ or name == "classes"
