"""Corpora of faces, and images of every type."""

import io
import json
import pathlib
import struct
import zlib
from collections.abc import Iterable

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from emojax.corpora import faces, images
from emojax.corpora.faces.ferplus import VOTES
from emojax.corpora.images import UnreadableImage
from emojax.corpora.labels import LABELS
from emojax.corpora.records import PARTS, Face
from experiments.robustness import edits
from experiments.robustness.guard import require
from experiments.robustness.parser import Parser

_SIZE = (12, 10)


def _encode(kind: str, mode="L", size=_SIZE, shade=0, **options) -> bytes:
  """A picture; no two shades are the same pixel for pixel."""
  pixels = np.add.outer(np.arange(size[1]), np.arange(size[0])).astype(np.uint8)
  file = io.BytesIO()
  Image.fromarray(pixels * 8 + np.uint8(8 * shade)).convert(mode).save(
    file, kind, **options
  )
  return file.getvalue()


def _check(found: Iterable[Face]) -> None:
  """Requires what `Face` says; decodes a few of them."""
  found = list(found)
  for face in found:
    require(face.label in (*LABELS, ""), f"label {face.label!r}"[:80])
    require(face.part in PARTS, f"part {face.part!r}")
    require(bool(face.name), "an empty name")
    require(all(0 <= vote < 2**31 for vote in face.votes), "votes of no int32")
    require(
      face.confidence is None or bool(np.isfinite(face.confidence)),
      "a confidence that is no number",
    )
  for face in found[:10]:
    _decode(face)


def _decode(face: Face) -> None:
  try:
    pixels = images.load(face, (8, 8), 1)
  except UnreadableImage as error:
    # That is how a corpus goes on without it.
    require(error.path.startswith(face.path), "another path")
    return
  require(pixels.shape == (8, 8, 1) and pixels.dtype == np.uint8, "its pixels")


def _read(corpus: str):
  return lambda folder: _check(faces.read(corpus, folder))


def _pixels(row: int) -> str:
  return " ".join(str((7 * row + n) % 256) for n in range(48 * 48))


_USAGES = ("Training", "Training", "PublicTest", "PrivateTest")
_FER2013 = {
  "fer2013.csv": (
    "emotion,pixels,Usage\n"
    + "".join(f"{n},{_pixels(n)},{usage}\n" for n, usage in enumerate(_USAGES))
  ).encode()
}
_FERPLUS = {
  "fer2013new.csv": (
    ",".join(("Usage", "Image name", *VOTES))
    + "\n"
    + "".join(
      f"{usage},fer000000{n}.png,{','.join('0' * n + '9' + '0' * (9 - n))}\n"
      for n, usage in enumerate(_USAGES)
    )
  ).encode(),
  **{
    f"{folder}/fer000000{n}.png": _encode("PNG", size=(48, 48))
    for n, folder in enumerate(
      ("FER2013Train", "FER2013Train", "FER2013Valid", "FER2013Test")
    )
  },
}
_EXPW = {
  "label/label.lst": "".join(
    f"image_{n}.jpg 0 1 1 9 9 {50 + n}.5 {n % 7}\n" for n in range(12)
  ).encode(),
  **{f"image/origin/image_{n}.jpg": _encode("JPEG", "RGB") for n in range(3)},
}
_RAFDB = {
  "basic/EmoLabel/list_patition_label.txt": "".join(
    f"{part}_0000{n}.jpg {n}\n"
    for part in ("train", "test")
    for n in range(1, 8)
  ).encode(),
  "basic/Image/aligned/train_00001_aligned.jpg": _encode(
    "JPEG", "RGB", size=(100, 100)
  ),
}
# As Kaggle has it: a folder for each class, or two tables.
_KAGGLE = {
  f"DATASET/{part}/{label}/{part}_0000{label}_aligned.jpg": _encode(
    "JPEG", "RGB", (100, 100), label + len(part)
  )
  for part in ("train", "test")
  for label in range(1, 8)
} | {
  f"{part}_labels.csv": b"image,label\n"
  + b"".join(
    f"{part}_0000{label}_aligned.jpg,{label}\n".encode()
    for label in range(1, 8)
  )
  for part in ("train", "test")
}
FOLDER = {
  f"{part}/{label}/{part}_{n}.png": _encode("PNG", shade=4 * i + 2 * j + n)
  for i, part in enumerate(PARTS)
  for j, label in enumerate(("happy", "sad"))
  for n in range(2)
}


