"""What an RLPS study learns from: items, their examples, what is known of them.

See `classifiers` for items and examples. N examples of a part.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from emojax.data import noise

UNKNOWN = "unknown"  # The kind of all examples where no truth is known.


@dataclasses.dataclass(frozen=True)
class Part:
  """Items of the training, validation or test part.

  Attributes:
    inputs: of the classifier, arrays [I, ...] in any tree.
    label_IxE: int32, the class of each example; below 0 where an item has no
      further example.
  """

  inputs: Any
  label_IxE: np.ndarray

  @functools.cached_property
  def place_N(self) -> np.ndarray:
    """Where the examples stand in the flattened labels."""
    return np.flatnonzero(self.label_IxE.reshape(-1) >= 0)

  @property
  def label_N(self) -> np.ndarray:
    return self.label_IxE.reshape(-1)[self.place_N]


@dataclasses.dataclass(frozen=True)
class Material:
  """A corpus with noise in its training part; N examples of that.

  Attributes:
    setting: the name of the noise, in tables.
    classes: names of the emotions.
    parts: by the names of `records.PARTS`.
    kinds: names of the kinds of examples; one alone where no truth is known.
    kind_N: int8, index into `kinds`.
    noise: the `kinds` that are noise; empty where no truth is known.
    true_label_N: the classes before labels were changed.
    name_N: of the examples, in figures and files.
    picture_N: uint8 [N, H, W, C] of each example, None where there is none.
    demo: whether the data are synthetic.
  """

  setting: str
  classes: tuple[str, ...]
  parts: dict[str, Part]
  kinds: tuple[str, ...]
  kind_N: np.ndarray
  noise: tuple[str, ...]
  true_label_N: np.ndarray
  name_N: np.ndarray
  picture_N: np.ndarray | None
  demo: bool

  @property
  def noisy_N(self) -> np.ndarray | None:
    """Whether an example is noise; None where no truth is known."""
    if not self.noise:
      return None
    return np.isin(self.kind_N, [self.kinds.index(k) for k in self.noise])

  def with_training_part(self, train: Part, **changes: Any) -> "Material":
    """The same with another training part."""
    parts = {**self.parts, "train": train}
    return dataclasses.replace(self, parts=parts, **changes)


def as_it_is(
  classes: tuple[str, ...],
  parts: dict[str, Part],
  name_N: np.ndarray,
  demo: bool,
  picture_N: np.ndarray | None = None,
) -> Material:
  """A corpus without added noise, of whose own noise nothing is known.

  Arguments are `Material`'s attributes.
  """
  label_N = parts["train"].label_N
  return Material(
    setting="as it is",
    classes=classes,
    parts=parts,
    kinds=(UNKNOWN,),
    kind_N=np.zeros(len(label_N), np.int8),
    noise=(),
    true_label_N=label_N,
    name_N=name_N,
    picture_N=picture_N,
    demo=demo,
  )


def with_label_noise(
  clean: Material, name: str, rate: float, seed: int
) -> Material:
  """The same with wrong labels in the training part.

  Args:
    clean: with right ones, one example an item.
    name: "symmetric" or "class_dependent", see `data.faces.noise`.
    rate: share of the labels that are changed.
    seed: of the noise.

  Raises:
    UserError: a class has no other that it is confused with.
  """
  train = clean.parts["train"]
  if name == "symmetric":
    label_N, wrong_N = noise.symmetric(
      train.label_N, rate, len(clean.classes), seed
    )
  else:
    label_N, wrong_N = noise.class_dependent(
      train.label_N, rate, clean.classes, seed
    )
  return clean.with_training_part(
    Part(train.inputs, label_N[:, None]),
    setting=f"{100 * rate:g} % {name.replace('_', '-')} label noise",
    kinds=("right label", "wrong label"),
    kind_N=wrong_N.astype(np.int8),
    noise=("wrong label",),
  )
