"""Batches: every conversation once, evenly dealt, densely packed."""

import itertools

import numpy as np
import pytest

from emojax.data import batches


def split_into_dialogues(lengths) -> list[np.ndarray]:
  """Conversations of these lengths whose utterances are not in table order."""
  order = np.random.default_rng(1).permutation(np.sum(lengths))
  return np.split(order, np.cumsum(lengths)[:-1])


def make_plan(lengths, labelled, batch_size, num_epochs=4, seed=0):
  dialogues = split_into_dialogues(lengths)
  labelled = np.asarray(labelled)
  plan = batches.Plan(
    dialogues, labelled, ~labelled, batch_size, num_epochs, seed
  )
  return plan, dialogues


def conversations(batch: batches.Batch) -> list[tuple[int, ...]]:
  """What a batch holds, read from its rows alone."""
  found = []
  for position_T, segment_T in zip(
    batch.position_BxT, batch.segment_BxT, strict=True
  ):
    for segment in range(1, segment_T.max(initial=0) + 1):
      turns = np.flatnonzero(segment_T == segment)
      assert len(turns)
      assert (np.diff(turns) == 1).all()  # Consecutive.
      found.append(tuple(batch.utterances_N[position_T[turns]].tolist()))
  return found


def members(plan, dialogues, epoch) -> list[list[int]]:
  """The conversations of each step of an epoch."""
  index = {tuple(d.tolist()): number for number, d in enumerate(dialogues)}
  return [[index[c] for c in conversations(b)] for b in plan.epoch(epoch)]


def test_a_conversation_that_is_not_learnt_from_is_in_no_batch():
  dialogues = split_into_dialogues([3, 2, 4, 9, 1])
  of = np.array([0, 1, 0, 2, 1])
  plan = batches.Plan(dialogues, of == 0, of == 1, 1, 2, 0)
  assert plan.num_steps == 2
  for epoch in range(2):
    steps = members(plan, dialogues, epoch)
    assert sorted(itertools.chain(*steps)) == [0, 1, 2, 4]
  assert plan.shape.row_length == 9


def iemocap_like(num_dialogues=151, seed=0) -> np.ndarray:
  """8 to 110 utterances, 37 on average."""
  rng = np.random.default_rng(seed)
  return np.clip(rng.gamma(4, 37 / 4, num_dialogues), 8, 110).astype(int)


