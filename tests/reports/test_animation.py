"""Confusion matrices as pixels and as a GIF."""

import numpy as np
import pytest
from PIL import Image

from emojax.reports import animation

CLASSES = ["neutral", "calm", "happy", "sad"]
CLASSES += ["angry", "fearful", "disgust", "surprised"]


def matrices(count: int) -> np.ndarray:
  rng = np.random.default_rng(0)
  diagonal = np.linspace(0, 40, count)[:, None, None] * np.eye(8)
  return rng.integers(0, 6, (count, 8, 8)) + diagonal.astype(int)


def cells(pixels_HxWx3: np.ndarray) -> np.ndarray:
  """Bool [H, W]: where the map's deepest blue is, that of 100 percent."""
  return (pixels_HxWx3 == (8, 48, 107)).all(axis=-1)


def test_image_shows_the_diagonal():
  first = animation.confusion_image(7 * np.eye(8, dtype=int), CLASSES)
  assert first.dtype == np.uint8
  assert first.ndim == 3 and first.shape[-1] == 3
  for confusion_CxC in matrices(2):
    image = animation.confusion_image(confusion_CxC, CLASSES)
    assert image.shape == first.shape
  # Eight squares of one row and column each, from the upper left corner.
  rows, columns = np.nonzero(cells(first))
  right, left = columns > np.median(columns), columns < np.median(columns)
  assert rows[right].mean() > rows[left].mean()
  again = animation.confusion_image(7 * np.eye(8, dtype=int), CLASSES)
  np.testing.assert_array_equal(again, first)


def test_the_row_is_the_truth():
  confusion_CxC = np.zeros((8, 8), int)
  confusion_CxC[0, 7] = 3
  rows, columns = np.nonzero(
    cells(animation.confusion_image(confusion_CxC, CLASSES))
  )
  assert rows.max() < columns.min()


def test_images_of_other_classes():
  two = animation.confusion_image(np.eye(2), ["sad", "happy"])
  eight = animation.confusion_image(np.eye(8), CLASSES)
  assert two.shape < eight.shape


def read(path) -> tuple[list[np.ndarray], list[int]]:
  """Frames [H, W, 3] and their milliseconds."""
  with Image.open(path) as film:
    frames, durations = [], []
    for index in range(film.n_frames):
      film.seek(index)
      frames.append(np.asarray(film.convert("RGB")).astype(int))
      durations.append(film.info.get("duration"))
  return frames, durations


def test_animation(tmp_path):
  path = tmp_path / "confusion.gif"
  confusion_ExCxC = matrices(6)
  names = [f"epoch {epoch}" for epoch in range(1, 7)]
  animation.confusion_animation(
    path, confusion_ExCxC, names, CLASSES, "RAVDESS"
  )
  frames, durations = read(path)
  assert len(frames) == 6
  assert durations == [500] * 5 + [3000]
  with Image.open(path) as film:
    assert film.info["loop"] == 0
  assert path.stat().st_size < 300_000
  # The palette has every shade of the map: frames are as they were drawn, but
  # for the edges of letters.
  picture = animation._picture(tuple(CLASSES), 2)
  for number, frame in enumerate(frames):
    confusion_CxC = confusion_ExCxC[number]
    percent = 100 * np.mean(confusion_CxC.diagonal() / confusion_CxC.sum(1))
    title = f"RAVDESS\nepoch {number + 1}: unweighted accuracy {percent:.1f} %"
    image = picture.draw(confusion_CxC, title).astype(int)
    difference = np.abs(frame - image).max(axis=-1)
    assert np.mean(difference > 8) < 0.02


def test_long_titles_are_wrapped(tmp_path, monkeypatch):
  titles = []
  draw = animation._Picture.draw

  def recorded(self, confusion_CxC, title):
    titles.append(title)
    return draw(self, confusion_CxC, title)

  monkeypatch.setattr(animation._Picture, "draw", recorded)
  heights = []
  for title in ("short", "a title of very many words indeed " * 3):
    path = tmp_path / "confusion.gif"
    animation.confusion_animation(
      path, matrices(1), ["epoch 1"], CLASSES, title
    )
    heights.append(read(path)[0][0].shape[0])
  assert len(titles[1].splitlines()) > 2
  assert max(map(len, titles[1].splitlines())) < 60
  assert heights[1] > heights[0]


def test_many_evaluations_become_a_hundred_frames(tmp_path, monkeypatch):
  drawn = []

  def draw(self, confusion_CxC, title):
    drawn.append((confusion_CxC.sum(), title.splitlines()[-1]))
    return np.full((4, 4, 3), confusion_CxC.sum() % 256, np.uint8)

  monkeypatch.setattr(animation._Picture, "draw", draw)
  confusion_ExCxC = np.arange(1, 251)[:, None, None] * np.ones((1, 2, 2), int)
  path = tmp_path / "confusion.gif"
  names = [f"epoch {epoch}" for epoch in range(1, 251)]
  animation.confusion_animation(path, confusion_ExCxC, names, "ab", "t")
  assert len(drawn) == 100
  assert drawn[0][0] == 4 and drawn[-1][0] == 1000
  assert drawn[-1][1] == "epoch 250: unweighted accuracy 50.0 %"
  assert set(np.diff([total for total, _ in drawn])) <= {8, 12}


@pytest.mark.parametrize("count", [1, 2])
def test_few_evaluations(tmp_path, count):
  path = tmp_path / "confusion.gif"
  names = [f"round {n}" for n in range(count)]
  animation.confusion_animation(path, matrices(count), names, CLASSES, "t")
  with Image.open(path) as film:
    assert film.n_frames == count
