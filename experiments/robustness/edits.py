"""What goes wrong with files, as strategies of hypothesis.

An input is a folder: what lies in it, by relative path. Each strategy takes
what is right and gives what is not: first in the structure (a field dropped,
doubled, of another type), then in the bytes.
"""

import copy
import gzip
import io
import json
import math
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

# The bytes of a file; None is a folder in its place.
Files = dict[str, bytes | None]

LFS_POINTER = (
  b"version https://git-lfs.github.com/spec/v1\n"
  b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
  b"\nsize 12345\n"
)
_HTML = (
  b"<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head></html>"
)
_NESTED = 100_000

_INTEGERS = sorted(
  {0, 1, 3, 10, 44_100, 10**6, 10**9}
  | {2**n + d for n in (7, 8, 15, 16, 24, 31, 32, 48, 63, 64) for d in (-1, 0)}
)
TEXTS = (
  *("", " ", "x", "0", "-1", "7", "1.0", "1.5", "1e9", "1e400", "nan", "inf"),
  *("-inf", "99999999999", "99999999999999999999", "1_000", "0x10", "1,5"),
  # Digits to Python that are none to the corpora.
  *("٣", "²", "½", "None", "null", "True", "N/A"),
  *("a\x00b", "\ufeffa", "a\u2028b", "a\x0bb", "a\rb", "a\nb", "\x1b[31m"),
  *("ü", "u\u0308", "😀", "a\tb", '"', "'", '"a', "%s%n", "{}", "=1+1", "#"),
  *("..", ".", "~", "/", "\\", "../../x", "/dev/zero", "a/b/c", "C:\\x", "*"),
  *("x" * 300, "7" * 5000, "x" * 100_000, "a b c d e f g h"),
)


def _odd_values() -> list[Any]:
  """What JSON and pickles may hold in the place of something else."""
  return [
    *(None, True, False, 0, 1, -1, 2, 7, 1.5, -0.0, 10**9, -(10**9)),
    *(2**31, 2**63, 2**64, 10**30, 1e308, 1e-308, math.nan, math.inf),
    *(
      -math.inf,
      "",
      "x",
      "7",
      "nan",
      "x" * 300,
      "x" * 100_000,
      "a\nb",
      "..",
      "/",
    ),
    *([], {}, [[]], [0], [None], {"x": 0}, {"": None}, [0] * 1000, ["x", 1]),
    *([-1, 2], [0, 0], [2**40, 2**40], [[1, 2], [3]], nested(500)),
  ]


def nested(depth: int) -> list:
  """Lists in lists."""
  value: list = []
  for _ in range(depth):
    value = [value]
  return value


def _place(length: int) -> st.SearchStrategy[int]:
  """A position: where headers are, where directories are, or anywhere."""
  return st.one_of(
    st.integers(0, min(64, length)),
    st.integers(0, length),
    st.integers(max(0, length - 64), length),
  )


@st.composite
def damaged(draw, content: bytes, most: int = 3) -> bytes:
  """Bytes flipped, cut off, left out, repeated, put in between, swapped."""
  for _ in range(draw(st.integers(1, most))):
    place = draw(_place(len(content)))
    size = draw(st.sampled_from((1, 2, 4, 8, 16, 100, 1000)))
    before, block, after = (
      content[:place],
      content[place : place + size],
      content[place + size :],
    )
    match draw(
      st.sampled_from(
        ["flip", "number", "cut", "lose", "repeat", "insert", "zero"]
      )
    ):
      case "flip":
        mask = draw(st.integers(1, 255))
        block = bytes(byte ^ mask for byte in block[:1]) + block[1:]
      case "number":
        width = draw(st.sampled_from((1, 2, 4, 8)))
        order = draw(st.sampled_from(("little", "big")))
        value = draw(st.sampled_from(_INTEGERS)) % 256**width
        after = content[place + width :]
        block = value.to_bytes(width, order)
      case "cut":
        block = after = b""
      case "lose":
        block = b""
      case "repeat":
        block *= draw(st.sampled_from((2, 3, 50)))
      case "insert":
        block = draw(st.binary(min_size=1, max_size=16)) + block
      case "zero":
        block = draw(st.sampled_from((b"\0", b"\xff"))) * len(block)
    content = before + block + after
  return content


