"""The selector on the speech study's classifier: clips with a wrong label."""

import jax
import numpy as np
import pytest
import soundfile
from scipy import special

import emojax
from configs import rlps as rlps_config
from emojax import encoders
from emojax import summary as summaries
from emojax.reports import rlps as reports
from emojax.summary import read_arrays
from emojax.systems import classifiers
from emojax.systems.speech import SpeechSystem
from emojax.trainers import fit, rlps

RATE = 16_000
SPEAKERS = [f"p{number}" for number in range(6)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
  """A manifest of tones in noise by six people, and the samples by path."""
  folder = tmp_path_factory.mktemp("clips")
  rng = np.random.default_rng(0)
  lines, audio = ["path,label,speaker"], {}
  for number in range(24):
    label = ("happy", "sad")[number % 2]
    time = np.arange(rng.integers(3000, 6000)) / RATE
    samples = 0.3 * np.sin(2 * np.pi * (900, 250)[number % 2] * time)
    samples += 0.01 * rng.normal(size=len(time))
    path = folder / f"{number:02d}.wav"
    audio[str(path)] = np.rint(samples * 32767).astype(np.int16)
    soundfile.write(path, audio[str(path)], RATE)
    lines.append(f"{path.name},{label},{SPEAKERS[number // 4]}")
  (folder / "clips.csv").write_text("\n".join(lines), encoding="utf-8")
  return folder / "clips.csv", audio


def make_config(corpus, **changes):
  config = rlps_config.get_config("speech")
  config.data.corpus, config.data.path = "manifest", str(corpus[0])
  config.data.labels = "happy,sad"
  config.data.max_seconds = 0.3
  config.data.noise = ("none", "symmetric")
  config.batch_size, config.model.hidden = 8, 4
  with config.unlocked():
    config.update_from_flattened_dict(changes)
  return config


def test_own_clips_are_read_beyond_the_silence_that_they_begin_with():
  config = rlps_config.get_config("own_speech")
  assert config.data.max_seconds > 5.3  # The longest of RAVDESS.


def test_the_audit_says_who_is_in_which_part(corpus, cache):
  fields = {"validation_speakers": "p1", "test_speakers": "p0,p3"}
  named = {f"split.{name}": who for name, who in fields.items()}
  config = make_config(corpus, **named, **{"split.method": "speakers"})
  config.data.noise = ("none",)
  (table,) = rlps.audit(config).values()
  rows = [line.strip("|").split("|") for line in table.splitlines()]
  header, _, *rows = [[cell.strip() for cell in row] for row in rows]
  assert header == ["part", "examples", "speakers", "happy", "sad"]
  assert rows == [
    ["train", "12", "3: p2 p4 p5", "6", "6"],
    ["validation", "4", "1: p1", "2", "2"],
    ["test", "8", "2: p0 p3", "4", "4"],
  ]


def test_clips_and_the_speech_classifier(corpus, cache, caplog):
  config = make_config(corpus)
  clean, noisy = rlps._read(config)
  assert not clean.demo
  assert noisy.setting == "30 % symmetric label noise"
  assert clean.classes == ("happy", "sad")
  inputs, label_N = clean.train.inputs(), clean.train.label_N
  size = round(0.3 * RATE)
  for index, name in enumerate(clean.name_N):
    samples = corpus[1][str(name)][:size]
    assert inputs["length"][index] == len(samples)
    np.testing.assert_array_equal(
      inputs["audio"][index], np.pad(samples, (0, size - len(samples)))
    )
    number = int(str(name)[-6:-4])
    assert clean.classes[label_N[index]] == ("happy", "sad")[number % 2]
  # Not without a word: 0.3 s is a part of most of them.
  longer = sum(len(samples) > size for samples in corpus[1].values())
  assert f"{longer} of 24 clips are longer than" in caplog.text
  # Wrong labels are in the training part alone.
  wrong = noisy.train.label_N != label_N
  assert wrong.sum() == round(0.3 * len(label_N))
  np.testing.assert_array_equal(wrong, noisy.noisy_N)
  np.testing.assert_array_equal(noisy.true_label_N, label_N)
  assert noisy.parts["test"] is clean.parts["test"]

  classifier = classifiers.of(classifiers.describe(config, clean.classes))
  examples = fit.Examples(
    classifier, clean.parts, rlps.optimizer(config), config.batch_size
  )
  key = jax.random.key(0)
  learner, loss = rlps.classifier_epoch(
    *(config, examples, examples.learner(examples.draw(key))),
    *(np.arange(len(label_N)) % 4 > 0, key, 0),
  )
  assert np.isfinite(loss)
  found, pooled = examples.predict(learner.variables, "train")
  system = SpeechSystem(
    encoder=encoders.find("log_mel").encoder,
    classes=clean.classes,
    window_seconds=0.3,
    pooling="attention",
    weigh_layers=False,
    averaged_frames=1,
    hidden=4,
    dropout=0.0,
  )
  logits, out = system.forward(
    learner.params, inputs["audio"], inputs["length"]
  )
  np.testing.assert_allclose(pooled, out["pooled"], rtol=1e-3, atol=1e-3)
  np.testing.assert_allclose(found, logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
  ("changes", "settings", "test_speakers"),
  [
    ({"split.method": "shuffle"}, ["as it is"], None),
    (
      {
        "split.method": "speakers",
        "split.validation_speakers": "p1",
        "split.test_speakers": "p0,p3",
      },
      ["as it is"],
      [{"p0", "p3"}],
    ),
    (
      {"split.method": "k_fold", "split.num_folds": 3},
      [f"fold {number}, as it is" for number in (1, 2, 3)],
      None,
    ),
    (
      {"split.method": "leave_one_out"},
      [f"unseen {name}, as it is" for name in SPEAKERS],
      [{name} for name in SPEAKERS],
    ),
  ],
)
def test_every_way_to_split(corpus, cache, changes, settings, test_speakers):
  """Each split is a setting, times each noise; speakers do not meet."""
  data_sets = rlps._read(make_config(corpus, **changes))
  clean, noisy = data_sets[::2], data_sets[1::2]
  assert [data.setting for data in clean] == settings
  ending = "30 % symmetric label noise"
  assert [data.setting for data in noisy] == [
    setting.replace("as it is", ending) for setting in settings
  ]
  for index, data in enumerate(clean):
    rows = [part.row_N.tolist() for part in data.parts.values()]
    assert sorted(sum(rows, [])) == list(range(24))
    speakers = [{SPEAKERS[row // 4] for row in part} for part in rows]
    assert sum(map(len, speakers)) == len(set.union(*speakers))
    if test_speakers:
      assert speakers[-1] == test_speakers[index]
    # The audio of all of them is in memory once.
    assert data.train.source is clean[0].parts["test"].source


def test_folds_are_trained_one_by_one(corpus, cache, tmp_path, monkeypatch):
  """Folds of one size share their programs."""
  monkeypatch.setattr(reports, "_figures", lambda *_: ())
  config = make_config(
    corpus,
    **{
      "split.method": "k_fold",
      "split.num_folds": 3,
      "data.noise": ("none",),
      "systems": ("rlps",),
      "num_replicates": 1,
      "pretraining_epochs": 1,
      "num_epochs": 1,
      "policy.pretraining_epochs": 1,
    },
  )
  summary = rlps.train(config, tmp_path / "run")
  *of_folds, of_all = summary.rows
  assert [row.setting for row in of_folds] == [
    f"fold {number}, as it is" for number in (1, 2, 3)
  ]
  assert [one.label for one in summary.systems] == ["log-mel CNN+RLPS"]
  # Two people are tested in each fold.
  for row in of_folds:
    assert len(row.groups[summaries.SPEAKERS]) == 2
  assert of_all.setting == "all of them, as it is"
  assert sorted(of_all.groups[summaries.SPEAKERS]) == SPEAKERS
  assert of_all.metrics["unweighted_accuracy"].ci95_speakers
  assert "retention" not in of_all.groups
  assert summary.test_digest
  # No truth is known about their noise.
  assert "noise_detection" not in summary.rows[0].groups
  predictor = emojax.load(tmp_path / "run")
  assert predictor.system.kind == "speech"
  # What listening asks for: tones of 0.3 are at -13.5 dB.
  assert 0 <= predictor.system.threshold <= 1
  assert predictor.system.level_db == pytest.approx(-13.5, abs=0.5)
  # The study hears what fits in a window: of the clips that do, all of them.
  first = rlps._read(config)[0].parts["test"]
  rows = first.row_N.tolist()
  folder = corpus[0].parent
  paths = [str(folder / f"{row:02d}.wav") for row in rows]
  short = [len(corpus[1][path]) <= 0.3 * RATE for path in paths]
  (outputs,) = (tmp_path / "run" / "runs").glob("fold-1*/rlps/*/outputs.npz")
  logits = read_arrays(outputs)["test_logits"] / predictor.system.temperature
  np.testing.assert_allclose(
    predictor.predict(paths).probabilities_UxC[short],
    special.softmax(logits, axis=1)[short],
    atol=1e-5,
  )
  assert sum(short) > 2
