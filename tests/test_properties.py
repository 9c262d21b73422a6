"""Properties of any input: batching, one-hot, trees and files."""

import os
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fluxrs import (
    batches,
    batchseq,
    chunk,
    frequencies,
    load,
    mapleaves,
    onecold,
    onehotbatch,
    save,
)

sequences = st.lists(st.integers(-100, 100), max_size=30)
numbers = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
)
keys = st.text(max_size=3) | st.integers()
trees = st.recursive(
    numbers,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)
dtypes = st.sampled_from(["f4", "f8", "i4", "i8", "?"])
# `make fuzz` asks for more, by seconds.
more = 15 * int(os.environ.get("FLUXRS_FUZZ_SECONDS", 0))
few = settings(max_examples=60 + more, deadline=None)


@few
@given(sequences, st.integers(1, 10))
def test_chunks_are_the_sequence(xs, n):
    parts = chunk(xs, n)
    assert [x for part in parts for x in part] == xs
    assert len(parts) <= n
    assert len({len(p) for p in parts[:-1]}) <= 1


@few
@given(sequences)
def test_frequencies_count_everything(xs):
    assert sum(frequencies(xs).values()) == len(xs)
    assert all(xs.count(x) == n for x, n in frequencies(xs).items())


@few
@given(st.lists(sequences.filter(bool), min_size=1, max_size=5))
def test_batchseq_keeps_the_sequences(xs):
    columns = np.array([b.tolist() for b in batchseq(xs, -1000)])
    assert columns.shape == (max(map(len, xs)), len(xs))
    for j, x in enumerate(xs):
        assert columns[: len(x), j].tolist() == x
        assert (columns[len(x) :, j] == -1000).all()


@few
@given(st.integers(1, 40), st.integers(1, 50))
def test_batches_are_a_permutation(n, size):
    x = np.arange(n)
    seen = [np.asarray(b) for b, _ in batches(x, x, size)]
    assert sorted(np.concatenate(seen)) == list(range(n))
    assert all(len(b) == size for b in seen[:-1])


@few
@given(st.lists(st.sampled_from("abcd"), max_size=20))
def test_onecold_undoes_onehot(labels):
    Y = onehotbatch(labels, "abcd")
    assert Y.shape == (len(labels), 4)
    if labels:
        assert onecold(Y, "abcd") == labels


@few
@given(trees)
def test_mapleaves_of_the_identity_is_an_equal_copy(tree):
    assert mapleaves(lambda x: x, tree) == tree


@few
@given(trees)
def test_any_tree_survives_a_file(tree):
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder, "tree"), tree=tree)
        assert load(Path(folder, "tree")) == {"tree": tree}


@few
@given(arrays.arrays(dtypes, arrays.array_shapes(min_dims=0, min_side=0, max_side=4)))
def test_any_array_survives_a_file(a):
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder, "a"), a=a)
        b = load(Path(folder, "a"))["a"]
    assert b.dtype == a.dtype
    np.testing.assert_array_equal(b, a)
