"""Unpacking what others have packed: nothing leaves the folder."""

import errno
import gzip
import lzma
import os
import pathlib
import shutil
import tarfile
import zipfile
import zlib

from emojax.errors import UserError
from emojax.runtime.progress import progress

# What damaged bytes do to the readers of archives: sizes, methods and flags
# that make no sense, and encryption, which is a RuntimeError.
_DAMAGED = (
  *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
  *(LookupError, OverflowError, RuntimeError, TypeError, ValueError),
)
# Names that can not be, or that stand in one another's way.
_NAMES = (
  *(errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST),
  *(errno.EINVAL, errno.ELOOP, errno.ENOENT),
)
_GZIP, _TAR, _TAR_AT = b"\x1f\x8b", b"ustar", 257
_KINDS = (
  (b"PK\x03\x04", "a zip archive", "unzip"),
  (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x"),
  (b"Rar!\x1a\x07", "a RAR archive", "unrar x"),
  (b"BZh", "packed by bzip2", "tar -xf or bunzip2"),
  (b"\xfd7zXZ", "packed by xz", "tar -xf or unxz"),
)


def packed(path: str | os.PathLike) -> str:
  """What a file is that has to be unpacked, and how; '' of any other."""
  try:
    with open(path, "rb") as file:
      start = file.read(512)
    if start.startswith(_GZIP):
      with gzip.open(path) as file:
        inside = file.read(512)
      if inside[_TAR_AT:].startswith(_TAR):
        return "a tar archive packed by gzip: unpack it with tar -xzf"
  except (OSError, EOFError, zlib.error):
    return ""
  if start[_TAR_AT:].startswith(_TAR):
    return "a tar archive: unpack it with tar -xf"
  if start.startswith(_GZIP):
    return "packed by gzip: unpack it with gunzip, after adding .gz to its name"
  for mark, kind, command in _KINDS:
    if start.startswith(mark):
      return f"{kind}: unpack it with {command}"
  return ""


def unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
  """Unpacks a .zip or .tar.gz into a new folder; what was there is removed.

  Raises a UserError if it is damaged, or a path in it leads out.
  """
  shutil.rmtree(folder, ignore_errors=True)
  folder.mkdir()
  description = f"unpack {archive.name}"
  try:
    if archive.suffix == ".zip":
      with zipfile.ZipFile(archive) as source:
        for member in progress(source.infolist(), description=description):
          # `zipfile` would strip what leads out, and write to a wrong place.
          path = (folder / member.filename).resolve()
          if not path.is_relative_to(folder.resolve()):
            raise zipfile.BadZipFile(
              f"{member.filename!r} leads out of the folder"
            )
          source.extract(member, folder)
    else:
      with tarfile.open(archive, "r|gz") as source:
        for member in progress(source, description=description):
          source.extract(member, folder, filter="data")
  except _DAMAGED as error:
    raise _unsafe(archive, error) from error
  except OSError as error:
    # Without a number: of gzip. Any other is of the disk.
    if error.errno is not None and error.errno not in _NAMES:
      raise
    raise _unsafe(archive, error) from error


def _unsafe(archive: pathlib.Path, error: Exception) -> UserError:
  return UserError(
    f"{archive}: damaged or unsafe ({error}); remove it and run the same "
    "command again"
  )
