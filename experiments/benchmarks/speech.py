"""Speed of the speech study: training steps, its input, and its memory.

  python -m experiments.benchmarks.speech --output=speech.json

Steps: HuBERT base (random weights, written by transformers), attention pooling
and the published head, frozen, with its last two layers trained, and trained
as a whole; emojax against transformers with PyTorch, both with Adam and
without dropout. Clips, labels and the head's weights are emojax', and the
losses of the first two steps must agree. Each side is a process; they are
warmed up, then take turns; a ratio is formed in each turn, so that other load
on the machine falls on both.

Input: the share of a training's time in which it waits for a batch. Memory:
what a process holds while the features of 10,000 synthetic clips are computed
and then read.
"""

import argparse
import os
import tempfile
import time

import jax
import numpy as np
from absl import flags

from configs import speech as speech_config
from emojax.audio.settings import Augmentation
from emojax.data import clips, encoded, pipeline
from emojax.data.splits import Split
from emojax.runtime import sharding
from emojax.systems import untrained
from emojax.trainers.speech import Training, run_key
from experiments.benchmarks import encoders, measure

RATE = clips.SAMPLE_RATE
CLASSES = tuple("abcdefgh")
BATCH, SECONDS = 4, 5
CASES = {"frozen": 0, "last 2 layers": 2, "all layers": None}
# Of Adam; with a larger one the second losses could not be compared.
LEARNING_RATE = 1e-5
TOLERANCE = 1e-3  # Of the first losses.


class Audio:
  """Synthetic clips, each made when it is read."""

  def __init__(self, count, seconds):
    self._count, self._samples = count, round(seconds * RATE)

  def __len__(self):
    return self._count

  def __getitem__(self, index):
    rng = np.random.default_rng(index)
    return rng.integers(-9000, 9000, self._samples).astype(np.int16)


def make_clips(count, seconds):
  """A corpus of synthetic clips: ten speakers, eight emotions."""
  numbers = np.arange(count)
  names = np.char.add("clip ", numbers.astype(str))
  return clips.Clips(
    classes=CLASSES,
    audio=Audio(count, seconds),
    num_samples_U=np.full(count, round(seconds * RATE)),
    class_U=numbers % 8,
    speaker_U=(numbers % 10).astype(str),
    corpus_U=np.full(count, "synthetic"),
    session_U=np.full(count, ""),
    path_U=names,
    name_U=names,
    digest_U=names,
    splits={},
  )


def config_of(encoder, trained_layers, **changes):
  config = speech_config.get_config("ravdess")
  config.model.encoder = encoder
  config.model.dropout = 0.0
  config.model.weigh_layers = False
  config.batch_size = BATCH
  config.data.buckets = (float(SECONDS),)
  config.freeze_encoder = trained_layers is not None
  config.unfreeze_last_n_layers = trained_layers or 0
  config.augment.gain_probability = 0.0
  with config.unlocked():
    config.update_from_flattened_dict(changes)
  return config


def thirds(count):
  numbers = np.arange(count)
  return Split(
    {
      name: numbers[numbers % 3 == part]
      for part, name in enumerate(("train", "validation", "test"))
    }
  )


def make_training(config, encoder, count):
  data = make_clips(count, SECONDS)
  classifier = untrained.make(config, encoder, CLASSES)
  augmentation = Augmentation.read(config.augment)
  return Training(config, classifier, data, thirds(count), augmentation)


class Emojax:
  """Training steps of the study; the frozen encoder runs in each."""

  def __init__(self, folder, trained_layers):
    flags.FLAGS(["speech"])  # Grain reads some.
    config = config_of(folder, trained_layers)
    # Without augmentation the states of a frozen encoder would be kept: the
    # batches are those of a study with it, the program is that of one without.
    config.augment.gain_probability = 1.0
    config.optimizer.schedule = "constant"
    config.optimizer.learning_rate = LEARNING_RATE
    config.optimizer.encoder_learning_rate = LEARNING_RATE
    self._training = training = make_training(config, folder, 3 * BATCH)
    self._learner = training.study(0).init().learner
    _, frozen = training.first_weights(0)
    self._frozen, self._key = training._place((frozen, run_key(config, 0)))
    self._batch = next(iter(training._batches(0, 0)))
    self._programs = training._compile(None)

  def example(self):
    """What PyTorch's side is to have, too: head, samples, labels."""
    head = {n: p for n, p in self._learner.params.items() if n != "encoder"}
    batch = self._batch["inputs"], self._batch["label"]
    return jax.tree.map(np.array, (head, *batch))

  def step(self):
    """Takes a step; gives the loss before it."""
    self._learner, metrics = self._programs.step(
      *(self._learner, self._key, self._frozen, self._batch),
      self._training._extra,
    )
    return jax.block_until_ready(metrics)["emotion_loss"].item()