@st.composite
def replaced(draw, content: bytes) -> bytes:
  """Something else than the file that is meant."""
  others = [b"", LFS_POINTER, _HTML, b"\n", b"\0" * 1000, b"\xef\xbb\xbf"]
  others += [b"[" * _NESTED, b'{"a":' * _NESTED, b"(" * _NESTED, b"\x80\x04N."]
  others += [gzip.compress(content, mtime=0), content * 2, content[::-1]]
  others += [b"PK\x05\x06"]
  return draw(st.one_of(st.sampled_from(others), st.binary(max_size=64)))


Edit = Callable[[bytes], st.SearchStrategy[bytes]]


@st.composite
def folder(
  draw, files: Mapping[str, bytes], edits: Mapping[str, Edit]
) -> Files:
  """A folder in which one file or two are not what they should be.

  `edits` know the structure of some files; those are the ones that go wrong.
  """
  found: Files = dict(files)
  names = st.lists(
    st.sampled_from(sorted(edits)), min_size=1, max_size=2, unique=True
  )
  for name in draw(names):
    content = files[name]
    kinds = ["edited"] * 8 + ["damaged"] * 4 + ["both", "replaced", "replaced"]
    match draw(st.sampled_from([*kinds, "missing", "folder"])):
      case "edited":
        found[name] = draw(edits[name](content))
      case "damaged":
        found[name] = draw(damaged(content))
      case "both":
        found[name] = draw(damaged(draw(edits[name](content))))
      case "replaced":
        found[name] = draw(replaced(content))
      case "missing":
        del found[name]
      case "folder":
        found[name] = None
  return found


@st.composite
def encoded(draw, text: str) -> bytes:
  """Text in some encoding, mostly UTF-8."""
  kinds = ["utf-8"] * 9 + ["utf-8-sig", "utf-16", "utf-16-le", "latin-1"]
  kind = draw(st.sampled_from([*kinds, "cp1252", "utf-32"]))
  ends = draw(st.sampled_from(["\n"] * 6 + ["\r\n", "\r", "\n\n", "\u2028"]))
  return text.replace("\n", ends).encode(kind, "replace")


def rows(separator: str = ",", header: bool = True) -> Edit:
  """Edits of a table: its fields, its columns, its rows."""
  return lambda content: _rows(content.decode(), separator, header)


@st.composite
def _rows(draw, text: str, separator: str, header: bool) -> bytes:
  table = [line.split(separator) for line in text.rstrip("\n").split("\n")]
  for _ in range(draw(st.integers(1, 3))):
    if not table:
      break
    row = draw(st.integers(0, len(table) - 1))
    fields = table[row]
    column = draw(st.integers(0, max(len(fields) - 1, 0)))
    odd = draw(st.sampled_from(TEXTS))
    kinds = ["field"] * 8 + [
      "less",
      "more",
      "lost",
      "twice",
      "swap",
      "blank",
      "columns",
      "quote",
    ]
    match draw(st.sampled_from([*kinds, "name", "many", "separator", "join"])):
      case "field":
        fields[column : column + 1] = [odd]
      case "less":
        del fields[column:]
      case "more":
        fields.insert(column, odd)
      case "lost":
        del table[row]
      case "twice":
        table.insert(row, list(fields))
      case "swap":
        other = draw(st.integers(0, len(table) - 1))
        table[row], table[other] = table[other], table[row]
      case "blank":
        table[row:row] = [[""] * draw(st.sampled_from((1, len(fields))))]
      case "columns":
        table = draw(_columns(table, column))
      case "quote":
        fields[column : column + 1] = [
          f'"{"".join(fields[column : column + 1])}'
        ]
      case "name" if header and table[0]:
        at = min(column, len(table[0]) - 1)
        change = draw(
          st.sampled_from((str.upper, " {} ".format, '"{}"'.format))
        )
        table[0][at] = change(table[0][at])
      case "many":
        table[row:row] = [list(fields) for _ in range(500)]
      case "separator":
        separator = draw(st.sampled_from((";", "\t", "|", ", ", " ")))
      case "join" if len(table) > row + 1:
        table[row : row + 2] = [fields + table[row + 1]]
  return draw(encoded("\n".join(map(separator.join, table)) + "\n"))


