"""The loop with a study of a few numbers: a random walk."""

import functools
import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clu import values as clu_values

from emojax import loop
from emojax.errors import UserError

NUM_ROUNDS = 7


@functools.partial(jax.jit, donate_argnums=0)
def walk(state, key):
  key = jax.random.fold_in(key, state["step"])
  position = state["position"] + jax.random.normal(key, (4,))
  return {"position": position, "step": state["step"] + 1}


class Tiny:
  """A random walk; it counts its calls and can stop or fail."""

  def __init__(self, at_round=None):
    self.calls = []
    self._key = jax.random.key(3)
    self._at_round = at_round or {}

  def study(self) -> loop.Study:
    return loop.Study(
      self.init, self.round, self.evaluate, lambda *_: None, self.pictures
    )

  def init(self):
    self.calls.append("init")
    return {"position": jnp.zeros(4), "step": jnp.int32(0)}

  def round(self, state, round_):
    self.calls.append(round_)
    state = walk(state, self._key)
    self._at_round.get(round_, lambda: None)()
    return state, {
      "train/loss": self.broken(round_, state["position"].mean()),
      "train/confusion_matrix": jnp.full((2, 2), round_),
    }

  def broken(self, round_, loss):
    return loss

  def evaluate(self, state):
    return {
      "test/accuracy": clu_values.Scalar(jnp.tanh(state["position"][0])),
      "test/shares": clu_values.Image(jnp.full((4, 4, 1), 0.5)),
      "test/remark": clu_values.Text("It walks."),
    }

  def pictures(self, arrays):
    assert isinstance(arrays["train/confusion_matrix"], np.ndarray)
    return {"picture": clu_values.Image(np.zeros((4, 4, 3), np.uint8))}


def run(folder, tiny=None, num_rounds=NUM_ROUNDS):
  tiny = tiny or Tiny()
  return loop.run(tiny.study(), folder, num_rounds, 2, "walking")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
  """Folder, state and history of a run that nothing has disturbed."""
  folder = tmp_path_factory.mktemp("uninterrupted")
  return folder, *run(folder)


def assert_same(ended, uninterrupted) -> None:
  """The last bit of the state and of all that was recorded."""
  _, *expected = uninterrupted
  jax.tree.map(np.testing.assert_array_equal, list(ended), expected)


def test_what_a_run_records(uninterrupted):
  folder, state, history = uninterrupted
  assert set(history) == {
    "train/loss",
    "train/confusion_matrix",
    "test/accuracy",
  }
  assert history["train/loss"].shape == (NUM_ROUNDS,)
  assert history["train/confusion_matrix"][3].tolist() == [[3, 3], [3, 3]]
  assert history["train/loss"][-1] == pytest.approx(state["position"].mean())
  assert history["test/accuracy"][-1] == pytest.approx(
    np.tanh(state["position"][0])
  )
  # The last round is saved, whatever the interval: it is the trained model.
  assert sorted(os.listdir(folder / "checkpoints")) == ["6", "7"]
  assert len(os.listdir(folder)) == 2


def test_clu_values_reach_tensorboard_as_what_they_are(tmp_path, monkeypatch):
  written = {}

  def write(self, step, values):
    written[step] = values

  monkeypatch.setattr(loop.TensorBoardWriter, "write", write)
  _, history = run(tmp_path, num_rounds=2)
  assert list(written) == [1, 2]
  for step, values in written.items():
    numbers = {k: v for k, v in values.items() if np.ndim(v) == 0}
    assert set(values) == {
      *("train/loss", "test/accuracy", "test/shares", "test/remark"),
      "picture",
    }
    for name in ("train/loss", "test/accuracy"):
      assert numbers[name] == history[name][step - 1]
    for name in ("test/shares", "picture"):
      assert isinstance(values[name], clu_values.Image)
    assert values["test/remark"].value == "It walks."


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("round_", [0, 1, 4, NUM_ROUNDS - 1])
def test_a_stop_saves_and_the_same_command_goes_on(
  uninterrupted, tmp_path, round_, number, caplog
):
  before = signal.getsignal(number)
  tiny = Tiny({round_: lambda: signal.raise_signal(number)})
  with pytest.raises(SystemExit) as stopped:
    run(tmp_path, tiny)
  assert stopped.value.code == 128 + number
  assert signal.getsignal(number) is before
  assert tiny.calls == ["init", *range(round_ + 1)]
  assert f"stopped after round {round_ + 1} of 7" in caplog.text
  assert str(round_ + 1) in os.listdir(tmp_path / "checkpoints")

  again = Tiny()
  assert_same(run(tmp_path, again), uninterrupted)
  assert again.calls == ["init", *range(round_ + 1, NUM_ROUNDS)]


def test_a_thread_runs_rounds_too(uninterrupted, tmp_path):
  """Only the main thread may ask for signals."""
  ended = []
  thread = threading.Thread(target=lambda: ended.append(run(tmp_path)))
  thread.start()
  thread.join()
  (one,) = ended
  assert_same(one, uninterrupted)


class Crash(Exception):
  pass


def crash():
  raise Crash


@pytest.mark.parametrize("crashes", [(0,), (1, 3), (5,), (3, 4, 5, 6)])
def test_a_crash_goes_on_from_the_last_checkpoint(
  uninterrupted, tmp_path, crashes
):
  for round_ in crashes:
    with pytest.raises(Crash):
      run(tmp_path, Tiny({round_: crash}))
  tiny = Tiny()
  assert_same(run(tmp_path, tiny), uninterrupted)
  assert tiny.calls[1] == crashes[-1] // 2 * 2


def test_what_has_run_is_restored(uninterrupted):
  folder, *_ = uninterrupted
  tiny = Tiny()
  assert_same(run(folder, tiny), uninterrupted)
  assert tiny.calls == ["init"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("round_", [2, 3, NUM_ROUNDS - 1])
def test_a_number_that_is_not_finite_ends_the_run(tmp_path, round_, value):
  tiny = Tiny()
  tiny.broken = lambda number, loss: jnp.where(number == round_, value, loss)
  with pytest.raises(UserError, match="train/loss is not finite") as caught:
    run(tmp_path, tiny)
  message = str(caught.value)
  assert f"after round {round_ + 1} in {tmp_path}" in message
  assert "learning_rate" in message
  assert "\n" not in message
  # Read one round late: at most one more has begun, and none was saved.
  assert max(c for c in tiny.calls if c != "init") <= round_ + 1
  saved = os.listdir(tmp_path / "checkpoints")
  assert not [name for name in saved if name.isdigit() and int(name) > round_]
