"""The examples do what they say."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_digits(tmp_path, capsys):
    for module in ("sklearn", "matplotlib"):
        pytest.importorskip(module)
    spec = importlib.util.spec_from_file_location("digits", EXAMPLES / "digits.py")
    digits = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(digits)
    accuracies = digits.main(["--out", str(tmp_path)])
    assert len(accuracies) == 3
    assert min(accuracies) >= 0.97
    shown = capsys.readouterr()
    assert "predicts the same" in shown.out
    assert "epoch" in shown.err
    for file in ("digits.safetensors", "digits.png"):
        assert str(tmp_path / file) in shown.out
        assert (tmp_path / file).stat().st_size > 1000
