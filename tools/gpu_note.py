"""Say, after the tests, whether the GPU's part of them ran: a skip must not look like a pass."""

from __future__ import annotations

import fluxrs

found = [str(device) for device in fluxrs.devices() if str(device).startswith("gpu")]
if found:
    print(f"GPU part of the tests: run on {', '.join(found)}")
else:
    print(
        "GPU part of the tests: NOT RUN. No Vulkan, Metal or DX12 driver was found.\n"
        "  A software driver will do: as root on Debian or Ubuntu .ci/install-lavapipe, then\n"
        "  FLUXRS_GPU=cpu make test"
    )
