"""Files: what comes back, what is refused, what survives."""

import importlib
import json
import os
import struct
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    ADAM,
    Chain,
    Dense,
    Diagonal,
    DimensionMismatch,
    Dropout,
    LayerNorm,
    back,
    load,
    load_weights,
    param,
    params,
    relu,
    save,
    save_weights,
    testmode,
    treelike,
    σ,
)

x = np.random.default_rng(0).normal(size=(4, 10)).astype("float32")


@treelike
@dataclass
class Mine:
    inner: Dense
    scale: float

    def __call__(self, x):
        return self.inner(x) * self.scale


def shout(x):
    return x * 2


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.safetensors"


def roundtrip(file, thing, **kw):
    save(file, thing=thing)
    return load(file, **kw)["thing"]


def test_models_of_our_layers_come_back(file):
    m = testmode(
        Chain(
            Dense(10, 5, σ),
            LayerNorm(5),
            Dropout(0.5),
            Diagonal(5),
            Dense(5, 2, relu),
            fluxrs.softmax,
        )
    )
    n = roundtrip(file, m)
    assert repr(n) == repr(m)
    assert n[2].active is False
    np.testing.assert_array_equal(n(x), m(x))
    assert len(params(n)) == len(params(m))


@pytest.mark.parametrize("module", ["activations", "layers.stateless", "layers.ctc", "utils"])
def test_functions_of_ours_come_back(file, module):
    module = importlib.import_module(f"fluxrs.{module}")
    public = [
        getattr(fluxrs, n) for n in dir(module) if n in fluxrs.__all__ and not n.startswith("_")
    ]
    ours = [f for f in public if getattr(f, "__module__", None) in (module.__name__, None)]
    inits = ("glorot", "kaiming", "orthogonal", "truncated", "sparse", "initn")
    if module is fluxrs.utils:
        ours = [f for f in ours if f.__name__.startswith(inits)]
    assert ours
    for f in ours:
        assert roundtrip(file, [f])[0] is f


def test_everything_else_comes_back(file):
    things = {
        "none": None, "flag": True, "n": 3, "f": 0.1, "inf": float("-inf"), "s": "σ", "list": [1, [2]],
        "tuple": (1, (2,)), "dict": {1: "a", "1": "b", (1, 2): None},
    }  # fmt: skip
    save(file, **things)
    assert load(file) == things
    save(file, nan=float("nan"), a=np.arange(3), t=fluxrs.tensor([True, False]), e=np.zeros((0, 2)))
    back_ = load(file)
    assert back_["nan"] != back_["nan"]
    assert isinstance(back_["a"], np.ndarray)
    assert back_["a"].dtype == np.int64
    assert isinstance(back_["t"], fluxrs.Tensor)
    assert back_["t"].tolist() == [True, False]
    assert back_["e"].shape == (0, 2)


def test_shared_objects_stay_shared(file):
    d = Dense(10, 10)
    opt = ADAM(params(d))
    save(file, m=Chain(d, d), opt=opt, d=d)
    back_ = load(file)
    assert back_["m"][0] is back_["m"][1] is back_["d"]
    assert back_["opt"].params[0] is back_["d"].W


def test_training_goes_on_exactly_where_it_was(file):
    m = Chain(Dense(10, 5, σ), Dense(5, 1))
    opt = ADAM(params(m), 0.01)

    def steps(m, opt):
        for _ in range(3):
            back((m(x) ** 2).sum())
            opt()
        return np.asarray(m(x))

    steps(m, opt)
    save(file, m=m, opt=opt)
    other = load(file)
    np.testing.assert_array_equal(steps(m, opt), steps(other["m"], other["opt"]))
    assert other["opt"].t == 6


def test_your_own_classes_and_functions_come_back_if_named(file):
    m = Chain(Mine(Dense(10, 5), 3.0), shout)
    save(file, m=m)
    with pytest.raises(TypeError, match=r"'test_saving.Mine', .*types=\(Mine, shout\)"):
        load(file)
    with pytest.raises(TypeError, match=r"types=\(Mine,\)"):
        load(file, types=shout)
    n = load(file, types=(Mine, shout))["m"]
    np.testing.assert_array_equal(n(x), m(x))


@pytest.mark.parametrize(
    "types",
    [
        lambda cls: (cls, shout),
        lambda cls: {"Mine": cls, "shout": shout},
        lambda cls: {"test_saving.Mine": cls, "test_saving.shout": shout},
    ],
)
def test_a_class_is_found_by_its_name_whatever_its_module(file, types):
    elsewhere = treelike(
        dataclass(type("Mine", (), {"__annotations__": {"inner": Dense, "scale": float}}))
    )
    elsewhere.__module__ = "somewhere.else"
    save(file, m=Chain(Mine(Dense(10, 5), 3.0), shout).layers)
    m, f = load(file, types=types(elsewhere))["m"]
    assert (type(m), m.scale, f) == (elsewhere, 3.0, shout)