@st.composite
def _other_folders(draw) -> edits.Files:
  """Folders of images whose names are not those of parts and labels."""
  files: edits.Files = {}
  odd = [
    t for t in edits.TEXTS if "\0" not in t and "/" not in t and len(t) < 200
  ]
  odd = [text for text in odd if text not in ("", ".", "..")]
  odd += ["Train", "val", "valid", ".hidden", "__MACOSX", "Happy ", "0", "joy"]
  for name in FOLDER:
    parts = name.split("/")
    if draw(st.integers(0, 5)) == 0:
      index = draw(st.integers(0, 2))
      parts[index] = draw(st.sampled_from(odd))
    if draw(st.integers(0, 9)) == 0:
      parts.insert(draw(st.integers(0, 2)), draw(st.sampled_from(odd)))
    if draw(st.integers(0, 9)):
      files["/".join(parts)] = FOLDER[name]
  # No file where another needs a folder.
  return {
    name: content
    for name, content in files.items()
    if not any(other.startswith(f"{name}/") for other in files)
  }


def _seeds() -> dict[str, bytes]:
  """Images of every type."""
  found = {}
  for kind, suffix, modes in (
    ("PNG", ".png", ("L", "RGB", "RGBA", "P", "1", "LA")),
    ("JPEG", ".jpg", ("L", "RGB", "CMYK")),
    ("GIF", ".png", ("P",)),
    ("TIFF", ".tiff", ("L", "RGB", "1", "I", "F", "CMYK")),
    ("BMP", ".bmp", ("L", "RGB", "P", "1")),
    ("WEBP", ".webp", ("RGB", "RGBA")),
    ("PPM", ".png", ("L", "RGB", "1")),
    ("TGA", ".png", ("RGB",)),
    ("ICO", ".png", ("RGBA",)),
    ("PCX", ".png", ("P",)),
    ("SGI", ".png", ("RGB",)),
  ):
    for mode in modes:
      found[f"{kind}-{mode}{suffix}"] = _encode(kind, mode)
  for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
    found[f"{compression}.tiff"] = _encode(
      "TIFF", "RGB", compression=compression
    )
  exif = Image.Exif()
  exif[0x0112] = 6
  found["exif.jpg"] = _encode("JPEG", "RGB", exif=exif)
  found["exif.png"] = _encode("PNG", "RGB", exif=exif)
  found["plain.png"] = b"P2\n# plain\n3 2\n255\n0 50 100\n150 200 255\n"
  found["progressive.jpg"] = _encode("JPEG", "RGB", progressive=True)
  found["lossless.webp"] = _encode("WEBP", "RGB", lossless=True)
  return found


_IMAGES = _seeds()


@st.composite
def _png(draw, content: bytes) -> bytes:
  """Chunks of a PNG lost, doubled, changed, with checksums that are right."""
  chunks, place = [], 8
  while place < len(content):
    (size,) = struct.unpack(">I", content[place : place + 4])
    kind = content[place + 4 : place + 8]
    chunks.append((kind, content[place + 8 : place + 8 + size]))
    place += size + 12
  for _ in range(draw(st.integers(1, 2))):
    index = draw(st.integers(0, len(chunks) - 1))
    kind, data = chunks[index]
    match draw(
      st.sampled_from(
        ["data", "data", "header", "lost", "twice", "kind", "text"]
      )
    ):
      case "data":
        chunks[index] = kind, draw(edits.damaged(data))
      case "header":
        chunks[0] = (
          b"IHDR",
          draw(edits.packed(">IIBBBBB", (12, 10, 8, 0, 0, 0, 0))),
        )
      case "lost" if len(chunks) > 1:
        del chunks[index]
      case "twice":
        chunks.insert(index, chunks[index])
      case "kind":
        chunks[index] = draw(st.sampled_from((b"tRNS", b"acTL", b"eXIf"))), data
      case "text":
        bomb = b"x\0\0" + zlib.compress(bytes(10**7))
        chunks.insert(1, (draw(st.sampled_from((b"zTXt", b"iCCP"))), bomb))
  return content[:8] + b"".join(
    struct.pack(">I", len(data))
    + kind
    + data
    + struct.pack(">I", zlib.crc32(kind + data))
    for kind, data in chunks
  )


