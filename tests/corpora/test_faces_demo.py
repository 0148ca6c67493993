"""The demo corpus of faces: rendered once, whole or not there."""

import collections

import numpy as np
import pytest

from emojax.corpora import faces, images
from emojax.corpora.faces import demo
from emojax.synthetic import schematic


@pytest.fixture
def small(monkeypatch):
  monkeypatch.setattr(
    demo, "_COUNTS", {"train": 14, "validation": 7, "test": 7}
  )


def test_sizes():
  assert demo._COUNTS == {"train": 1400, "validation": 300, "test": 300}


def test_the_faces_of_the_renderer(small, cache, capsys):
  found = faces.read("demo", "")
  assert "demo corpus (synthetic): 28/28" in capsys.readouterr().err
  assert collections.Counter(face.part for face in found) == {
    "train": 14,
    "validation": 7,
    "test": 7,
  }
  assert set(collections.Counter(face.label for face in found).values()) == {4}
  emotions = list(schematic.EMOTIONS) * 4
  expected = schematic.render(emotions, seed=0)
  for face in found:
    assert face.path.startswith(str(cache))
    row = int(face.path[-8:-4])
    assert face.label == emotions[row]
    np.testing.assert_array_equal(
      images.load(face, (48, 48), 1)[..., 0], expected[row]
    )


def test_rendered_once(small, tmp_path, monkeypatch):
  first = faces.read("demo", tmp_path)
  with monkeypatch.context() as patched:
    patched.setattr(schematic, "render", None)
    assert faces.read("demo", tmp_path) == first


def test_an_interrupted_rendering_goes_on(small, tmp_path, monkeypatch):
  first = faces.read("demo", tmp_path)
  lost = first[5]
  pixels = images.load(lost, (48, 48), 1)
  (tmp_path / lost.path).unlink()
  assert faces.read("demo", tmp_path) == first
  np.testing.assert_array_equal(images.load(lost, (48, 48), 1), pixels)
