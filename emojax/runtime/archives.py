"""Unpacking what others have packed: nothing leaves the folder."""

import pathlib
import shutil
import tarfile
import zipfile

from emojax.errors import UserError
from emojax.runtime.progress import progress


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
  except (tarfile.FilterError, tarfile.ReadError, zipfile.BadZipFile) as error:
    raise UserError(
      f"{archive}: damaged or unsafe ({error}); remove it and run the same "
      "command again"
    ) from error
