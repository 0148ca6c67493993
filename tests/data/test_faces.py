"""Decoded corpora of faces: what is kept, skipped, found twice and split."""

import dataclasses
import hashlib
import logging
import os
import shutil

import numpy as np
import PIL
import pytest
from PIL import Image

from configs import rlps as rlps_config
from emojax.corpora import faces as registry
from emojax.corpora import images, labels
from emojax.corpora.faces import image_folder
from emojax.data import faces
from emojax.errors import UserError
from emojax.reports import rlps as reports

NAMES = [
  f"{part}/{label}/{i}.png"
  for part, count in (("train", 4), ("validation", 2), ("test", 2))
  for label in ("happy", "sad")
  for i in range(count)
]


@pytest.fixture
def corpus(tmp_path):
  """A folder of 16 images, and their pixels by name."""
  rng = np.random.default_rng(0)
  pixels = {}
  for name in NAMES:
    pixels[name] = rng.integers(0, 256, (12, 10), np.uint8)
    _save(tmp_path / "mine" / name, pixels[name])
  return pixels


def _save(path, pixels):
  path.parent.mkdir(parents=True, exist_ok=True)
  # Not compressed: files of one size, whatever is in them.
  Image.fromarray(pixels).save(path, compress_level=0)


def _config(path, **changes):
  data = rlps_config.get_config().data
  data.corpus, data.path = "image_folder", str(path)
  data.image_size, data.max_skipped = (12, 10), 0
  data.update(changes)
  return data


def _prepare(tmp_path, **changes):
  data = _config(tmp_path / "mine", **changes)
  return faces.prepare(data, tmp_path / "data")


