"""Files changed at random: each loads, or is refused with an error of ours, in little time and memory.

FLUXRS_FUZZ_SECONDS sets how long, FLUXRS_FUZZ_SEED where it begins. The files are read in a child
process, whose end would be the finding.
"""

import copy
import json
import os
import random
import struct
import subprocess
import sys

import pytest

import fluxrs
from fluxrs import (
    ADAM,
    BatchNorm,
    Chain,
    Dense,
    Dropout,
    LayerNorm,
    onehotbatch,
    params,
    relu,
    save,
)
from fluxrs.safetensors import CHECKSUM, METADATA

SECONDS = float(os.environ.get("FLUXRS_FUZZ_SECONDS", 3))
SEED = int(os.environ.get("FLUXRS_FUZZ_SEED", random.SystemRandom().randrange(2**32)))

ODD = [
    None, True, -1, 0, 1, 2**31, 2**63 - 1, 2**63, 10**400, 0.5, 1e308, "", "a", "fluxrs.Dense", "W",
    "\ud800", [], [0], {}, {"node": 0}, {"node": 1}, {"node": 10**6}, [[0, 1]], [[{"node": 0}, 1]],
    {"list": []}, {"tuple": [{"node": 0}, {"node": 0}]}, {"param": "W"}, {"function": "fluxrs.relu"},
    {"object": "fluxrs.Chain", "fields": {"layers": {"node": 0}}}, {"float": "nan"},
]  # fmt: skip


def originals(folder):
    """Files of all that can be in one."""
    m = Chain(Dense(2, 3, relu), BatchNorm(3), Dropout(0.5), LayerNorm(3), fluxrs.softmax)
    things = [
        {"m": m, "opt": ADAM(params(m))},
        {"y": onehotbatch("ab", "ab"), "keys": {(1, (2, 3)): "a", 2.5: None, "k": [1, (), {}]}},
        {"f": float("nan"), "s": "text", "n": 2**70, "t": fluxrs.tensor([[1, 2]], "int64") == 1},
    ]
    for i, saved in enumerate(things):
        save(folder / f"{i}", **saved)
    return [(folder / f"{i}").read_bytes() for i in range(len(things))]


def places(x):
    """Every container and key in a JSON value."""
    found = []
    for k in list(x) if isinstance(x, dict) else range(len(x)):
        found.append((x, k))
        if isinstance(x[k], (dict, list)):
            found += places(x[k])
    return found


def change(rng, x):
    """A JSON value with one thing in it replaced, removed, renamed, doubled or moved."""
    found = places(x)
    if not found:
        return
    (box, k), (other, j) = rng.choice(found), rng.choice(found)
    match rng.randrange(5):
        case 0:
            box[k] = rng.choice(ODD)
        case 1:
            del box[k]
        case 2:
            box[k] = copy.deepcopy(other[j])
        case 3 if isinstance(box, dict):
            box[rng.choice(["fields", "dtype", "W", "layers", "__class__", "node"])] = box.pop(k)
        case _ if isinstance(box, list):
            box.insert(k, copy.deepcopy(other[j]))


def altered(rng, whole):
    """A file whose header still is one, and whose checksum is right or missing."""
    (n,) = struct.unpack("<Q", whole[:8])
    header, body = json.loads(whole[8 : 8 + n]), whole[8 + n :]
    inner = json.loads(header[METADATA]["fluxrs"])
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        change(rng, rng.choice([inner, inner, inner, header]))
    meta = header.get(METADATA)
    if isinstance(meta, dict):
        meta["fluxrs"] = json.dumps(inner)
        meta.pop(CHECKSUM, None)
        if inner.get("version") == 2:
            inner["version"] = 1
            meta["fluxrs"] = json.dumps(inner)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def scrambled(rng, whole):
    """A file with some of its bytes changed, lost or repeated."""
    data = bytearray(whole)
    for _ in range(rng.choice([1, 2, 10])):
        i, j = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        match rng.randrange(4):
            case 0 if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
            case 1:
                del data[i : min(j, i + 20)]
            case 2:
                data[i:i] = data[j : j + 20]
            case _:
                data[i : i + 8] = struct.pack("<Q", rng.choice([0, 1, 2**31, 2**63, 2**64 - 1]))
    return bytes(data)


def attack(seed, seconds, folder):
    """Read files until the time is over; every error but ours ends it."""
    import signal
    import time
    import tracemalloc
    from pathlib import Path

    whole, path = originals(Path(folder)), Path(folder) / "file"
    tracemalloc.start()
    end, count, loaded = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        rng = random.Random(seed + count)
        count += 1
        content = rng.choice([altered, altered, scrambled])(rng, rng.choice(whole))
        path.write_bytes(content)
        print(f"FLUXRS_FUZZ_SEED={seed + count - 1}", file=sys.stderr)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        signal.alarm(10)
        try:
            things = fluxrs.load(path)
            loaded += 1
            params(things)
            fluxrs.mapleaves(lambda leaf: leaf, things)
        except ValueError as error:
            assert path.name in str(error), error
        except TypeError as error:
            assert "types=" in str(error), error
        peak = tracemalloc.get_traced_memory()[1] - before
        assert peak < 100 * len(content) + 1e6, (peak, len(content))
    print(count, loaded)


@pytest.mark.skipif(os.name != "posix", reason="the alarm of Unix")
@pytest.mark.timeout(0)
def test_files_changed_at_random(tmp_path):
    done = subprocess.run(
        [sys.executable, __file__, str(SEED), str(SECONDS), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=SECONDS + 60,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    count, loaded = map(int, done.stdout.split())
    assert count > 20
    assert loaded > 0


if __name__ == "__main__":
    attack(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
