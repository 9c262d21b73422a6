"""Write THIRD-PARTY-LICENSES: the licences of all Rust crates that a wheel has in it, on any platform.

python tools/licences.py            write the file
python tools/licences.py --check    write nothing: fail if it is not what Cargo.lock says

The texts come from the crates' sources. A crate whose source has none is given the text of the licence that it
names, with its authors.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "THIRD-PARTY-LICENSES"
MODULE = "fluxrs-python"
NAMES = re.compile(r"(un)?licen[cs]e|copying|copyright|notice", re.IGNORECASE)

HEAD = """\
fluxrs is distributed under the MIT licence, in the file LICENSE. Its wheels have the Rust standard library in
them, which is MIT OR Apache-2.0, and the crates that are listed here, each under the licence beside it; the texts
follow. Written by tools/licences.py.
"""

MIT = """\
MIT License

Copyright (c) {authors}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation
the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and
to permit persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of
the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO
THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS
IN THE SOFTWARE."""


def linked() -> list[dict[str, Any]]:
    """The crates that the native module is made of, in alphabetical order, without our own."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    metadata = json.loads(done.stdout)
    packages = {p["id"]: p for p in metadata["packages"]}
    nodes = {n["id"]: n for n in metadata["resolve"]["nodes"]}
    pending = [i for i, p in packages.items() if p["name"] == MODULE]
    seen: set[str] = set()
    while pending:
        crate = pending.pop()
        # A crate that only runs while compiling leaves nothing in the wheel.
        macro = any("proc-macro" in t["kind"] for t in packages[crate]["targets"])
        if crate in seen or macro:
            continue
        seen.add(crate)
        for d in nodes[crate]["deps"]:
            if any(k["kind"] is None for k in d["dep_kinds"]):
                pending.append(d["pkg"])
    ours = set(metadata["workspace_members"])
    return sorted((packages[i] for i in seen - ours), key=lambda p: (p["name"], p["version"]))


def texts(crate: dict[str, Any]) -> list[str]:
    """The licence texts in a crate's source."""
    folder = Path(crate["manifest_path"]).parent
    files = [f for f in sorted(folder.rglob("*")) if f.is_file() and NAMES.match(f.name)]
    plain = [f for f in files if f.suffix.lower() in ("", ".md", ".txt") or "-" in f.suffix]
    found = [f.read_text("utf-8", "replace") for f in plain]
    return ["\n".join(line.rstrip() for line in t.strip().splitlines()) for t in found]


def standard(crate: dict[str, Any], known: list[str]) -> str:
    """The text of the licence that a crate names without having it."""
    if "MIT" in crate["license"]:
        authors = [re.sub(r" <.*>", "", a) for a in crate["authors"]]
        return MIT.format(authors=", ".join(authors) or f"the authors of {crate['name']}")
    apache = [t for t in known if re.match(r"\s*Apache License\s+Version 2.0", t)]
    if crate["license"] != "Apache-2.0" or not apache:
        sys.exit(f"{crate['name']} has no licence text in its source, and is {crate['license']}")
    return apache[0]


def document(crates: list[dict[str, Any]]) -> str:
    """The whole file: every crate with its licence, then each text once, with its crates."""
    found = {f"{c['name']} {c['version']}": texts(c) for c in crates}
    known = [text for given in found.values() for text in given]
    for c in crates:
        name = f"{c['name']} {c['version']}"
        found[name] = found[name] or [standard(c, known)]
    users: dict[str, list[str]] = {}
    for name, given in found.items():
        for text in dict.fromkeys(given):
            users.setdefault(text, []).append(name)
    lines = [f"    {c['name']} {c['version']}: {c['license']}" for c in crates]
    parts = [HEAD, "\n".join(lines) + "\n"]
    for text, names in users.items():
        parts.append(f"{'=' * 100}\n{', '.join(names)}\n{'=' * 100}\n\n{text}\n")
    return "\n".join(parts)


def main(check: bool) -> None:
    text = document(linked())
    if not check:
        FILE.write_text(text, "utf-8")
        print(f"wrote {FILE.name}, {len(text) / 1000:.0f} kB")
    elif not FILE.exists() or FILE.read_text("utf-8") != text:
        sys.exit(f"{FILE.name} is not what Cargo.lock says: run `make docs`")


if __name__ == "__main__":
    main("--check" in sys.argv[1:])