@st.composite
def _bmp(draw, content: bytes) -> bytes:
  fields = struct.unpack("<IHHIIiiHHIIiiII", content[2:54])
  values = [value % 2**32 for value in fields]
  header = draw(edits.packed("<IHHIIIIHHIIIIII", values))
  return content[:2] + header + content[54:]


@st.composite
def _image(draw) -> edits.Files:
  """An image that is damaged, and a face in it with some box."""
  name = draw(st.sampled_from(sorted(_IMAGES)))
  content = _IMAGES[name]
  kinds = [edits.damaged(content, 4)] * 3 + [edits.replaced(content)]
  if content[:4] == b"\x89PNG":
    kinds += [_png(content)] * 3
  if content[:2] == b"BM":
    kinds += [_bmp(content)] * 2
  if content[:1] == b"P":
    kinds += [edits.rows(" ", False)(b"P2\n3 2\n255\n0 50 100 150 200 255\n")]
  kinds += [
    edits.damaged(content[:40], 3).map(lambda head: head + content[40:])
  ] * 2
  numbers = st.sampled_from((0, 1, 2, 9, -1, 12, 2**31, -(2**63), 10**30))
  box = draw(st.one_of(st.none(), st.tuples(*[numbers] * 4).map(list)))
  face = {"name": name, "box": box, "channels": draw(st.sampled_from((1, 3)))}
  return {name: draw(st.one_of(kinds)), "face.json": json.dumps(face).encode()}


def _read_image(folder: pathlib.Path) -> None:
  fields = json.loads((folder / "face.json").read_text(encoding="utf-8"))
  path, box = str(folder / fields["name"]), fields["box"]
  face = Face(path, "happy", "train", "a face", box=box and tuple(box))
  pixels = images.load(face, (8, 6), fields["channels"])
  require(pixels.shape == (8, 6, fields["channels"]), f"shape {pixels.shape}")
  require(pixels.dtype == np.uint8, f"type {pixels.dtype}")


_FACE = {"name": "PNG-L.png", "box": None, "channels": 1}

PARSERS = (
  Parser(
    *("FER2013", 6, _FER2013),
    edits.folder(_FER2013, {"fer2013.csv": edits.rows()}),
    _read("fer2013"),
  ),
  Parser(
    *("FERPlus", 6, _FERPLUS),
    edits.folder(_FERPLUS, {"fer2013new.csv": edits.rows()}),
    _read("ferplus"),
  ),
  Parser(
    *("ExpW", 6, _EXPW),
    edits.folder(_EXPW, {"label/label.lst": edits.rows(" ", False)}),
    _read("expw"),
  ),
  Parser(
    *("RAF-DB", 6, _RAFDB),
    edits.folder(
      _RAFDB,
      {"basic/EmoLabel/list_patition_label.txt": edits.rows(" ", False)},
    ),
    _read("rafdb"),
  ),
  Parser(
    *("RAF-DB of Kaggle", 4, _KAGGLE),
    edits.folder(
      _KAGGLE,
      {f"{part}_labels.csv": edits.rows() for part in ("train", "test")},
    ),
    _read("rafdb"),
  ),
  Parser(
    *("folder of images", 4, FOLDER),
    st.one_of(
      _other_folders(),
      edits.folder(FOLDER, {"train/happy/train_0.png": edits.damaged}),
    ),
    _read("image_folder"),
  ),
  Parser(
    *("image", 20),
    {
      "PNG-L.png": _IMAGES["PNG-L.png"],
      "face.json": json.dumps(_FACE).encode(),
    },
    _image(),
    _read_image,
  ),
)
