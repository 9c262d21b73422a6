"""Where the files of data sets are, and how they come there."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..typing import PathLike

CHUNK = 1 << 16
ATTEMPTS = 3  # for one address, as long as each brings something
TIMEOUT = 30.0  # seconds without a byte


@dataclass(frozen=True)
class File:
    """A published file: its name, its addresses, and what it is known by.

    `also` are other names under which it may lie in a folder. A file without a known digest has a `check`,
    which raises ValueError for another one.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str | None = None
    size: int | None = None
    also: tuple[str, ...] = ()
    check: Callable[[Path], object] | None = None
    most: int = 1 << 30


def folder_of(folder: PathLike | None = None) -> Path:
    """`folder`, else FLUXRS_DATA, else the user's cache folder: what holds a folder for each data set."""
    if folder is not None:
        return Path(os.fsdecode(folder)).expanduser()
    if named := os.environ.get("FLUXRS_DATA"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        cache = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        cache = "~/Library/Caches"
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "fluxrs"


def find(dataset: str, file: File, folder: PathLike | None = None) -> Path:
    """The path of a data set's file, which is downloaded unless it is there."""
    base = folder_of(folder)
    for place in (base / dataset, base):
        for name in (file.name, *file.also):
            if (place / name).is_file():
                return place / name
    target = base / dataset / file.name
    failures = []
    for url in file.urls:
        try:
            _download(dataset, file, url, target)
            return target
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {error}")
            cause = error
    raise OSError(
        f"{dataset}: {file.name} is not in {target.parent}, and it could not be downloaded: {'; '.join(failures)}. "
        f"Put it there by other means, or say where it is: folder=…, or the environment variable FLUXRS_DATA"
    ) from cause


def _download(dataset: str, file: File, url: str, target: Path) -> None:
    """To a file beside the target, which becomes the target once it is whole and the published one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with _alone(part) as out:
        if target.is_file():  # another process had it
            return
        resumed = out.seek(0, os.SEEK_END) > 0
        while True:
            _fetch(file, url, out, f"{dataset}/{file.name}")
            try:
                _verify(file, part)
                break
            except ValueError:
                out.truncate(0)
                if not resumed:  # else its beginning may have been of another file
                    raise
                resumed = False
        os.fsync(out.fileno())
        if sys.platform == "win32":  # which renames closed files only
            out.close()
        os.replace(part, target)


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[IO[bytes]]:
    """The file of a download, opened to go on; another process that has it is waited for."""
    while True:
        out = open(part, "a+b")  # noqa: SIM115
        if sys.platform == "win32" or _locked(out, part):
            break
        out.close()
    try:
        yield out
    finally:
        if not out.closed:
            if out.seek(0, os.SEEK_END) == 0:
                with contextlib.suppress(OSError):  # Windows does not remove what is open
                    part.unlink()
            out.close()


def _locked(out: IO[bytes], part: Path) -> bool:
    """True once the file is ours; False if it has become another meanwhile."""
    import fcntl

    with contextlib.suppress(OSError):  # not every network drive has locks
        fcntl.flock(out, fcntl.LOCK_EX)
    with contextlib.suppress(OSError):
        return os.path.samestat(os.fstat(out.fileno()), part.stat())
    return False


def _fetch(file: File, url: str, out: IO[bytes], title: str) -> None:
    """Bring the rest of the file."""
    from http.client import HTTPException

    for attempt in range(1, ATTEMPTS + 1):
        start = out.seek(0, os.SEEK_END)
        try:
            _receive(file, url, out, title)
            return
        except (OSError, HTTPException) as error:
            got = out.seek(0, os.SEEK_END)
            refused = getattr(error, "code", None) is not None
            if refused or got == start or attempt == ATTEMPTS:
                kept = f"; the {got} bytes that came are kept, and the next call goes on from there"
                raise OSError(f"{_said(error)}{kept if got else ''}") from error


def _receive(file: File, url: str, out: IO[bytes], title: str) -> None:
    from tqdm import tqdm

    start = out.seek(0, os.SEEK_END)
    if start and start == file.size:
        return
    with _open(url, start) as reply:
        if start and reply.status != 206:  # the server begins anew
            out.truncate(0)
            start = 0
        length = reply.headers.get("Content-Length")
        total = start + int(length) if length is not None and length.isdigit() else None
        wanted = file.size if file.size is not None else total
        if total is not None and wanted != total:
            out.truncate(0)
            raise ValueError(f"it has {total} bytes, the published file {file.size}")
        most = file.most if wanted is None else wanted
        if most > file.most:
            raise ValueError(f"it has {most} bytes, more than the {file.most} that are taken")
        got = start
        with tqdm(
            total=wanted,
            initial=start,
            desc=title,
            unit="B",
            unit_scale=True,
            disable=None,
            leave=False,
        ) as bar:
            while block := reply.read(CHUNK):
                got += len(block)
                if got > most:
                    out.truncate(0)
                    raise ValueError(f"it goes on past {most} bytes")
                out.write(block)
                bar.update(len(block))
        out.flush()
    if wanted is not None and got < wanted:
        raise ConnectionError(f"the connection ended after {got} of {wanted} bytes")


def _open(url: str, start: int) -> Any:
    """The server's answer; over HTTPS also after a redirection, but for this machine itself."""
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Redirects(HTTPRedirectHandler):
        def redirect_request(
            self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, to: str
        ) -> Any:
            _check_address(to)
            return super().redirect_request(req, fp, code, msg, headers, to)

    _check_address(url)
    headers = {"User-Agent": "fluxrs", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    opener = build_opener(Redirects)
    try:
        reply = opener.open(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416:  # what is there already is all, or more than that
            raise
        error.close()
        return _open(url, 0)
    begins = (reply.headers.get("Content-Range") or "").strip().partition("-")[0]
    if reply.status == 206 and begins != f"bytes {start}":
        reply.close()
        return _open(url, 0)
    return reply


def _check_address(url: str) -> None:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError(f"{url} is no address of HTTPS")


def _said(error: BaseException) -> str:
    """An error in words: urllib hides the reason, and some have none."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _said(reason)
    return str(error) or type(error).__name__


def _verify(file: File, path: Path) -> None:
    """Raise ValueError for another file than the published one."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise ValueError(f"it has {size} bytes, the published file {file.size}")
    if file.sha256 is not None:
        digest = sha256(path)
        if digest != file.sha256:
            raise ValueError(f"its SHA-256 is {digest}, that of the published file {file.sha256}")
    if file.check is not None:
        file.check(path)


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    import hashlib

    digest = hashlib.sha256()
    with open(path, "rb") as source:
        while block := source.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
