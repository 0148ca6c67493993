"""The drawing of schematic faces: soft shapes, painted one over the other.

All lengths are relative: the image is two units high and wide, its middle is
(0, 0), y grows downwards. Arrays are [N, H, W] or broadcast to it. A shape is
the signed distance of each place to its edge, negative inside: the larger of
two distances is what both shapes share, the smaller is their union.
"""

import dataclasses

import numpy as np

Array = np.ndarray
_Point = tuple[Array | float, Array | float]

SIZE = 48  # Pixels, high and wide.
_SUPERSAMPLING = 2
_EDGE = 1.5 * 2 / (SIZE * _SUPERSAMPLING)  # Width of the soft edge of a shape.
_EYES = -0.12  # Height of the eyes.


@dataclasses.dataclass(frozen=True)
class Faces:
  """What is drawn: N values for each of these, as [N, 1, 1].

  Tones go from black, 0, to white, 1; action units from 0 at rest to 1 at full
  strength, or a little beyond.
  """

  # Action units, with their numbers in the Facial Action Coding System.
  inner: Array  # 1: inner ends of the brows raised.
  outer: Array  # 2: their outer ends.
  lower: Array  # 4: brows lowered and drawn together.
  lids: Array  # 5: upper lids raised; below 0 they droop.
  narrow: Array  # 6 and 7: eyes narrowed.
  wrinkle: Array  # 9: nose wrinkled.
  lip: Array  # 10: upper lip raised.
  smile: Array  # 12: corners of the mouth up.
  frown: Array  # 15: corners of the mouth down.
  stretch: Array  # 20: mouth drawn wide.
  press: Array  # 23 and 24: lips pressed.
  drop: Array  # 26: jaw dropped.
  # The person.
  skin: Array  # Tone.
  hair: Array  # Tone.
  long_hair: Array  # 0 or 1.
  hairline: Array  # Height.
  width: Array  # Of the head, relative to the average.
  spacing: Array  # Of the eyes, likewise.
  eyes: Array  # Their size, likewise.
  brows: Array  # Their height above the eyes.
  bushiness: Array  # Half the thickness of the brows.
  nose: Array  # Its length.
  mouth: Array  # Its width, relative to the average.
  lips: Array  # Their thickness.
  corners: Array  # How far they hang at rest.
  beard: Array  # How dense, 0 for none.
  glasses: Array  # 0 or 1.
  # The camera.
  tilt: Array  # Radians.
  turn: Array  # To the side; 1 is far.
  nod: Array  # Downwards; 1 is far.
  zoom: Array
  shift_x: Array
  shift_y: Array
  light_x: Array  # Where the light comes from, and how strong it is.
  light_y: Array
  background: Array  # Tone.
  contrast: Array
  noise: Array  # Standard deviation, in tones.


