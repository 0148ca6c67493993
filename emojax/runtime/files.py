"""Files that are either whole or not there, and where caches lie."""

import contextlib
import errno
import hashlib
import os
import pathlib
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from typing import IO

import platformdirs

from emojax.errors import UserError
from emojax.runtime import locks, process

_LFS = b"version https://git-lfs.github.com/spec/"
_ANNEX = b"/annex/objects/"
# How pages begin that a server sends in the place of a file.
_PAGE = re.compile(rb"\s*<(!doctype|html|head|\?xml|error)\b", re.IGNORECASE)
# What a server says in plain words, such as "Entry not found".
_WORDS = re.compile(rb"[A-Za-z][\w .,:;'()/-]{3,200}\s*")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WORK = re.compile(r"(\..+\.[0-9a-f]{8})(\.lock)?")
# Some disks keep locks from other hosts: what was written to lately is alive.
_IDLE = 3600.0  # Seconds.
_CLOSED = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EROFS)


def cache_folder() -> pathlib.Path:
  """The user's own cache folder for emojax (features, demo, compilation).

  Raises a UserError where the user has no home (a container's bare number).
  """
  try:
    return pathlib.Path(platformdirs.user_cache_dir("emojax"))
  except RuntimeError as error:
    raise UserError(
      "this user has no home folder, where caches would be: set "
      "XDG_CACHE_HOME to a folder that takes them"
    ) from error


def stand_in(path: str | os.PathLike) -> str:
  """What was put in the place of a file, and the mend; '' if nothing was.

  A clone without git-lfs or git-annex has a line or three of text there, and a
  server that gives no file to strangers sends a page.
  """
  start = _start(path)
  if start.startswith(_LFS):
    return (
      "a Git LFS pointer, not the file itself: run git lfs pull in its "
      "repository, or download the file by itself"
    )
  if start.startswith(_ANNEX):
    return "a git-annex pointer, not the file itself: run git annex get"
  if _PAGE.match(start):
    return (
      "a page of a web site, not the file itself: download it again, logged in "
      "if the site asks for that"
    )
  return ""


def instead(path: str | os.PathLike) -> str:
  """What a download is that could not be parsed, and the mend; '' if not known.

  A `stand_in`, an empty file, or the words of a server that sent no file.
  """
  start = _start(path)
  if why := stand_in(path):
    return why
  if not start and os.path.isfile(path):
    return "an empty file; download it again"
  if len(start) < 256 and _WORDS.fullmatch(start):
    said = " ".join(start.decode("latin-1").split())[:80]
    return f"the words {said!r}, not the file itself: download it again"
  return ""


def _start(path: str | os.PathLike) -> bytes:
  """The first kilobyte of a file; nothing of one that can not be read."""
  try:
    with open(path, "rb") as file:
      return file.read(1024)
  except OSError:
    return b""


@contextlib.contextmanager
def whole(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Gives a temporary path to write to, then renames it to `path`.

  Whatever interrupts the writing (an error, a kill, a full disk), `path` keeps
  what it held before. Raises what `explained` does.
  """
  path = pathlib.Path(path)
  # Processes of several containers have one number.
  token = secrets.token_hex(4)
  temporary = path.with_name(f".{path.name}.{token}{path.suffix}")
  with explained(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with process.undone(lambda: temporary.unlink(missing_ok=True)):
      yield temporary
      os.replace(temporary, path)


@contextlib.contextmanager
def work_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives a new folder beside `path`; what is not moved out of it goes.

  So does what killed processes left of such folders there.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  _sweep_work(path.parent)
  # Not `mkdtemp`, whose folders are closed to the others who share a cache.
  work = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
  lock = locks.take(_lock_of(work), needed=True)

  def remove() -> None:
    shutil.rmtree(work, ignore_errors=True)
    if lock:
      locks.release(lock)
    else:  # On a disk without locks.
      _lock_of(work).unlink(missing_ok=True)

  with process.undone(remove):
    work.mkdir()
    yield work


def _lock_of(work: pathlib.Path) -> pathlib.Path:
  return work.with_name(f"{work.name}.lock")


def _sweep_work(folder: pathlib.Path) -> None:
  """Removes work folders that no living process makes."""
  found = (_WORK.fullmatch(path.name) for path in folder.iterdir())
  for name in {match[1] for match in found if match}:
    # Others may remove it meanwhile, or keep it to themselves.
    with contextlib.suppress(OSError):
      work = folder / name
      paths = (path for path in (work, *work.rglob("*")) if path.exists())
      latest = max((path.stat().st_mtime for path in paths), default=0.0)
      if time.time() - latest < _IDLE:
        continue
      if lock := locks.take(_lock_of(work), needed=True):
        shutil.rmtree(work, ignore_errors=True)
        locks.release(lock)


@contextlib.contextmanager
def whole_table(path: str | os.PathLike) -> Iterator[IO[str]]:
  """Gives a file to write the lines of a CSV to, which `whole` puts in place.

  Names of files may be any bytes: they come out as they went in.
  """
  text = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
  with whole(path) as temporary, open(temporary, "w", **text) as file:
    yield file


def sweep(folder: str | os.PathLike) -> None:
  """Removes what killed processes left of `whole`; no other may write here."""
  for path in pathlib.Path(folder).rglob(".*"):
    if re.fullmatch(r"\..+\.[0-9a-f]{8}(\.\w+)?", path.name) and path.is_file():
      path.unlink()


@contextlib.contextmanager
def explained(path: str | os.PathLike) -> Iterator[None]:
  """Raises a `UserError` where the disk is full, or does not take `path`."""
  elsewhere = "choose another folder"
  with contextlib.suppress(UserError):  # No home.
    if pathlib.Path(path).is_relative_to(cache_folder()):
      elsewhere = "set XDG_CACHE_HOME to a folder that takes caches"
  try:
    yield
  except OSError as error:
    if error.errno in _FULL:
      raise UserError(
        f"no room on the disk to write {path}: free some space and run the "
        f"same command again, or {elsewhere}"
      ) from error
    # A file system without files of its own, /proc, finds no new ones.
    is_unknown = error.errno == errno.ENOENT and str(error.filename).startswith(
      str(pathlib.Path(path).parent)
    )
    if error.errno in _CLOSED or is_unknown:
      raise UserError(
        f"{path} can not be written ({error.strerror}): {elsewhere}"
      ) from error
    raise


@contextlib.contextmanager
def readable(path: str | os.PathLike) -> Iterator[None]:
  """Raises a `UserError` where another user keeps what is at `path`."""
  try:
    yield
  except PermissionError as error:
    raise UserError(
      f"{path} can not be read ({error.strerror}): whose it is has to open it "
      "(chmod -R a+rX), or set XDG_CACHE_HOME to a folder of your own"
    ) from error


def plain_name(name: str) -> str:
  """A file name that every file system takes, and no other name has."""
  plain = re.sub(r"[^\w.-]+", "-", name)[:60]
  if plain == name:
    return plain
  return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
