"""A file replaced as a whole: a kill at any moment leaves the old one or the new one."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

if sys.platform == "win32":
    fcntl = None
else:
    import fcntl

CHUNK = 1 << 24  # bytes between two looks at Ctrl-C


@contextlib.contextmanager
def replacing(path: Any) -> Iterator[BinaryIO]:
    """A new file beside `path`, which takes its place once the block has ended well.

    Links, permissions and, where allowed, the owner stay. What killed saves have left is removed.
    """
    target = os.path.realpath(os.fsdecode(path))
    old = _status(target)
    temporary = f"{_prefix(target)}{os.urandom(8).hex()}.tmp"
    try:
        with _create(temporary, 0o600 if old else 0o666) as file:
            yield file
            if old:
                _keep(file, temporary, old)
            file.flush()
            os.fsync(file.fileno())
            if fcntl:  # while the lock is held, lest another save takes it for left over
                _publish(temporary, target, old)
        if not fcntl:  # Windows renames closed files only
            _publish(temporary, target, old)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
    for name in leftovers(target):
        _remove_unused(name)


def leftovers(path: Any) -> list[str]:
    """The temporary files of saves to `path` that still run or were killed."""
    prefix = _prefix(os.path.realpath(os.fsdecode(path)))
    folder, start = os.path.split(prefix)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [e.path for e in entries if e.name.startswith(start) and e.name.endswith(".tmp")]
    return []


def _prefix(target: str) -> str:
    """The prefix of a target's temporary files; short, however long its own name is."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".fluxrs-{zlib.crc32(os.fsencode(name)):08x}-")


def _status(target: str) -> os.stat_result | None:
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(old.st_mode):
        raise OSError(f"{target} is no regular file; nothing was written")
    return old


def _create(name: str, mode: int) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(name, flags, mode), "wb")
    if fcntl:
        with contextlib.suppress(OSError):  # not every network drive has locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def _keep(file: BinaryIO, name: str, old: os.stat_result) -> None:
    """Give the new file the old one's owner and permissions."""
    if hasattr(os, "fchown"):
        with contextlib.suppress(OSError):
            os.fchown(file.fileno(), old.st_uid, old.st_gid)
    os.chmod(name, stat.S_IMODE(old.st_mode))


def _publish(temporary: str, target: str, old: os.stat_result | None) -> None:
    if old and old.st_nlink > 1:
        # Other names lead to the file, which a rename would cut off. It is written through; until
        # that is done the temporary file, whole and synced, is the one to take after a kill.
        with open(temporary, "rb") as source, open(target, "r+b") as file:
            while part := source.read(CHUNK):
                file.write(part)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        os.remove(temporary)
        return
    os.replace(temporary, target)
    if hasattr(os, "O_DIRECTORY"):
        # The new name is on the disk only when the folder is.
        with contextlib.suppress(OSError):
            folder = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _remove_unused(name: str) -> None:
    """Remove a temporary file unless a save still writes it; a kill releases its lock."""
    with contextlib.suppress(OSError), open(name, "rb") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.remove(name)
    if not fcntl:
        with contextlib.suppress(OSError):  # Windows does not remove what is open
            os.remove(name)