@st.composite
def _columns(draw, table: list[list[str]], column: int) -> list[list[str]]:
  """A column is left out, there twice, or has changed its place."""
  kind = draw(st.sampled_from(("lost", "twice", "first", "last")))

  def change(fields):
    rest, it = (
      fields[:column] + fields[column + 1 :],
      fields[column : column + 1],
    )
    whole = {"lost": rest, "twice": fields + it, "first": it + rest}
    return whole.get(kind, rest + it)

  return [change(fields) for fields in table]


def paths(value: Any) -> list[tuple]:
  """Where all parts of a tree of dicts and lists are."""
  found: list[tuple] = [()]
  items = []
  if isinstance(value, dict):
    items = list(value.items())
  elif isinstance(value, list | tuple):
    items = list(enumerate(value))[:20]
  for key, part in items:
    found += [(key, *path) for path in paths(part)]
  return found


@st.composite
def tree(draw, value: Any, odd: Sequence[Any] = (), most: int = 3) -> Any:
  """Edits of dicts and lists: parts of another type, lost, doubled, renamed."""
  value = copy.deepcopy(value)
  for _ in range(draw(st.integers(1, most))):
    path = draw(st.sampled_from(paths(value)))
    part = value
    for key in path[:-1]:
      part = part[key]
    if not path or isinstance(part, tuple):
      if draw(st.integers(0, 9)) == 0:
        value = draw(st.sampled_from([*_odd_values(), *odd]))
      continue
    key, old = path[-1], part[path[-1]]
    match draw(
      st.sampled_from(["odd"] * 6 + ["lost", "twice", "name", "wrap", "size"])
    ):
      case "odd":
        part[key] = draw(st.sampled_from([*_odd_values(), *odd]))
      case "lost":
        del part[key]
      case "twice" if isinstance(part, list):
        part.insert(key, copy.deepcopy(old))
      case "name" if isinstance(part, dict):
        new = draw(st.sampled_from((f" {key}", f"{key}".upper(), *TEXTS[:20])))
        part[new] = part.pop(key)
      case "wrap":
        part[key] = draw(st.sampled_from(([old], {"x": old}, str(old)[:100])))
      case "size" if isinstance(old, int | float):
        by = draw(st.sampled_from((-1, 0, 0.5, 2, 10**6, 10**12)))
        part[key] = old * by
  return value


def json_tree(content: bytes) -> st.SearchStrategy[bytes]:
  """Edits of a JSON file: its tree, then its text."""
  return json_text(json.loads(content))


@st.composite
def json_text(draw, value: Any) -> bytes:
  text = json.dumps(draw(tree(value)), ensure_ascii=draw(st.booleans()))
  kinds = ["plain"] * 8 + [
    "comma",
    "comment",
    "quotes",
    "twice",
    "bom",
    "utf-16",
    "tail",
  ]
  match draw(st.sampled_from(kinds)):
    case "comma":
      text = text[:-1] + "," + text[-1:]
    case "comment":
      text = f"// edited by hand\n{text}"
    case "quotes":
      text = text.replace('"', "'")
    case "twice" if text[0] == "{":
      text = f"{text[:-1]}, {text[1:]}"
    case "bom":
      return text.encode("utf-8-sig", "replace")
    case "utf-16":
      return text.encode("utf-16", "replace")
    case "tail":
      text += text
  return text.encode("utf-8", "replace")