def test_types_are_classes_and_functions(file):
    save(file, n=1)
    for wrong in (3, [3], {"Mine": 3}, {3: Mine}, (x for x in "ab")):
        with pytest.raises(TypeError, match="load: types"):
            load(file, types=wrong)
    twins = [type("Mine", (), {"__module__": m}) for m in ("a", "b")]
    save(file, m=Mine(Dense(2, 2), 1.0))
    with pytest.raises(TypeError, match="names 'test_saving.Mine'"):
        load(file, types=twins)


def test_objects_without_a_name_are_refused_with_their_place(file):
    class Local:
        pass

    save(file, kept=1)
    for thing, place in [
        ({"m": Chain(Dense(2, 2), lambda x: x)}, r"m\.layers\.1 is a lambda.*save_weights"),
        ({"m": [Local()]}, r"m\.0 is the local.*save_weights"),
        ({"m": {"k": object()}}, r"m\.k"),
        ({"m": 3j}, "m is a complex"),
        ({"m": [np]}, r"m\.0 is a module"),
        ({"m": Chain(partial(relu))}, r"m\.layers\.0 is a partial"),
        ({"m": [].append}, "m is the local list.append"),
        ({"m": Chain().append}, "m is a method"),
    ]:
        with pytest.raises(TypeError, match=place):
            save(file, **thing)
    loop = []
    loop.append(loop)
    with pytest.raises(TypeError, match="contains itself"):
        save(file, loop=loop)
    assert load(file) == {"kept": 1}


