"""Settings of every test."""

import os
import signal

import pytest

from fluxrs import _core


def pytest_sessionstart():
    # Without this a driver that is not there would look like success: its tests are skipped.
    if os.environ.get("FLUXRS_REQUIRE_GPU", "0") != "0" and not _core.has_gpu():
        pytest.exit("FLUXRS_REQUIRE_GPU is set, and there is no GPU that can be used", returncode=1)


@pytest.fixture(autouse=True, scope="session")
def signals_heard():
    """A process started in the background ignores SIGINT, and its children with it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