NAMES = (
  *("../x", "../../../../tmp/x", "/tmp/emojax-fuzz-outside", "a/../../x", "."),
  *(
    "..",
    "",
    "a/b/c/d.wav",
    "x" * 255,
    "x" * 300,
    "a\\b",
    "C:\\x",
    "ü",
    "a\x00b",
  ),
  *("a/", "//a", "con", " ", "~/x", "data.pkl", "x/data.pkl", "a\nb"),
)


@st.composite
def zipped(draw, entries: Mapping[str, bytes], compress: bool = False) -> bytes:
  """Edits of a zip archive: names, order, compression, sizes, flags."""
  items = [list(item) for item in entries.items()]
  kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
  for _ in range(draw(st.integers(0, 3))):
    if not items:
      break
    index = draw(st.integers(0, len(items) - 1))
    match draw(
      st.sampled_from(["name", "lost", "twice", "content", "kind", "more"])
    ):
      case "name":
        items[index][0] = draw(st.sampled_from(NAMES))
      case "lost":
        del items[index]
      case "twice":
        items.append(list(items[index]))
      case "content":
        items[index][1] = draw(damaged(items[index][1]))
      case "kind":
        kind = draw(
          st.sampled_from(
            (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
          )
        )
      case "more":
        items.append([draw(st.sampled_from(NAMES)), b"more"])
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w", kind) as archive:
    for name, content in items:
      info = zipfile.ZipInfo(name or "x")
      # 0o120000 is a link on Unix.
      mode = draw(st.sampled_from((0o644, 0o644, 0o644, 0o120777, 0o40755, 0)))
      info.external_attr = mode << 16
      info.compress_type = kind
      # Two entries of one name are a warning of `zipfile`, which is meant here.
      archive.NameToInfo.pop(info.filename, None)
      archive.writestr(info, content)
  content = file.getvalue()
  return draw(st.one_of(st.just(content), damaged(content), _flags(content)))


@st.composite
def _flags(draw, content: bytes) -> bytes:
  """Fields of the directory of a zip archive with other values."""
  place = content.find(b"PK\x01\x02")
  offset, width = draw(
    st.sampled_from(
      ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (42, 4))
    )
  )
  value = draw(st.sampled_from(_INTEGERS)) % 256**width
  start = place + offset
  return (
    content[:start] + value.to_bytes(width, "little") + content[start + width :]
  )


@st.composite
def tarred(
  draw, entries: Mapping[str, bytes], pack: Callable[[bytes], bytes]
) -> bytes:
  """Edits of a tar archive: names, kinds of entries, links, sizes, rights."""
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode="w") as archive:
    for name, content in entries.items():
      info = tarfile.TarInfo(name)
      info.size = len(content)
      if draw(st.booleans()):
        if draw(st.booleans()):
          info.name = draw(st.sampled_from(NAMES)).replace("\x00", "0") or "x"
        types = (
          tarfile.SYMTYPE,
          tarfile.LNKTYPE,
          tarfile.DIRTYPE,
          tarfile.FIFOTYPE,
        )
        types += (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.REGTYPE, b"?")
        info.type = draw(st.sampled_from(types))
        info.linkname = draw(st.sampled_from(("/etc/passwd", "..", name, "x")))
        info.mode = draw(st.sampled_from((0o644, 0, 0o7777, 0o111)))
      archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
  content = pack(file.getvalue())
  return draw(st.one_of(st.just(content), damaged(content)))


@st.composite
def packed(draw, form: str, fields: Sequence[int], most: int = 2) -> bytes:
  """The fields of a header in the form of `struct`, some with other values."""
  sizes = [struct.calcsize(form[0] + kind) for kind in form[1:]]
  values = list(fields)
  for _ in range(draw(st.integers(0, most))):
    index = draw(st.integers(0, len(values) - 1))
    value = draw(st.one_of(st.sampled_from(_INTEGERS), st.integers(0, 64)))
    values[index] = value % 256 ** sizes[index]
  return struct.pack(form, *values)
