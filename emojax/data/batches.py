"""Batches of conversations, packed several to a row.

Conversations differ much in length (IEMOCAP: 8 to 110 utterances, 37 on
average). Padding each to the longest would make the recurrence and the
attention work on three times what is there. So a batch is packed, as language
models pack sentences: rows as long as the longest conversation, filled first
fit, with a segment number for each conversation of a row. Everything outside
the contextual encoder runs on the flat utterances.

All batches of a plan have the same shape, so the step compiles once:
N utterances, B rows of T turns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Turns in one batch of an `Evaluation`: bounds the memory it takes.
_EVALUATION_TURNS = 2048


class Batch(NamedTuple):
  """Conversations of one step, as rows of the feature table."""

  utterances_N: np.ndarray  # Row of the feature table; 0 beyond `count`.
  count: np.ndarray  # Number of real utterances, which come first.
  position_BxT: np.ndarray  # Of a turn in `utterances_N`; N: there is none.
  segment_BxT: np.ndarray  # 1, 2, ... for a row's conversations; 0: padding.


class Shape(NamedTuple):
  """Utterances, rows, and turns of a row."""

  num_utterances: int
  num_rows: int
  row_length: int


class Plan:
  """The batches of a training: every conversation of it once an epoch.

  An epoch has `ceil(labelled / batch_size)` steps. Labelled and unlabelled
  conversations are dealt out separately, so each step has `batch_size` labelled
  ones (where the division leaves a rest, a few less, evenly) and its share of
  the unlabelled ones. Dealing goes by length: every step gets one conversation
  of each length stratum, at random, which keeps the number of utterances a
  step, and with it the padding, nearly constant.
  """

  def __init__(
    self,
    dialogues: Sequence[np.ndarray],
    labelled_D: np.ndarray,
    unlabelled_D: np.ndarray,
    batch_size: int,
    num_epochs: int,
    seed: int,
  ):
    """Plans `num_epochs` epochs of `batch_size` labelled conversations a step.

    Dialogues are utterance indices in turn order; `labelled_D` says which have
    labels to train on, `unlabelled_D` which are learnt from without. The others
    are in no batch, and have rows that are long enough for them. A batch
    depends on the seed, the epoch and the step.
    """
    self._dialogues = dialogues
    self._lengths = np.array([len(d) for d in dialogues])
    self._pools = [np.flatnonzero(labelled_D), np.flatnonzero(unlabelled_D)]
    self._seed = seed
    self.num_steps = -(-len(self._pools[0]) // batch_size)
    row_length = int(self._lengths.max())
    shapes = [
      Shape(
        int(self._lengths[step].sum()),
        len(first_fit(self._lengths[step], row_length)),
        row_length,
      )
      for epoch in range(num_epochs)
      for step in self._deal(epoch)
    ]
    self.shape = Shape(*np.max(shapes, axis=0).tolist())

  def epoch(self, epoch: int) -> list[Batch]:
    """The batches of an epoch, `num_steps` of them."""
    return [
      pack([self._dialogues[d] for d in step], self.shape)
      for step in self._deal(epoch)
    ]

  def _deal(self, epoch: int) -> list[np.ndarray]:
    """The conversations of each step of an epoch."""
    rng = np.random.default_rng([self._seed, epoch])
    hands = [[] for _ in range(self.num_steps)]
    turns = np.zeros(self.num_steps, int)
    for pool in self._pools:
      # Longest first, ties at random, dealt stratum by stratum: at random, then
      # the longest to whoever has least, and so on.
      order = pool[np.lexsort((rng.random(len(pool)), -self._lengths[pool]))]
      for number, start in enumerate(range(0, len(order), self.num_steps)):
        stratum = order[start : start + self.num_steps]
        takers = rng.permutation(self.num_steps)
        if number % 2:
          takers = takers[np.argsort(turns[takers], kind="stable")]
        for hand, dialogue in zip(takers, stratum, strict=False):
          hands[hand].append(dialogue)
          turns[hand] += self._lengths[dialogue]
    return [np.array(hand) for hand in hands]


class Evaluation:
  """Some conversations in as few batches of one shape as memory allows."""

  def __init__(self, dialogues: Sequence[np.ndarray], row_length: int):
    """Packs `dialogues`, utterance indices in turn order, into rows."""
    lengths = np.array([len(d) for d in dialogues])
    rows = first_fit(lengths, row_length)
    num_batches = -(-len(rows) * row_length // _EVALUATION_TURNS)
    rows_a_batch = -(-len(rows) // num_batches)
    # First fit puts the dialogues of some rows into the same rows again.
    self._batches = [
      [dialogues[d] for row in rows[start : start + rows_a_batch] for d in row]
      for start in range(0, len(rows), rows_a_batch)
    ]
    num_utterances = max(sum(map(len, batch)) for batch in self._batches)
    self.shape = Shape(num_utterances, rows_a_batch, row_length)

  def batches(self) -> list[Batch]:
    """All batches, of `shape`."""
    return [pack(batch, self.shape) for batch in self._batches]


def share_shapes(packed: Sequence[Plan | Evaluation], slack: float) -> None:
  """Gives what is nearly of one shape the same shape, and one compilation.

  Shapes are enlarged by `slack` at most, a share of the shape.
  """
  shape = Shape(0, 0, 0)
  for item in sorted(packed, key=lambda item: item.shape, reverse=True):
    fits = (np.array(item.shape) <= shape).all()
    near = (np.array(item.shape) >= (1 - slack) * np.array(shape)).all()
    shape = item.shape = shape if fits and near else item.shape


def first_fit(lengths: np.ndarray, row_length: int) -> list[list[int]]:
  """Fills rows first fit, longest first: the indices [D] that each holds."""
  rows: list[list[int]] = []
  space: dict[int, int] = {}  # Rows that are not full, in order.
  for index in np.argsort(-lengths, kind="stable").tolist():
    length = int(lengths[index])
    row = next((r for r, left in space.items() if left >= length), len(rows))
    if row == len(rows):
      rows.append([])
      space[row] = row_length
    rows[row].append(index)
    space[row] -= length
    if not space[row]:
      del space[row]
  return rows


def pack(dialogues: Sequence[np.ndarray], shape: Shape) -> Batch:
  """Packs conversations (arrays of utterance indices) into a batch."""
  num_utterances, num_rows, row_length = shape
  utterances_N = np.zeros(num_utterances, np.int32)
  position_BxT = np.full((num_rows, row_length), num_utterances, np.int32)
  segment_BxT = np.zeros((num_rows, row_length), np.int32)
  count = 0
  lengths = np.array([len(d) for d in dialogues])
  for row, members in enumerate(first_fit(lengths, row_length)):
    turn = 0
    for segment, member in enumerate(members, start=1):
      length = int(lengths[member])
      utterances_N[count : count + length] = dialogues[member]
      turns = slice(turn, turn + length)
      position_BxT[row, turns] = np.arange(count, count + length)
      segment_BxT[row, turns] = segment
      count += length
      turn += length
  return Batch(utterances_N, np.int32(count), position_BxT, segment_BxT)