class PyTorch:
  """The same in PyTorch."""

  def __init__(self, folder, trained_layers, head, samples, labels):
    import torch  # Only where it runs.
    import transformers

    self._torch = torch
    # In evaluation mode: no dropout. Gradients flow all the same.
    self._encoder = transformers.HubertModel.from_pretrained(folder)
    self._score = self._dense(head["pool"]["score"])
    self._head = torch.nn.Sequential(
      *(self._dense(head["hidden_layer"]), torch.nn.GELU()),
      self._dense(head["output"]),
    )
    self._is_frozen = trained_layers == 0
    if trained_layers is not None:
      self._encoder.requires_grad_(False)
      if trained_layers:
        self._encoder.encoder.layers[-trained_layers:].requires_grad_(True)
    parameters = [
      parameter
      for module in (self._encoder, self._score, self._head)
      for parameter in module.parameters()
    ]
    self._optimizer = torch.optim.Adam(parameters, LEARNING_RATE)
    self._samples, self._labels = torch.tensor(samples), torch.tensor(labels)

  def _dense(self, params):
    layer = self._torch.nn.Linear(*params["kernel"].shape)
    layer.weight.data = self._torch.tensor(params["kernel"]).T.contiguous()
    layer.bias.data = self._torch.tensor(params["bias"])
    return layer

  def step(self):
    """Takes a step; gives the loss before it."""
    torch = self._torch
    audio = self._samples.float() / 32768
    audio = audio - audio.mean(1, keepdim=True)
    audio = audio / (audio.var(1, correction=0, keepdim=True) + 1e-7).sqrt()
    with torch.set_grad_enabled(not self._is_frozen):
      states = self._encoder(audio).last_hidden_state
    weights = self._score(states).softmax(1)
    logits = self._head((weights * states).sum(1))
    loss = torch.nn.functional.cross_entropy(logits, self._labels.long())
    self._optimizer.zero_grad()
    loss.backward()
    self._optimizer.step()
    return loss.item()


def compare(folder, trained_layers, turns):
  """Losses and speed of both sides' steps."""
  ours = measure.Process(Emojax, folder, trained_layers)
  example = ours.result("example")
  theirs = measure.Process(PyTorch, folder, trained_layers, *example)
  sides = {"pytorch": theirs, "emojax": ours}
  losses = {n: [one.result("step") for _ in "12"] for n, one in sides.items()}
  difference = float(np.max(np.abs(np.subtract(*losses.values()))))
  if not difference <= TOLERANCE:  # NaN is no agreement.
    raise SystemExit(f"losses differ by {difference:.1e}: {losses}")
  times = {name: [] for name in sides}
  for _ in range(turns):
    for name, one in sides.items():
      times[name].append(one.seconds("step"))
  for one in sides.values():
    one.close()
  found = {
    "clips_per_second": {
      name: BATCH / float(np.median(values)) for name, values in times.items()
    },
    "times_faster": measure.ratios(times["pytorch"], times["emojax"]),
    "first_losses": losses,
  }
  print(trained_layers, found, flush=True)
  return found


def waiting(encoder, augmented):
  """Share of the time of three epochs in which the training waits for data."""
  flags.FLAGS(["speech"])  # Grain reads some.
  config = config_of(encoder, None, batch_size=32)
  config.num_epochs = 3
  if augmented:
    for kind in ("gain", "pitch", "stretch", "noise"):
      config.augment[f"{kind}_probability"] = 0.5
  training = make_training(config, encoder, 480)
  learner = training.study(0).init().learner
  key = training._place(run_key(config, 0))
  batches = training._batches(0, 0)

  def step(learner, batch):
    learner, _ = training._programs.step(
      learner, key, {}, batch, training._extra
    )
    return jax.block_until_ready(learner)

  learner = step(learner, next(batches))  # It compiles.
  waited, start = 0.0, time.perf_counter()
  while True:
    asked = time.perf_counter()
    batch = next(batches, None)
    waited += time.perf_counter() - asked
    if batch is None:
      return waited / (time.perf_counter() - start)
    learner = step(learner, batch)


def stream(counts):
  """Memory after computing and reading the features of so many clips."""
  flags.FLAGS(["speech"])  # Grain reads some.
  results = {}
  for count in counts:
    config = config_of("small", None)
    classifier = untrained.make(config, "small", CLASSES)
    params, _ = classifier.init(jax.random.key(0))
    mesh = sharding.make_mesh(jax.device_count())
    start = time.perf_counter()
    features = encoded.features(
      classifier.system.encoder,
      params["encoder"],
      encoded.Kept(np.float32, False, 1),
      make_clips(count, 2.0),
      (2 * RATE,),
      32,
    )
    computed = time.perf_counter()
    lengths = features.lengths
    plan = pipeline.Plan(lengths, (int(lengths.max()),), 32)
    reader = pipeline.Reader(features, pipeline.whole(lengths), {})
    by_clip = jax.sharding.NamedSharding(mesh, sharding.DATA)
    for batch in pipeline.batches(plan, reader, by_clip):
      jax.block_until_ready(batch)
    results[count] = {
      "memory_mb": measure.memory("RssAnon") / 1e6,
      "encode_seconds": computed - start,
      "read_seconds": time.perf_counter() - computed,
    }
  return results


def main():
  """Measures and writes the result."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", required=True)
  parser.add_argument("--turns", type=int, default=5)
  arguments = parser.parse_args()
  results = {}

  def save(part, found):
    results[part] = found
    measure.write(
      measure.setting("flax", "torch", "transformers") | results,
      arguments.output,
    )

  with tempfile.TemporaryDirectory() as folder:
    measure.alone(encoders.write_checkpoint, folder, "hubert", "base")
    steps = {
      name: compare(folder, layers, arguments.turns)
      for name, layers in CASES.items()
    }
  save("steps", steps)
  waits = {
    "log-mel CNN": measure.alone(waiting, "log_mel", False),
    "log-mel CNN, augmented": measure.alone(waiting, "log_mel", True),
  }
  save("share_waiting_for_data", waits)
  with tempfile.TemporaryDirectory() as folder:
    os.environ["XDG_CACHE_HOME"] = folder
    save("features", measure.alone(stream, (1_000, 10_000)))


if __name__ == "__main__":
  main()