def draw(f: Faces, texture: Array) -> Array:
  """Draws faces from the back to the front.

  Args:
    f: the faces.
    texture: tones [N, T, T] that a coarse grid of the background differs by.

  Returns:
    Tones float32 [N, 48, 48].
  """
  side = SIZE * _SUPERSAMPLING
  ticks = ((np.arange(side) + 0.5) * 2 / side - 1).astype(np.float32)
  x, y = (ticks[None, :] - f.shift_x), (ticks[:, None] - f.shift_y)
  sine, cosine = np.sin(f.tilt) / f.zoom, np.cos(f.tilt) / f.zoom
  x, y = cosine * x + sine * y, cosine * y - sine * x

  canvas = _background(f, texture, side)
  _head(canvas, f, x, y)
  # What is on the front of the round head moves when the head does.
  front = np.sqrt(np.maximum(1 - 0.8 * (x * x + y * y), 0))
  x, y = x - 0.14 * f.turn * front, y - 0.12 * f.nod * front
  across = np.abs(x)  # Both sides at once.
  lower, upper = np.s_[:, side // 4 :], np.s_[:, : 3 * side // 4]
  for rows, features in (
    (lower, (_nose, _mouth)),
    (upper, (_eyes, _brows, _glasses)),
  ):
    for paint in features:
      paint(canvas[rows], f, across[rows], y[rows])
  shape = (len(canvas), SIZE, _SUPERSAMPLING, SIZE, _SUPERSAMPLING)
  return canvas.reshape(shape).mean(axis=(2, 4))


def _inside(distance: Array) -> Array:
  """How much of a place is within a shape, of its distance to the edge."""
  return np.clip(0.5 - distance / _EDGE, 0, 1)


def _ellipse(
  x: Array, y: Array, wide: Array | float, high: Array | float
) -> Array:
  """The distance to an ellipse around the origin, good enough near its edge."""
  radius = np.sqrt((x / wide) ** 2 + (y / high) ** 2)
  return (radius - 1) * np.minimum(wide, high)


def _stroke(
  x: Array, y: Array, start: _Point, end: _Point, thickness: float
) -> Array:
  """The distance to a line with round ends; `start` and `end` are (x, y)."""
  along_x, along_y = end[0] - start[0], end[1] - start[1]
  off_x, off_y = x - start[0], y - start[1]
  length = along_x**2 + along_y**2
  t = np.clip((off_x * along_x + off_y * along_y) / length, 0, 1)
  return np.hypot(off_x - t * along_x, off_y - t * along_y) - thickness


def _paint(canvas: Array, share: Array, tone: Array | float) -> None:
  """Covers a share of each place with a tone."""
  canvas += share * (tone - canvas)


def _background(f: Faces, texture: Array, side: int) -> Array:
  """A tone with clouds, interpolated from the coarse grid of the texture."""
  place = np.linspace(0, texture.shape[1] - 1, side)
  knots = np.arange(texture.shape[1])
  weights = np.maximum(1 - np.abs(place[:, None] - knots), 0)
  clouds = weights @ texture @ weights.T
  return np.clip(f.background + clouds, 0, 1).astype(np.float32)


def _head(canvas: Array, f: Faces, x: Array, y: Array) -> None:
  """Hair, neck, ears and the bare face, lit from one side."""
  wide = 0.6 * f.width
  lit = np.clip(1 + f.light_x * x / wide + f.light_y * y, 0.3, 1.5)
  skin = f.skin * lit
  behind = _ellipse(x, y + 0.08, wide * (1.14 + 0.14 * f.long_hair), 0.9)
  falling = np.maximum(np.abs(x) - wide * 1.25, -y - 0.1)
  falling = np.where(f.long_hair > 0, falling, 1)
  _paint(canvas, _inside(np.minimum(behind, falling)), f.hair * lit)
  neck = np.maximum(np.abs(x) - 0.3, 0.3 - y)
  _paint(canvas, _inside(neck), 0.72 * skin)
  # A jaw is narrower than a forehead.
  narrowing = wide * (1 - 0.25 * np.clip(y, 0, 1) ** 1.5)
  ears = _ellipse(np.abs(x) - wide, y - 0.02, 0.07, 0.14)
  face = _ellipse(x, y - 0.02, narrowing, 0.84)
  _paint(canvas, _inside(np.minimum(ears, face)), skin)
  round_off = 1 - 0.3 * np.clip(1 + face / 0.45, 0, 1) ** 2
  _paint(canvas, _inside(face), skin * round_off)
  beard = np.clip((y - 0.22 + 0.5 * (0.5 - np.abs(x))) / 0.2, 0, 1)
  _paint(canvas, f.beard * beard * _inside(face), 0.8 * f.hair)
  fringe = np.maximum(face - 0.02, y - f.hairline - 0.25 * x * x)
  _paint(canvas, _inside(fringe), f.hair * lit)


def _nose(canvas: Array, f: Faces, across: Array, y: Array) -> None:
  """The nose, its wrinkles, and the folds from it to the mouth."""
  tip = -0.12 + f.nose - 0.03 * f.wrinkle
  ridge = _stroke(across, y, (0.055, -0.08), (0.085, tip), 0.012)
  _paint(canvas, 0.25 * _inside(ridge), 0.5 * f.skin)
  nostril = _ellipse(across - 0.055 - 0.02 * f.wrinkle, y - tip, 0.04, 0.024)
  _paint(canvas, 0.8 * _inside(nostril), 0.3 * f.skin)
  for height in (-0.1, -0.04):
    line = _stroke(across, y, (0.0, height), (0.075, height - 0.035), 0.012)
    bunched = np.clip(f.wrinkle, 0, 1)
    _paint(canvas, 0.5 * bunched * _inside(line), 0.35 * f.skin)
  cheek = np.clip(f.smile + f.lip, 0, 1)
  fold = _stroke(across, y, (0.15, 0.14), (0.33, 0.4), 0.014)
  _paint(canvas, 0.5 * cheek * _inside(fold), 0.4 * f.skin)


def _mouth(canvas: Array, f: Faces, across: Array, y: Array) -> None:
  """Lips, what is between them, and teeth."""
  spread = 1 + 0.25 * f.smile + 0.3 * f.stretch - 0.2 * f.press - 0.25 * f.drop
  wide = 0.25 * f.mouth * np.maximum(spread, 0.4)
  middle = 0.43 + 0.04 * f.smile
  hang = f.corners - 0.13 * f.smile + 0.11 * f.frown + 0.03 * f.stretch
  bow = np.clip(1 - (across / wide) ** 2, 0, 1)
  line = middle + hang * (1 - bow)
  gape = (0.3 * f.drop + 0.06 * f.stretch + 0.05 * f.smile) * np.sqrt(bow)
  sneer = 0.07 * f.lip * bow
  top, bottom = line - 0.2 * gape - sneer, line + 0.8 * gape
  full = f.lips * (1 - 0.65 * np.clip(f.press, 0, 1)) * np.sqrt(bow)
  beyond = across - wide
  lips = np.maximum(top - 0.8 * full - y, y - bottom - full)
  _paint(canvas, 0.6 * _inside(np.maximum(lips, beyond)), 0.5 * f.skin)
  gap = np.maximum(np.maximum(top - y, y - bottom) - 0.008, beyond)
  _paint(canvas, _inside(gap), 0.12)
  shown = np.clip(f.smile + f.stretch + f.lip, 0, 1)
  teeth = np.maximum(np.maximum(top - y, y - top - 0.05), y - bottom + 0.01)
  teeth = np.maximum(teeth, beyond + 0.04)
  _paint(canvas, 0.8 * shown * _inside(teeth), 0.3 + 0.6 * f.skin)


def _eyes(canvas: Array, f: Faces, across: Array, y: Array) -> None:
  """The sockets, and in them the white, the iris and the lashes."""
  wide = 0.145 * f.eyes
  off_x, off_y = across - 0.27 * f.spacing, y - _EYES
  bow = np.clip(1 - (off_x / wide) ** 2, 0, 1)
  opened = np.clip(1 + 0.7 * f.lids - 0.45 * f.narrow, 0.25, 1.8)
  upper = 0.075 * f.eyes * opened * bow
  under = 0.05 * f.eyes * np.clip(1 - 0.7 * f.narrow, 0.1, 1) * bow
  almond = np.maximum(-off_y - upper, off_y - under)
  almond = np.maximum(almond, np.abs(off_x) - wide)
  inside = _inside(almond)
  _paint(canvas, 0.35 * _inside(almond - 0.05), 0.6 * f.skin)
  _paint(canvas, inside, 0.35 + 0.6 * f.skin)
  iris = np.hypot(off_x, off_y + 0.01) - 0.062 * f.eyes
  _paint(canvas, inside * _inside(iris), 0.1)
  glint = np.hypot(off_x - 0.02, off_y + 0.03) - 0.015
  _paint(canvas, inside * _inside(glint), 0.95)
  lash = np.maximum(np.abs(-off_y - upper) - 0.014, np.abs(off_x) - wide)
  _paint(canvas, 0.9 * _inside(lash), 0.1)


def _brows(canvas: Array, f: Faces, across: Array, y: Array) -> None:
  """The brows, and the wrinkles above and between them."""
  start, end = 0.1 * f.spacing - 0.025 * f.lower, 0.46 * f.spacing
  t = np.clip((across - start) / (end - start), 0, 1)
  rest = _EYES - f.brows - 0.13 * t * (1 - t)
  raised = 0.11 * f.inner * (1 - t) ** 1.5 + 0.11 * f.outer * t
  lowered = 0.1 * (f.lower + 0.4 * f.wrinkle) * (1 - t) + 0.03 * f.lower
  height = rest - raised + lowered + 0.03 * t
  thick = f.bushiness * (1 - 0.5 * t)
  brow = np.abs(y - height) - thick
  brow = np.maximum(brow, np.maximum(start - across, across - end))
  _paint(canvas, 0.9 * _inside(brow), 0.6 * f.hair)
  raised = np.clip(0.5 * (f.inner + f.outer - 0.8 * f.lower), 0, 1)
  for height in (-0.44, -0.52):
    line = np.maximum(np.abs(y - height) - 0.01, across - 0.28)
    _paint(canvas, 0.3 * raised * _inside(line), 0.4 * f.skin)
  furrow = _stroke(across, y, (0.035, -0.34), (0.045, -0.2), 0.012)
  knitted = np.clip(f.lower + 0.5 * f.wrinkle, 0, 1)
  _paint(canvas, 0.5 * knitted * _inside(furrow), 0.35 * f.skin)


def _glasses(canvas: Array, f: Faces, across: Array, y: Array) -> None:
  off_x, off_y = across - 0.27 * f.spacing, y - _EYES - 0.02
  rim = np.abs(_ellipse(off_x, off_y, 0.23, 0.2)) - 0.012
  bridge = np.maximum(np.abs(off_y + 0.03) - 0.012, across - 0.05)
  _paint(canvas, 0.9 * f.glasses * _inside(np.minimum(rim, bridge)), 0.12)
