"""Check the types of what users write: every page, every example, and two files of their own.

    python tools/typecheck.py

mypy --strict and pyright (basedpyright, whose wheel has all it needs) must find nothing in examples/ and in
tests/types/right.py, and in tests/types/wrong.py exactly the lines that end in `# wrong`. In the pages' functions
arguments have no types, as the pages have them; the rules about that are off there, and no other.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
RIGHT = ROOT / "tests" / "types" / "right.py"
WRONG = ROOT / "tests" / "types" / "wrong.py"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# Reports that follow from an unannotated function; an expression alone on a line shows its value, and a page names its
# things as the formulas do, again and again.
UNANNOTATED = [
    "reportUnknownArgumentType", "reportUnknownLambdaType", "reportUnknownMemberType",
    "reportUnknownParameterType", "reportUnknownVariableType", "reportMissingParameterType",
    "reportMissingTypeArgument", "reportUnusedExpression", "reportRedeclaration",
    "reportConstantRedefinition", "reportPossiblyUnboundVariable", "reportMissingTypeStubs",
]  # fmt: skip
PAGE_HEAD = f"# pyright: strict, {', '.join(f'{rule}=false' for rule in UNANNOTATED)}\n"
PAGE_FLAGS = ["--allow-untyped-defs", "--allow-untyped-calls", "--allow-redefinition"]


def code(page: Path) -> str:
    """The program that a page's blocks are together, its lines where they were."""
    text = page.read_text("utf-8")
    lines = [""] * (text.count("\n") + 1)
    for m in re.finditer(r"^```python\n(.*?)^```$", text, flags=re.M | re.S):
        start = text[: m.start(1)].count("\n")
        block = m.group(1).splitlines()
        if ">>>" in m.group(1):  # what raises is wrong on purpose
            prompts = [
                re.sub(r"^(>>>|\.\.\.) ?", "", s) if s[:3] in (">>>", "...") else "" for s in block
            ]
            block = [] if "Traceback" in m.group(1) else prompts
        lines[start : start + len(block)] = block
    return PAGE_HEAD + "\n".join(lines[1:]) + "\n"  # the first line of a page is its title


Found = set[tuple[str, int, str]]


def mypy(files: list[Path], *flags: str) -> Found:
    """Where mypy finds an error: file, line, message."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-pretty",
        "--no-error-summary",
        "--config-file=",
    ]
    command += [
        "--ignore-missing-imports",
        "--cache-dir",
        str(ROOT / ".mypy_cache" / "types"),
        *flags,
    ]
    env = {**os.environ, "MYPYPATH": str(ROOT / "python")}
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, env=env)
    if done.returncode > 1:
        sys.exit(done.stdout + done.stderr)
    errors = re.findall(r"^(.+?):(\d+): error: (.*)$", done.stdout, flags=re.M)
    return {(str(Path(f).resolve()), int(line), message) for f, line, message in errors}


def pyright(files: list[Path], folder: Path) -> Found:
    """Where pyright finds an error."""
    config = folder / "pyrightconfig.json"
    settings = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.10",
        "include": list(map(str, files)),
    }
    config.write_text(json.dumps({**settings, "reportMissingTypeStubs": False}))
    command = [sys.executable, "-m", "basedpyright", "-p", str(config), "--outputjson"]
    command += ["--pythonpath", sys.executable]
    # The package is looked for among the installed ones, where what is not exported is private.
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder)
    try:
        said = json.loads(done.stdout)["generalDiagnostics"]
    except ValueError:
        sys.exit(done.stdout + done.stderr)
    return {
        (
            str(Path(d["file"]).resolve()),
            d["range"]["start"]["line"] + 1,
            d["message"].splitlines()[0],
        )
        for d in said
        if d["severity"] == "error"
    }


def unexpected(found: Found) -> Iterator[str]:
    """Errors where there are none, and none where there are some."""
    lines = WRONG.read_text("utf-8").splitlines()
    wanted = {i for i, line in enumerate(lines, 1) if line.endswith("# wrong")}
    for file, line, message in sorted(found):
        if file != str(WRONG) or line not in wanted:
            yield f"{file}:{line}: {message}"
    for line in sorted(wanted - {line for file, line, _ in found if file == str(WRONG)}):
        yield f"{WRONG}:{line}: no error is found in {lines[line - 1].strip()}"


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve()
        pages = []
        for page in PAGES:
            pages.append(folder / f"{page.parent.name}_{page.stem}.py".replace("-", "_"))
            pages[-1].write_text(code(page), "utf-8")
        examples = []
        for example in EXAMPLES:  # scikit-learn and matplotlib have no types, or some
            examples.append(folder / example.name)
            examples[-1].write_text(example.read_text("utf-8") + PAGE_HEAD, "utf-8")
        strict = [*EXAMPLES, RIGHT, WRONG]
        found = {
            "mypy": mypy(strict) | mypy(pages, *PAGE_FLAGS),
            "pyright": pyright([RIGHT, WRONG, *examples, *pages], folder),
        }
        faults = [f"{name}: {fault}" for name, f in found.items() for fault in unexpected(f)]
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(pages)} pages, {len(strict)} files: mypy and pyright find what they should")


if __name__ == "__main__":
    main()
