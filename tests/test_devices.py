"""gpu and cpu on tensors, models, optimisers and nests of them; machines without a GPU."""

import os
import subprocess
import sys

import numpy as np
import pytest

import fluxrs
from fluxrs import (
    ADAM,
    Chain,
    Dense,
    Dropout,
    cpu,
    gpu,
    logitcrossentropy,
    onehotbatch,
    params,
    relu,
    train,
)

HAS_GPU = fluxrs._core.has_gpu()
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="no GPU")


def parts():
    fluxrs.seed(0)
    m = Chain(Dense(4, 8, relu), Dropout(0.1), Dense(8, 3))
    return m, ADAM(params(m), 0.01)


def test_devices_are_listed():
    found = fluxrs.devices()
    assert found[0] == "cpu"
    assert any(name.startswith("gpu") for name in found) == HAS_GPU


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_without_a_gpu_everything_stays_itself():
    m, opt = parts()
    assert gpu(m) is m
    assert gpu((m, opt))[1] is opt


WITHOUT = """
import fluxrs
from fluxrs import ADAM, Dense, gpu, params
x, m = fluxrs.ones(3), Dense(3, 2)
opt = ADAM(params(m))
assert gpu(x) is x
assert all(a is b for a, b in zip(gpu((m, opt)), (m, opt)))
try:
    x.to("gpu")
except fluxrs.DeviceError as e:
    assert "no GPU: " in str(e), e
else:
    raise AssertionError("a GPU was found")
print(*fluxrs.devices(), sep="\\n")
"""


def devices_in(**variables):
    """The entries of `devices()` in a process of its own, where `gpu` must give back its input."""
    environment = {k: v for k, v in os.environ.items() if k != "FLUXRS_GPU"} | variables
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return result.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="the Vulkan loader is told so on Linux alone")
def test_without_a_driver():
    nowhere = {"VK_DRIVER_FILES": "/nowhere", "VK_ICD_FILENAMES": "/nowhere"}
    assert devices_in(**nowhere) == ["cpu"]
    assert devices_in(**nowhere, FLUXRS_GPU="cpu") == ["cpu"]


@pytest.mark.skipif(
    not HAS_GPU or ", cpu, " not in fluxrs.devices()[1], reason="no software driver alone"
)
def test_a_software_driver_is_refused_unless_asked_for():
    first, refused = devices_in()
    assert first == "cpu"
    assert refused.startswith("not used: ")
    assert "FLUXRS_GPU=cpu" in refused


def test_cpu_keeps_values_and_what_is_shared():
    m, opt = parts()
    n, opt2 = cpu((m, opt))
    assert opt2.params[0] is n[0].W
    np.testing.assert_array_equal(n[0].W, m[0].W)
    assert repr(n) == repr(m)


@needs_gpu
def test_training_there_and_back():
    m, opt = gpu(parts())
    x = np.random.default_rng(0).normal(size=(64, 4))
    labels = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)
    X, Y = gpu((x, onehotbatch(labels, range(3))))
    assert m[0].W.device != "cpu"
    assert X.dtype == "float32"
    train(lambda x, y: logitcrossentropy(m(x), y), fluxrs.batches(X, Y, 16), opt)
    train(lambda x, y: logitcrossentropy(m(x), y), [(X, Y)] * 200, opt)
    fluxrs.testmode(m)
    there = np.asarray(m(X))
    home = cpu(m)
    assert home[0].W.device == "cpu"
    np.testing.assert_allclose(home(x), there, rtol=1e-3, atol=1e-4)
    assert fluxrs.accuracy(there, labels) > 0.8
