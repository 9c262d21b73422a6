"""Make the benchmark's environment: PyTorch and JAX beside fluxrs, away from the development one.

PyTorch's Linux wheel loads its CUDA libraries even where there is no GPU, and the registry has no smaller
one: some 6 GB on disk. Nothing is done if the folder already has what this file asks for.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = ["numpy", "tqdm", "matplotlib", "torch", "jax[cpu]"]


def main(folder: str) -> None:
    stamp = Path(folder) / "packages.txt"
    wanted = "\n".join(PACKAGES)
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return
    venv.create(folder, with_pip=True)
    python = Path(folder) / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    print(f"installing {', '.join(PACKAGES)} in {folder}", flush=True)
    subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    stamp.write_text(wanted, "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
