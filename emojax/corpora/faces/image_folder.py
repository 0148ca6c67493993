"""Your own faces: `PART/LABEL/IMAGE`, such as `train/happy/anna.png`."""

import pathlib
from collections.abc import Iterator

from emojax.corpora.images import SUFFIXES
from emojax.corpora.labels import canonical
from emojax.corpora.records import PARTS, Face
from emojax.errors import UserError

LAYOUT = f"train/happy/anna.png and so on, in {', '.join(PARTS)}"
SOURCE = f"the images are yours, of the types {' '.join(sorted(SUFFIXES))}"


def read(path: str) -> Iterator[Face]:
  """Yields the images part by part, sorted by label and name.

  Hidden files and files that are no images are left out.

  Raises:
    UserError: a part is missing, a folder is not named after one of
      `records.PARTS`, or one below after a label that nobody knows.
  """
  root = pathlib.Path(path)
  if not root.is_dir():
    raise UserError(f"{root}: not a folder; expected {LAYOUT}")
  folders = _folders(root)
  unknown = [folder.name for folder in folders if folder.name not in PARTS]
  if unknown:
    raise UserError(
      f"{root}: folder {', '.join(unknown)} is no part; expected {LAYOUT}; "
      "rename or remove it"
    )
  for part in PARTS:
    if not (root / part).is_dir():
      raise UserError(f"{root}: no folder {part}; expected {LAYOUT}")
    for folder in _folders(root / part):
      label = canonical(folder.name, str(folder))
      for image in sorted(folder.iterdir()):
        if image.suffix.lower() in SUFFIXES and not image.name.startswith("."):
          name = str(image.relative_to(root))
          yield Face(path=str(image), label=label, part=part, name=name)


def _folders(root: pathlib.Path) -> list[pathlib.Path]:
  return sorted(f for f in root.glob("[!.]*") if f.is_dir())
