"""Corpora of faces as ArrayRecord files, read by TFDS without TensorFlow."""

import numpy as np
import pytest
from PIL import Image

from emojax.data.faces import builders, store
from emojax.data.records import PARTS
from emojax.errors import UserError


def _fer2013(root, rng):
  lines = ["emotion,pixels,Usage"]
  for i, usage in enumerate(["Training", "PublicTest", "PrivateTest"] * 3):
    pixels = rng.integers(0, 256, 48 * 48)
    lines.append(f"{i % 7},{' '.join(map(str, pixels))},{usage}")
  (root / "fer2013.csv").write_text("\n".join(lines))


def _rafdb(root, rng):
  names = [f"train_{i:05d}" for i in range(6)] + ["test_0001", "test_0002"]
  (root / "EmoLabel").mkdir()
  (root / "Image" / "aligned").mkdir(parents=True)
  lines = [f"{name}.jpg {i % 7 + 1}" for i, name in enumerate(names)]
  (root / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(lines))
  for name in names:
    pixels = rng.integers(0, 256, (100, 100, 3), np.uint8)
    path = root / "Image" / "aligned" / f"{name}_aligned.jpg"
    Image.fromarray(pixels).save(path)


def _expw(root, rng):
  (root / "label").mkdir()
  (root / "image" / "origin").mkdir(parents=True)
  lines = [f"{i // 2}.jpg {i % 2} 10 20 60 80 3.5 {i % 7}" for i in range(10)]
  (root / "label" / "label.lst").write_text("\n".join(lines))
  for i in range(5):
    pixels = rng.integers(0, 256, (90, 90, 3), np.uint8)
    Image.fromarray(pixels).save(root / "image" / "origin" / f"{i}.jpg")


@pytest.mark.parametrize(
  ("corpus", "make", "size", "channels"),
  [
    ("fer2013", _fer2013, (48, 48), 1),
    ("rafdb", _rafdb, (100, 100), 3),
    ("expw", _expw, (64, 64), 3),
  ],
)
def test_every_face_of_the_three(
  tmp_path, monkeypatch, capsys, corpus, make, size, channels
):
  monkeypatch.setattr(builders, "_FACES_IN_A_SHARD", 2)
  root = tmp_path / "corpus"
  root.mkdir()
  make(root, np.random.default_rng(0))
  table, skipped = store.prepare(
    corpus, str(root), tmp_path / "store", size, channels, 0
  )
  assert not skipped
  builder = builders.build(corpus, table, tmp_path / "records")
  assert capsys.readouterr().out == ""
  for index, part in enumerate(PARTS):
    rows = np.flatnonzero(table.part == index)
    source = builder.as_data_source(part)
    assert len(source) == len(rows) > 0
    for row, face in zip(rows, source, strict=True):
      np.testing.assert_array_equal(face["image"], table.images[row])
      assert face["label"].decode() == table.label[row]
      assert face["name"].decode() == table.name[row]
      assert face["digest"].decode() == table.digest[row]
      np.testing.assert_array_equal(face["confidence"], table.confidence[row])

  # Written once; then a file goes missing.
  again = builders.build(corpus, table, tmp_path / "records")
  assert again.data_path == builder.data_path
  next((tmp_path / "records").rglob("*.array_record*")).unlink()
  with pytest.raises(UserError, match=r"damaged, .* is missing; remove"):
    builders.build(corpus, table, tmp_path / "records")
