"""The selector around the other studies' classifiers, as those are."""

import jax
import jax.numpy as jnp
import numpy as np
import soundfile

from configs import rlps as rlps_config
from emojax.models.dann import Dann
from emojax.models.sa_gru import Packing
from emojax.systems import speech
from emojax.trainers.rlps import classifiers, clips, study
from emojax.trainers.rlps.fitting import Fitting
from emojax.trainers.rlps.material import Part, as_it_is

RATE = 16_000


def after_an_epoch(fitting, retained_N):
  key = jax.random.key(0)
  learner = fitting.learner(fitting.draw(key))
  learner, loss = fitting.epoch(learner, retained_N, key, 0)
  assert np.isfinite(loss)
  return jax.device_get(learner.variables)


def assert_equal(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


def write_corpus(folder):
  """A manifest of tones in noise by six people."""
  rng = np.random.default_rng(0)
  folder.mkdir()
  lines, audio = ["path,label,speaker"], {}
  for number in range(24):
    label = ("happy", "sad")[number % 2]
    time = np.arange(rng.integers(3000, 6000)) / RATE
    samples = 0.3 * np.sin(2 * np.pi * (900, 250)[number % 2] * time)
    samples += 0.01 * rng.normal(size=len(time))
    path = folder / f"{number:02d}.wav"
    audio[str(path)] = np.rint(samples * 32767).astype(np.int16)
    soundfile.write(path, audio[str(path)], RATE)
    lines.append(f"{path.name},{label},p{number // 4}")
  (folder / "clips.csv").write_text("\n".join(lines))
  return folder / "clips.csv", audio


def test_clips_and_the_speech_classifier(tmp_path, cache, monkeypatch):
  path, audio = write_corpus(tmp_path / "clips")
  monkeypatch.setattr(study, "_LOG_MEL_CHANNELS", (4,))
  config = rlps_config.get_config("speech")
  config.data.corpora, config.data.paths = "manifest", str(path)
  config.data.labels = "happy,sad"
  config.data.max_seconds = 0.3
  config.data.noise = ("none", "symmetric")
  config.batch_size, config.model.hidden = 8, 4
  clean, noisy = clips.read(config)
  assert not clean.demo
  assert noisy.setting == "30 % symmetric label noise"
  assert clean.classes == ("happy", "sad")
  inputs, label_N = clean.parts["train"].inputs, clean.parts["train"].label_N
  size = round(0.3 * RATE)
  for index, name in enumerate(clean.name_N):
    samples = audio[str(name)][:size]
    assert inputs["length"][index] == len(samples)
    np.testing.assert_array_equal(
      inputs["audio"][index], np.pad(samples, (0, size - len(samples)))
    )
    number = int(str(name)[-6:-4])
    assert clean.classes[label_N[index]] == ("happy", "sad")[number % 2]
  # Wrong labels are in the training part alone.
  wrong = noisy.parts["train"].label_N != label_N
  assert wrong.sum() == round(0.3 * len(label_N))
  np.testing.assert_array_equal(wrong, noisy.noisy_N)
  np.testing.assert_array_equal(noisy.true_label_N, label_N)
  assert noisy.parts["test"] is clean.parts["test"]

  classifier = study._classifier(config, clean.classes)
  fitting = Fitting(config, classifier, clean)
  count = len(label_N)
  variables = after_an_epoch(fitting, np.arange(count) % 4 > 0)
  features, probability = fitting.extract(variables)
  model = speech.SpeechSystem(
    encoder=speech.log_mel_encoder((4,)),
    classes=clean.classes,
    sample_rate=RATE,
    normalise=True,
    window_seconds=0.3,
    pooling="attention",
    weigh_layers=False,
    hidden=4,
    dropout=0.0,
  ).model()
  samples = speech.normalise(speech.to_float(inputs["audio"]), inputs["length"])
  logits, out = jax.jit(model.apply)(variables, samples, inputs["length"])
  pooled = np.array(out["pooled"])
  pooled /= np.sqrt(np.mean(pooled**2, axis=0))
  np.testing.assert_allclose(features, pooled, rtol=1e-3, atol=1e-3)
  expected = np.asarray(jax.nn.softmax(logits))[np.arange(count), label_N]
  np.testing.assert_allclose(probability, expected, rtol=1e-3, atol=1e-5)


LENGTH = np.array([4, 2, 3, 1, 4], np.int32)  # Of five conversations.


def conversations(seed=0):
  """Their utterances' features and labels; anything after the end."""
  rng = np.random.default_rng(seed)
  features = {
    "audio": rng.normal(size=(5, 4, 6)).astype(np.float32),
    "text": rng.normal(size=(5, 4, 3)).astype(np.float32),
  }
  label = rng.integers(0, 3, (5, 4), np.int32)
  label[np.arange(4)[None] >= LENGTH[:, None]] = -1
  return features, label


def dann_fitting(features, label):
  part = Part({"features": features, "length": LENGTH}, label)
  material = as_it_is(
    classes=("a", "b", "c"),
    parts={"train": part, "validation": part, "test": part},
    name_N=np.arange(14).astype(str),
    demo=True,
  )
  config = rlps_config.get_config()
  config.batch_size = 2  # The last batch has one conversation.
  classifier = classifiers.of_conversations("DANN", MODEL)
  return Fitting(config, classifier, material)


MODEL = Dann(num_emotions=3, num_speakers=2, hidden=8, num_heads=2)


def test_conversations_and_the_dann():
  features, label = conversations()
  fitting = dann_fitting(features, label)
  is_there = label >= 0
  np.testing.assert_array_equal(fitting.label_N, label[is_there])
  retained = np.arange(14) % 3 > 0
  variables = after_an_epoch(fitting, retained)
  found, probability = fitting.extract(variables)

  # By the model itself, with two conversations in a row.
  flat = {name: values[is_there] for name, values in features.items()}
  start = np.concatenate([[0], np.cumsum(LENGTH)])
  position = np.full((3, 6), 14, np.int32)
  segment = np.zeros((3, 6), np.int32)
  for row, where in enumerate([(0, 1), (2, 3), (4,)]):
    column = 0
    for number, which in enumerate(where, start=1):
      end = column + LENGTH[which]
      position[row, column:end] = np.arange(start[which], start[which + 1])
      segment[row, column:end] = number
      column = end
  packing = Packing(jnp.asarray(position), jnp.asarray(segment))
  logits, out = jax.jit(MODEL.apply)(variables, flat, packing, 0.0)
  representation = np.array(out["representation"])
  representation /= np.sqrt(np.mean(representation**2, axis=0))
  np.testing.assert_allclose(found, representation, atol=1e-4)
  np.testing.assert_allclose(
    fitting.logits(variables, "test"), logits, atol=1e-5
  )
  expected = np.asarray(jax.nn.softmax(logits))[np.arange(14), fitting.label_N]
  np.testing.assert_allclose(probability, expected, rtol=1e-4)

  # Labels of what was removed, and what stands after the end.
  removed = is_there.copy()
  removed[is_there] = ~retained
  label[removed] = (label[removed] + 1) % 3
  for values in features.values():
    values[~is_there] = 1e3
  fitting._inputs["train"] = fitting.place(
    {"features": features, "length": LENGTH}
  )
  fitting._label_IxE = fitting.place(label)
  assert_equal(after_an_epoch(fitting, retained), variables)