def _rest(tmp_path):
  return [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


def test_every_face_as_it_is(corpus, tmp_path):
  table = _prepare(tmp_path)
  assert len(table) == 16
  assert table.images.shape == (16, 12, 10, 1)
  assert table.images.dtype == np.uint8
  assert table.name.tolist() == NAMES
  for i, name in enumerate(NAMES):
    np.testing.assert_array_equal(table.images[i, ..., 0], corpus[name])
    expected = hashlib.sha256(corpus[name].tobytes()).hexdigest()
    assert table.digest[i] == expected
    part = ("train", "validation", "test")[table.part[i]]
    assert name.startswith(f"{part}/{table.label[i]}/")
  assert table.votes.shape == (16, 0)
  with pytest.raises(ValueError, match="read-only"):
    table.images[0] = 0


def test_decoded_once(corpus, tmp_path, monkeypatch):
  first = _prepare(tmp_path)
  monkeypatch.setattr(images, "load", None)
  again = _prepare(tmp_path)
  for name, values in vars(first).items():
    np.testing.assert_array_equal(getattr(again, name), values)


def test_what_changes_is_decoded_anew(corpus, tmp_path):
  _prepare(tmp_path)
  _save(tmp_path / "mine" / NAMES[3], np.full((12, 10), 7, np.uint8))
  table = _prepare(tmp_path)
  assert (table.images[3] == 7).all()
  assert _prepare(tmp_path, channels=3).images.shape == (16, 12, 10, 3)
  assert _prepare(tmp_path, image_size=(6, 5)).images.shape == (16, 6, 5, 1)


def test_unusable_images_are_named_each_time(corpus, tmp_path, caplog):
  for name in (NAMES[1], NAMES[6]):
    (tmp_path / "mine" / name).write_bytes(b"\0no image")
  for _ in range(2):
    caplog.clear()
    table = _prepare(tmp_path, max_skipped=2)
    paths = [str(tmp_path / "mine" / name) for name in (NAMES[1], NAMES[6])]
    assert caplog.messages == [f"skipped {p}: not an image" for p in paths]
    kept = [name for i, name in enumerate(NAMES) if i not in (1, 6)]
    assert table.name.tolist() == kept
    for i, name in enumerate(kept):
      np.testing.assert_array_equal(table.images[i, ..., 0], corpus[name])
    # The limit holds for what is decoded already, too.
    with pytest.raises(
      UserError, match=r"2 of 16 images .*max_skipped = 1; .*1\.png: not an"
    ):
      _prepare(tmp_path, max_skipped=1)


def test_images_of_other_labels_may_be_damaged_or_missing(
  corpus, tmp_path, caplog
):
  damaged = tmp_path / "mine" / "train" / "angry" / "0.png"
  damaged.parent.mkdir()
  damaged.write_bytes(b"no image")
  for _ in range(2):
    table = _prepare(tmp_path, labels="happy,sad")
    assert table.name.tolist() == NAMES
    assert "skipped" not in caplog.text
  with pytest.raises(UserError, match=r"1 of 17 images .*angry.0\.png"):
    _prepare(tmp_path, labels="happy,sad,angry")


def _fail(face, *_):
  raise images.UnreadableImage(face.path, "Input/output error")


def test_a_failure_is_not_remembered(corpus, tmp_path, monkeypatch, caplog):
  """Who reads what was decoded without it, goes on with that."""
  load = images.load
  (tmp_path / "mine" / NAMES[2]).write_bytes(b"\0no image")

  def some(face, *form):
    is_lost = face.name in (NAMES[1], NAMES[6])
    return _fail(face) if is_lost else load(face, *form)

  with monkeypatch.context() as patched:
    patched.setattr(images, "load", some)
    without = _prepare(tmp_path, max_skipped=3)
    assert len(without) == 13
  for _ in range(2):
    caplog.clear()
    table = _prepare(tmp_path, max_skipped=1)
    path = tmp_path / "mine" / NAMES[2]
    assert caplog.messages == [f"skipped {path}: not an image"]
    assert table.name.tolist() == [*NAMES[:2], *NAMES[3:]]
    for name, image in zip(table.name, table.images, strict=True):
      np.testing.assert_array_equal(image[..., 0], corpus[name])
  np.testing.assert_array_equal(without.images[1, ..., 0], corpus[NAMES[3]])
  # As is said today.
  monkeypatch.setattr(images, "load", _fail)
  caplog.clear()
  _prepare(tmp_path, max_skipped=3)
  assert all(m.endswith("Input/output error") for m in caplog.messages)


def test_another_decoder_decodes_anew(corpus, tmp_path, monkeypatch):
  _prepare(tmp_path)
  monkeypatch.setattr(PIL, "__version__", "99.0")
  with monkeypatch.context() as patched:
    patched.setattr(images, "load", _fail)
    with pytest.raises(UserError, match="no image is usable"):
      _prepare(tmp_path, max_skipped=16)
  assert len(_prepare(tmp_path)) == 16


def test_too_many_unusable_images_leave_nothing(corpus, tmp_path):
  (tmp_path / "mine" / NAMES[9]).write_bytes(b"")
  with pytest.raises(UserError, match="1 of 16 images can not be used"):
    _prepare(tmp_path)
  assert not _rest(tmp_path)


def test_nothing_usable(corpus, tmp_path):
  for name in NAMES:
    (tmp_path / "mine" / name).write_bytes(b"")
  for _ in range(2):
    with pytest.raises(UserError, match="no image is usable; first: "):
      _prepare(tmp_path, max_skipped=16)


def test_an_interruption_leaves_nothing(corpus, tmp_path, monkeypatch):
  load = images.load

  def interrupted(face, *form):
    if face.name == NAMES[9]:
      raise KeyboardInterrupt
    return load(face, *form)

  with monkeypatch.context() as patched:
    patched.setattr(images, "load", interrupted)
    with pytest.raises(KeyboardInterrupt):
      _prepare(tmp_path)
  assert not _rest(tmp_path)
  assert len(_prepare(tmp_path)) == 16


def test_a_damaged_store_says_so(corpus, tmp_path):
  _prepare(tmp_path)
  (pixels,) = (tmp_path / "data").rglob("*.bin")
  pixels.write_bytes(pixels.read_bytes()[:-1])
  with pytest.raises(UserError, match=r"damaged .*; remove its folder"):
    _prepare(tmp_path)


def test_the_same_image_in_two_parts(corpus, tmp_path, monkeypatch, caplog):
  """An error in a user's own folders; a published corpus stays as it is."""
  mine = tmp_path / "mine"
  _save(mine / "test" / "sad" / "0.png", corpus["train/sad/2.png"])
  _save(mine / "train" / "happy" / "0.png", corpus["train/happy/1.png"])
  with pytest.raises(UserError, match="1 images are in more than one part"):
    _prepare(tmp_path)
  monkeypatch.setitem(registry._READERS._registered, "published", image_folder)
  caplog.clear()
  table = _prepare(tmp_path, corpus="published")
  within, across = faces.duplicates(table)
  assert table.name[within].tolist() == [
    "train/happy/0.png",
    "train/happy/1.png",
  ]
  assert table.name[across].tolist() == ["train/sad/2.png", "test/sad/0.png"]
  assert caplog.messages == [
    "published: 1 images are in more than one part, pixel for pixel; "
    "first: train/sad/2.png (sad, train), test/sad/0.png (sad, test)",
    "published: 1 images are several times in one part, pixel for pixel; "
    "first: train/happy/0.png (happy, train), train/happy/1.png (happy, train)",
  ]
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  data = _config(mine, corpus="published", labels="happy,sad")
  text = reports.parts_table(faces.read(data))
  assert text.endswith(
    "\n\n1 of 4 images of the test part are in the train part, too"
  )


def test_files_that_swap_their_names(corpus, tmp_path):
  first = _prepare(tmp_path)
  one, other = (tmp_path / "mine" / name for name in NAMES[:2])
  for path in (one, other):
    os.utime(path, ns=(10**18, 10**18))
  _prepare(tmp_path)
  one.rename(tmp_path / "aside")
  other.rename(one)
  (tmp_path / "aside").rename(other)
  assert one.stat().st_size == other.stat().st_size
  swapped = _prepare(tmp_path)
  np.testing.assert_array_equal(swapped.images[:2], first.images[[1, 0]])


def test_one_image_with_two_labels(corpus, tmp_path, monkeypatch, caplog):
  """An error in a user's own folders; a published corpus stays as it is."""
  mine = tmp_path / "mine"
  _save(mine / "train" / "happy" / "0.png", corpus["test/sad/0.png"])
  for _ in range(2):
    with pytest.raises(UserError, match="1 images have different labels") as e:
      _prepare(tmp_path)
    assert "train/happy/0.png (happy, train), test/sad/0.png (sad, " in str(e)
  monkeypatch.setitem(registry._READERS._registered, "published", image_folder)
  other = tmp_path / "other"
  for number, name in enumerate(NAMES):
    pixels = np.random.default_rng(number + 9).integers(
      0, 256, (12, 10), np.uint8
    )
    _save(other / name, pixels)
  # Also beside a corpus that is published.
  both = _config(f"{mine},{other}", corpus="image_folder, published")
  with pytest.raises(UserError, match="1 images have different labels"):
    faces.prepare(both, tmp_path / "data")
  caplog.clear()
  assert len(_prepare(tmp_path, corpus="published")) == 16
  assert "1 images are there with different labels" in caplog.text


def test_images_that_show_nothing_are_counted(corpus, tmp_path, caplog):
  """And are no contradiction, whatever their labels; each time."""
  for name in NAMES[0], NAMES[5]:
    _save(tmp_path / "mine" / name, np.full((12, 10), 3, np.uint8))
  for _ in range(2):
    caplog.clear()
    assert len(_prepare(tmp_path)) == 16
    assert caplog.messages[0] == (
      "image_folder: 2 images are of one colour, show nothing and are used; "
      f"first: {NAMES[0]}, {NAMES[5]}"
    )


def test_of_several_frames_the_first(corpus, tmp_path, caplog):
  frames = [Image.new("L", (10, 12), 255 * i) for i in range(2)]
  frames[0].paste(90, (0, 0, 5, 5))
  path = tmp_path / "mine" / "train" / "happy" / "9.gif"
  frames[0].save(path, save_all=True, append_images=frames[1:])
  for _ in range(2):
    caplog.clear()
    table = _prepare(tmp_path)
    assert table.images[4, ..., 0].max() == 90
    assert caplog.messages == [
      "image_folder: 1 images have several frames, of which the first is used; "
      "first: train/happy/9.gif"
    ]


def test_images_that_are_not_there_are_said_at_once(tmp_path):
  """Not decoded up to the limit, one by one."""
  (tmp_path / "label").mkdir()
  (tmp_path / "image" / "origin").mkdir(parents=True)
  lines = [f"{i}.jpg 0 0 0 9 9 1 3" for i in range(30)]
  (tmp_path / "label" / "label.lst").write_text("\n".join(lines))
  data = _config(tmp_path, corpus="expw", max_skipped=10)
  with pytest.raises(UserError, match="30 of 30 images are not there") as error:
    faces.prepare(data, tmp_path / "data")
  assert str(tmp_path / "image" / "origin" / "0.jpg") in str(error.value)


def test_no_image_in_two_parts(corpus, tmp_path, caplog):
  assert faces.duplicates(_prepare(tmp_path)) == []
  assert not caplog.messages


def test_rows_of_each_part(corpus, tmp_path):
  table = _prepare(tmp_path)
  _, index = labels.parse_classes("sad,happy")
  parts = faces.split(table, index)
  assert {k: v.tolist() for k, v in parts.items()} == {
    "train": list(range(8)),
    "validation": list(range(8, 12)),
    "test": list(range(12, 16)),
  }


def test_a_part_or_a_class_without_faces(corpus, tmp_path):
  table = _prepare(tmp_path)
  _, index = labels.parse_classes("sad,happy")
  label = np.where(table.part == 1, "calm", table.label)
  with pytest.raises(UserError, match="the validation part has no face"):
    faces.split(dataclasses.replace(table, label=label), index)
  label = np.where(table.part == 0, "sad", table.label)
  with pytest.raises(UserError, match="train part has no face that is happy"):
    faces.split(dataclasses.replace(table, label=label), index)


def test_faces_without_a_majority_are_counted(real_data, tmp_path, caplog):
  data = _config(real_data / "ferplus", corpus="ferplus", image_size=(48, 48))
  table = faces.prepare(data, tmp_path)
  assert table.votes.shape == (1600, 10)
  assert not caplog.messages  # No real face shows nothing.
  _, index = labels.parse_classes(
    "angry,disgust,fearful,happy,sad,surprised,neutral"
  )
  caplog.set_level(logging.INFO)
  parts = faces.split(table, index)
  train = table.label[table.part == 0]
  without, contempt = np.sum(train == ""), np.sum(train == "contempt")
  assert len(parts["train"]) == 1200 - without - contempt
  assert caplog.messages[0] == (
    f"train: faces: of 1200 left out: {without} without a label, {contempt} of "
    f"labels that the study does not name (contempt {contempt})"
  )


def test_two_corpora_are_one(corpus, tmp_path, monkeypatch):
  """Each keeps its parts; names say of which corpus a face is."""
  shutil.copytree(tmp_path / "mine", tmp_path / "other")
  readers = registry._READERS._registered
  monkeypatch.setitem(readers, "twin", image_folder)
  data = _config(
    f"{tmp_path / 'mine'},{tmp_path / 'other'}",
    corpus="image_folder, twin",
    labels="happy,sad",
  )
  table = faces.prepare(data, tmp_path / "data")
  assert table.name[0] == f"image_folder:{NAMES[0]}"
  assert table.name[16] == f"twin:{NAMES[0]}"
  np.testing.assert_array_equal(table.images[:16], table.images[16:])


@pytest.mark.parametrize(
  ("named", "demo"),
  [
    ("demo", True),
    ("image_folder, demo", True),
    ("demo ,image_folder", True),
    ("image_folder", False),
  ],
)
def test_synthetic_faces_are_marked(corpus, tmp_path, monkeypatch, named, demo):
  """With blanks around the names, too."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  one = image_folder.read(str(tmp_path / "mine"))
  found = [(name.strip(), list(one)) for name in named.split(",")][:1]
  monkeypatch.setattr(faces.faces, "read_all", lambda data: found)
  data = _config(tmp_path / "mine", corpus=named, labels="happy,sad")
  assert faces.read(data).demo is demo