def test_objects_that_load_would_refuse_are_not_saved(file):
    save(file, kept=1)
    named, wrong, odd, shadowed = Dense(2, 2), Dense(2, 2), Dense(2, 2), Chain(relu)
    named.name = "encoder"
    wrong.b = 0.0
    vars(odd)["__wrapped__"] = 1
    shadowed.append = 3
    short = ADAM(params(named))
    short.state = short.state[1:]
    for thing, message in [
        (wrong, "m.0 could not be loaded: Dense.b is a float"),
        (odd, "a field called '__wrapped__'"),
        (shadowed, "a method of that name"),
        (short, "the state does not fit"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            save(file, m=[thing])
    assert load(file) == {"kept": 1}
    assert roundtrip(file, named).name == "encoder"


def test_weights_alone_are_a_plain_file_for_any_reader(file):
    m = Chain(Dense(10, 5), Dense(5, 2))
    save_weights(file, m)
    foreign = pytest.importorskip("safetensors.numpy").load_file(str(file))
    assert sorted(foreign) == ["layers.0.W", "layers.0.b", "layers.1.W", "layers.1.b"]
    np.testing.assert_array_equal(foreign["layers.0.W"], m[0].W)
    n = Chain(Dense(10, 5), Dense(5, 2))
    load_weights(file, n)
    np.testing.assert_array_equal(n(x), m(x))


def test_weights_of_a_foreign_writer(file):
    writer = pytest.importorskip("safetensors.numpy")
    d = Dense(3, 2)
    writer.save_file({"W": np.ones((2, 3), "float16"), "b": np.ones(2)}, str(file))
    load_weights(file, d)
    np.testing.assert_array_equal(d([1, 1, 1]), [4, 4])
    assert d.W.dtype == "float32"


def test_a_model_file_is_one_that_foreign_readers_open(file):
    save(file, model=Dense(3, 2), σs=np.ones(2))
    foreign = pytest.importorskip("safetensors.numpy").load_file(str(file))
    assert set(foreign) == {"model.W", "model.b", "σs"}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Dense(3, 4), r"W is \(4, 3\), got \(2, 3\)"),
        (Diagonal(2), "α is missing; β is missing; W is not in the model; b is not in the model"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(file, other, message):
    save_weights(file, Dense(3, 2))
    before = [np.array(p) for p in params(other)]
    with pytest.raises((ValueError, DimensionMismatch), match=message):
        load_weights(file, other)
    for p, q in zip(params(other), before, strict=True):
        np.testing.assert_array_equal(p, q)


def test_an_interrupted_save_leaves_the_old_file(file, monkeypatch):
    save(file, n=1)

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space"):
        save(file, n=2)
    monkeypatch.undo()
    assert load(file) == {"n": 1}
    assert os.listdir(file.parent) == [file.name]


def test_a_file_that_is_not_there(file):
    with pytest.raises(FileNotFoundError):
        load(file)


def raw(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(**kw):
    return {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **kw}


def model(nodes, names=None, version=1):
    head = {"version": version, "names": names or {"m": {"node": 0}}, "nodes": nodes}
    return raw({"__metadata__": {"fluxrs": json.dumps(head)}})


DAMAGED = {
    "empty": b"",
    "short": b"1234",
    "text": b"this is no model, it is a text of some length",
    "header past the end": struct.pack("<Q", 1000) + b"{}",
    "huge header": struct.pack("<Q", 2**63) + b"{}",
    "no json": raw(b"{nonsense"),
    "not utf-8": raw(b'{"\xff": 1}'),
    "a list": raw([1]),
    "deep": raw(b"[" * 100_000 + b"]" * 100_000),
    "truncated body": raw({"a": entry()}, b"12"),
    "trailing bytes": raw({"a": entry()}, b"12345678"),
    "a hole": raw({"a": entry(data_offsets=[4, 8])}, b"12345678"),
    "overlap": raw({"a": entry(), "b": entry()}, b"1234"),
    "wrong length": raw({"a": entry(shape=[2])}, b"1234"),
    "negative": raw({"a": entry(shape=[-1], data_offsets=[0, -4])}, b"1234"),
    "overflow": raw({"a": entry(shape=[2**62, 4])}, b"1234"),
    "bool shape": raw({"a": entry(shape=[True])}, b"1234"),
    "dtype": raw({"a": entry(dtype="C64")}, b"1234"),
    "missing": raw({"a": {"dtype": "F32"}}, b"1234"),
    "twice": raw(b'{"a": 1, "a": 2}'),
    "metadata": raw({"__metadata__": {"fluxrs": 3}}),
    "version": model([{"list": []}], version=99),
    "no nodes": model([]),
    "unknown node": model([{"pickle": "cos\nsystem"}]),
    "forward reference": model([{"list": [{"node": 1}]}, {"list": []}]),
    "negative reference": model([{"list": []}, {"list": [{"node": -1}]}]),
    "unknown array": model([{"param": "W"}]),
    "bad float": model([{"float": "__import__('os')"}]),
    "function as class": model([{"object": "fluxrs.relu", "fields": {}}]),
    "dunder": model([{"object": "fluxrs.Dense", "fields": {"__class__": 3}}]),
    "Dense without W": model([{"object": "fluxrs.Dense", "fields": {"b": 1, "σ": 2}}]),
    "BatchNorm without all": model([{"object": "fluxrs.BatchNorm", "fields": {}}]),
    "Chain without layers": model([{"object": "fluxrs.Chain", "fields": {}}]),
    "SGD without state": model([{"object": "fluxrs.SGD", "fields": {"params": 1, "t": 0}}]),
    "empty node": model([{}]),
    "unhashable": model([{"list": []}, {"dict": [[{"node": 0}, 1]]}], {"m": {"node": 1}}),
    "a key twice": model([{"dict": [["k", 1], ["k", 2]]}]),
    "a list as text": model([{"list": "ab"}]),
    "a dict as text": model([{"dict": ["ab"]}]),
    "not a number": raw(b'{"__metadata__": {"fluxrs": "{\\"version\\": NaN}"}}'),
    "nodes as text": model("ab"),
    "a method overwritten": model(
        [{"list": []}, {"object": "fluxrs.Chain", "fields": {"layers": {"node": 0}, "append": 3}}],
        {"m": {"node": 1}},
    ),
    "layers that are numbers": model(
        [{"list": [1, 2]}, {"object": "fluxrs.Chain", "fields": {"layers": {"node": 0}}}],
        {"m": {"node": 1}},
    ),
    "text for a number": model(
        [{"object": "fluxrs.Dropout", "fields": {"p": "1", "active": True}}]
    ),
    "a number for a mode": model([{"object": "fluxrs.Dropout", "fields": {"p": 1, "active": 0.5}}]),
    "no probability": model([{"object": "fluxrs.Dropout", "fields": {"p": 7, "active": True}}]),
    "weights that are numbers": model(
        [{"object": "fluxrs.Dense", "fields": {"W": 1, "b": 2, "σ": 3}}]
    ),
    "no checksum": model([{"list": []}], version=2),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_and_hostile_files(file, content):
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load(file)


def test_a_layer_without_its_weights(file):
    file.write_bytes(DAMAGED["Dense without W"])
    with pytest.raises(ValueError, match="damaged: a Dense without W$"):
        load(file)


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "fluxrs.load", "fluxrs.saving.save"]
)
def test_a_file_cannot_name_what_load_does_not_know(file, name):
    file.write_bytes(model([{"function": name}]))
    with pytest.raises(TypeError, match="types="):
        load(file)


def test_every_truncation_is_noticed(file):
    save(file, model=Dense(3, 2), epoch=7)
    whole = file.read_bytes()
    for n in range(0, len(whole), 7):
        file.write_bytes(whole[:n])
        with pytest.raises(ValueError, match="damaged"):
            load(file)


def test_loading_a_file_of_weights_as_a_model_says_so(file):
    save_weights(file, Dense(3, 2))
    with pytest.raises(ValueError, match="load_weights"):
        load(file)


def test_an_untracked_tensor_stays_untracked(file):
    t = roundtrip(file, (fluxrs.tensor([1.0]), param([2.0])))
    assert [fluxrs.istracked(i) for i in t] == [False, True]
