"""Archives that are whole, damaged, or mean to write elsewhere."""

import io
import tarfile
import zipfile

import pytest

from emojax.errors import UserError
from emojax.runtime import archives


def _zip(path, members):
  with zipfile.ZipFile(path, "w") as archive:
    for name, content in members.items():
      archive.writestr(name, content)
  return path


def _tar(path, members, link=None):
  with tarfile.open(path, "w:gz") as archive:
    for name, content in members.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))
    if link:
      member = tarfile.TarInfo("link")
      member.type, member.linkname = tarfile.SYMTYPE, link
      archive.addfile(member)
  return path


@pytest.mark.parametrize(
  ("pack", "name"), [(_zip, "a.zip"), (_tar, "a.tar.gz")]
)
def test_files_arrive(tmp_path, pack, name):
  archive = pack(tmp_path / name, {"x/y.wav": b"sound", "z.txt": b"text"})
  folder = tmp_path / "folder"
  folder.mkdir()
  (folder / "left by an interruption").touch()
  archives.unpack(archive, folder)
  found = {p.name: p.read_bytes() for p in folder.rglob("*.*")}
  assert found == {"y.wav": b"sound", "z.txt": b"text"}
  assert sorted(p.name for p in folder.iterdir()) == ["x", "z.txt"]


@pytest.mark.parametrize(
  ("pack", "suffix", "name"),
  [
    (_zip, "zip", "../evil.txt"),
    (_zip, "zip", "a/../../evil.txt"),
    (_zip, "zip", "/evil.txt"),
    (_tar, "tar.gz", "../evil.txt"),
    (_tar, "tar.gz", "a/../../evil.txt"),
  ],
)
def test_nothing_leaves_the_folder(tmp_path, pack, suffix, name):
  archive = pack(tmp_path / f"a.{suffix}", {name: b"evil"})
  with pytest.raises(UserError, match="damaged or unsafe") as caught:
    archives.unpack(archive, tmp_path / "folder")
  assert str(archive) in str(caught.value)
  assert not list(tmp_path.rglob("evil*"))


def test_a_link_that_leads_out(tmp_path):
  archive = _tar(tmp_path / "a.tar.gz", {}, link="../../etc")
  with pytest.raises(UserError, match="damaged or unsafe"):
    archives.unpack(archive, tmp_path / "folder")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize(
  "content", [b"<html>not found</html>", b"\x1f\x8b\x08"]
)
def test_no_archive_at_all(tmp_path, name, content):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(UserError, match="damaged or unsafe"):
    archives.unpack(tmp_path / name, tmp_path / "folder")


@pytest.mark.parametrize(
  ("offset", "value"), [(8, 1), (10, 99)], ids=["encrypted", "another method"]
)
def test_an_archive_that_can_not_be_unpacked(tmp_path, offset, value):
  archive = _zip(tmp_path / "a.zip", {"x.wav": b"sound"})
  content = bytearray(archive.read_bytes())
  content[content.index(b"PK\x01\x02") + offset] = value  # Of the directory.
  archive.write_bytes(content)
  with pytest.raises(UserError, match="damaged or unsafe"):
    archives.unpack(archive, tmp_path / "folder")


@pytest.mark.parametrize("name", ["x" * 300, "a/b"])
def test_names_that_can_not_be(tmp_path, name):
  archive = _zip(tmp_path / "a.zip", {"a": b"a file", name: b"sound"})
  with pytest.raises(UserError, match="damaged or unsafe"):
    archives.unpack(archive, tmp_path / "folder")
