"""Unpacking what others have packed: nothing leaves the folder."""

import pathlib
import shutil
import tarfile
import zipfile

from emojax.errors import UserError
from emojax.runtime.progress import progress


def unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
  """Unpacks a .zip or .tar.gz into a new folder, and nowhere else.

  What an interrupted unpacking left there is removed.

  Raises:
    UserError: the archive is damaged, or a path in it leads out.
  """
  shutil.rmtree(folder, ignore_errors=True)
  folder.mkdir()
  description = f"unpack {archive.name}"
  try:
    if archive.suffix == ".zip":
      with zipfile.ZipFile(archive) as source:
        for member in progress(source.infolist(), description=description):
          _require_inside(folder, member.filename)
          source.extract(member, folder)
    else:
      with tarfile.open(archive, "r|gz") as source:
        for member in progress(source, description=description):
          source.extract(member, folder, filter="data")
  except (tarfile.FilterError, tarfile.ReadError, zipfile.BadZipFile) as error:
    raise UserError(
      f"{archive}: damaged or unsafe ({error}); remove it and run the same "
      "command again"
    ) from error


def _require_inside(folder: pathlib.Path, name: str) -> None:
  # `zipfile` would strip what leads out, and write to a place nobody meant.
  if not (folder / name).resolve().is_relative_to(folder.resolve()):
    raise zipfile.BadZipFile(f"{name!r} leads out of the folder")