@pytest.mark.parametrize(
  ("num_labelled", "num_unlabelled", "batch_size"),
  [(31, 9, 5), (30, 0, 5), (7, 40, 20), (1, 3, 1), (12, 2, 12), (13, 1, 12)],
)
def test_every_conversation_exactly_once_an_epoch(
  num_labelled, num_unlabelled, batch_size
):
  rng = np.random.default_rng(2)
  labelled = rng.permutation(
    np.repeat([True, False], [num_labelled, num_unlabelled])
  )
  lengths = rng.integers(1, 12, len(labelled))
  plan, dialogues = make_plan(lengths, labelled, batch_size)
  assert plan.num_steps == -(-num_labelled // batch_size)
  for epoch in range(4):
    steps = members(plan, dialogues, epoch)
    assert len(steps) == plan.num_steps
    assert sorted(itertools.chain(*steps)) == list(range(len(labelled)))
    of_labelled = [sum(labelled[d] for d in step) for step in steps]
    assert max(of_labelled) <= batch_size
    assert max(of_labelled) - min(of_labelled) <= 1
    of_unlabelled = [sum(~labelled[d] for d in step) for step in steps]
    assert max(of_unlabelled) - min(of_unlabelled) <= 1


def test_turns_keep_their_order():
  plan, dialogues = make_plan([5, 3, 4, 1], [True] * 4, 2)
  given = {tuple(d.tolist()) for d in dialogues}
  packed = [c for batch in plan.epoch(0) for c in conversations(batch)]
  assert set(packed) == given


def test_rows_hold_each_utterance_once_and_nothing_else():
  lengths = iemocap_like(40)
  plan, _ = make_plan(lengths, np.arange(40) < 30, 10)
  num_utterances, num_rows, row_length = plan.shape
  for batch in plan.epoch(0):
    count = int(batch.count)
    assert batch.utterances_N.shape == (num_utterances,)
    assert batch.position_BxT.shape == (num_rows, row_length)
    assert batch.segment_BxT.shape == (num_rows, row_length)
    taken = batch.position_BxT[batch.position_BxT < num_utterances]
    assert sorted(taken) == list(range(count))
    padding = batch.segment_BxT == 0
    assert (batch.position_BxT[padding] == num_utterances).all()
    assert (batch.position_BxT[~padding] < count).all()
    assert not batch.utterances_N[count:].any()
    assert all(x.dtype == np.int32 for x in batch)


def test_one_shape_for_all_epochs():
  lengths = iemocap_like(60)
  plan, _ = make_plan(lengths, np.arange(60) < 50, 10, num_epochs=20)
  shapes = {
    tuple(np.shape(part) for part in batch)
    for epoch in range(20)
    for batch in plan.epoch(epoch)
  }
  assert len(shapes) == 1
  assert plan.shape.row_length == lengths.max()


def test_a_batch_depends_on_seed_and_epoch_alone():
  lengths = iemocap_like(40)
  labelled = np.arange(40) < 30

  def steps(seed, epoch):
    # A new plan, asked for this epoch first.
    plan, dialogues = make_plan(lengths, labelled, 10, seed=seed)
    return members(plan, dialogues, epoch)

  plan, dialogues = make_plan(lengths, labelled, 10)
  in_order = [members(plan, dialogues, epoch) for epoch in range(3)]
  assert in_order[2] == steps(0, 2)
  assert in_order[0] != in_order[1] != in_order[2]
  assert steps(1, 0) != in_order[0]


def test_equal_lengths_are_dealt_at_random():
  plan, dialogues = make_plan([1] * 100, [True] * 100, 10, num_epochs=40)
  together = {
    frozenset(pair)
    for epoch in range(40)
    for step in members(plan, dialogues, epoch)
    for pair in itertools.pairwise(step)
  }
  assert len(together) > 1500  # Of 4950 pairs, 3600 draws.


@pytest.mark.parametrize("num_labelled", [120, 90, 60])
def test_little_padding_on_lengths_like_those_of_iemocap(num_labelled):
  lengths = iemocap_like()
  labelled = np.random.default_rng(3).permutation(151) < num_labelled
  plan, _ = make_plan(lengths, labelled, 20, num_epochs=30)
  counts = [int(b.count) for e in range(30) for b in plan.epoch(e)]
  assert 1 - np.mean(counts) / plan.shape.num_utterances <= 0.08
  # Rows, which the recurrence walks, are as many as the longest needs.
  turns = plan.shape.num_rows * plan.shape.row_length
  assert np.mean(counts) / turns >= 0.75


def test_an_evaluation_covers_its_conversations_once():
  lengths = iemocap_like(150)
  dialogues = split_into_dialogues(lengths)
  evaluation = batches.Evaluation(dialogues, row_length=120)
  packed = evaluation.batches()
  found = [c for batch in packed for c in conversations(batch)]
  assert sorted(found) == sorted(tuple(d.tolist()) for d in dialogues)
  assert len(packed) > 1
  for batch in packed:
    assert batch.utterances_N.shape == (evaluation.shape.num_utterances,)
    assert batch.segment_BxT.shape == evaluation.shape[1:]
    assert batch.segment_BxT.size <= 2048 + 120


def test_an_evaluation_of_one_utterance():
  (batch,) = batches.Evaluation([np.array([7])], row_length=3).batches()
  assert conversations(batch) == [(7,)]
  assert batch.position_BxT.tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("seed", range(5))
def test_first_fit_never_overfills_a_row(seed):
  lengths = np.random.default_rng(seed).integers(1, 21, 50)
  rows = batches.first_fit(lengths, 20)
  assert sorted(itertools.chain(*rows)) == list(range(50))
  assert all(lengths[row].sum() <= 20 for row in rows)
  # First fit decreasing is at most 11/9 of the best, plus 6/9.
  assert len(rows) <= 11 / 9 * np.ceil(lengths.sum() / 20) + 1


def test_shapes_that_are_near_become_one():
  class Packed:
    def __init__(self, *shape):
      self.shape = batches.Shape(*shape)

  packed = [
    Packed(95, 10, 20),
    Packed(100, 10, 20),
    Packed(60, 6, 20),
    Packed(58, 6, 20),
    Packed(99, 11, 20),  # More rows than the largest: keeps its own.
  ]
  batches.share_shapes(packed, slack=0.1)
  assert [tuple(p.shape) for p in packed] == [
    (99, 11, 20),
    (100, 10, 20),
    (60, 6, 20),
    (60, 6, 20),
    (99, 11, 20),
  ]


def test_a_shared_shape_holds_the_same_conversations():
  lengths = iemocap_like(40)
  small, dialogues = make_plan(lengths, np.arange(40) < 30, 10)
  before = [members(small, dialogues, epoch) for epoch in range(2)]
  small.shape = batches.Shape(
    small.shape.num_utterances + 9,
    small.shape.num_rows + 2,
    small.shape.row_length,
  )
  assert [members(small, dialogues, epoch) for epoch in range(2)] == before
