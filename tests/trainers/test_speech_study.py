"""Whole small studies: what is left behind, resumption, caching, bad input."""

import shutil
import signal

import jax
import numpy as np
import pytest
import soundfile
import transformers

from configs import speech as speech_config
from emojax.audio.settings import Augmentation
from emojax.corpora import speech as speech_corpora
from emojax.corpora.speech import manifest
from emojax.encoders import interface
from emojax.encoders.log_mel import LogMel
from emojax.encoders.speech import Wav2Vec2
from emojax.encoders.speech_config import SpeechConfig
from emojax.errors import UserError
from emojax.inference import predict
from emojax.reports import speech as reports
from emojax.summary import read_arrays
from emojax.systems import stored, untrained
from emojax.trainers.speech import Training, audit, clips, train

# Programs are compiled once for all tests here.

RATE = 16_000
TINY = SpeechConfig(
  hidden_size=8,
  num_hidden_layers=1,
  num_attention_heads=2,
  intermediate_size=8,
  feat_extract_norm="layer",
  conv_dim=(4,),
  conv_kernel=(400,),
  conv_stride=(320,),
  num_conv_pos_embeddings=4,
  num_conv_pos_embedding_groups=2,
)


@pytest.fixture(autouse=True)
def tiny_encoders(monkeypatch, cache):
  """Small encoders, and an empty user cache."""
  for name, encoder in (("small", Wav2Vec2(TINY)), ("log_mel", LogMel((4,)))):
    source = interface.find(name)._replace(encoder=encoder)
    monkeypatch.setitem(interface._SOURCES, name, source)


@pytest.fixture
def no_figures(monkeypatch):
  """Studies without their figures, which take most of a small one's time."""
  monkeypatch.setattr(reports, "files", lambda *_: {})


def write_corpus(folder, num_speakers=4, each=3, label_of=None):
  """A manifest of tones whose pitch is the emotion, in noise."""
  rng = np.random.default_rng(0)
  folder.mkdir(parents=True, exist_ok=True)
  lines = ["path,label,speaker"]
  for speaker in range(num_speakers):
    for number in range(2 * each):
      label = ("happy", "sad")[number % 2]
      time = np.arange(rng.integers(3000, 6000)) / RATE
      samples = 0.3 * np.sin(2 * np.pi * (900, 250)[number % 2] * time)
      samples += 0.01 * rng.normal(size=len(time))
      name = f"{speaker}_{number}.wav"
      soundfile.write(folder / name, samples, RATE)
      if label_of is not None:
        label = label_of(speaker, number)
      lines.append(f"{name},{label},p{speaker}")
  path = folder / "clips.csv"
  path.write_text("\n".join(lines))
  return path


def make_config(path, **changes):
  config = speech_config.get_config("demo")
  config.data.corpus, config.data.path = "manifest", str(path)
  config.data.labels = "happy,sad"
  config.data.buckets = (0.4,)
  config.model.hidden = 8
  config.num_epochs, config.num_replicates, config.batch_size = 2, 1, 4
  config.optimizer.schedule = "constant"
  config.split.seed = 0
  with config.unlocked():
    config.update_from_flattened_dict(changes)
  return config


def test_a_study_and_what_it_leaves(tmp_path, capsys):
  path = write_corpus(tmp_path / "a")
  config = make_config(
    path,
    **{
      "num_replicates": 2,
      "num_epochs": 6,
      "optimizer.learning_rate": 1e-2,
    },
  )
  workdir = tmp_path / "run"
  summary = train(config, workdir)
  (row,) = summary.rows
  assert (row.setting, row.system) == ("unseen speakers", "log_mel")
  assert summary.label(row.system) == "log-mel CNN"
  assert len(row.metrics["unweighted_accuracy"].runs) == 2
  assert not row.oracle
  assert row.metrics["unweighted_accuracy"].mean > 0.8
  names = {
    str(p.relative_to(workdir)) for p in workdir.rglob("*") if p.is_file()
  }
  assert names >= {
    "attention.png",
    "comparison.png",
    "config.json",
    "confusions.gif",
    "confusions_1.png",
    "coverage.png",
    "history.npz",
    "learning_curves.png",
    "misclassified/index.html",
    "model/system.json",
    "model/weights.safetensors",
    "reliability.png",
    "report.md",
    "summary.json",
  }
  for name in ("attention.png", "confusions.gif", "misclassified/index.html"):
    assert name in (workdir / "report.md").read_text()
  assert (summary.study, summary.curve) == (
    "speech",
    "validation_unweighted_accuracy",
  )
  history = read_arrays(workdir / "history.npz")
  curves_RxE = history[f"unseen speakers/log_mel/{summary.curve}"]
  assert curves_RxE.shape == (2, 6)
  # Every initialisation's best weights are those of its best validation.
  for run, curve_E in zip(summary.runs, curves_RxE, strict=True):
    assert run[summary.curve] == curve_E.max()
    assert run["best_epoch"] == 1 + curve_E.argmax()
  # The model gives the test logits that were counted.
  system, params = stored.load(workdir)
  assert set(params) == {"encoder", "pool", "hidden_layer", "output"}
  assert system.classes == ("happy", "sad")
  # What a live system has to know: sines of amplitude 0.3; and of the runs, the
  # one that is kept.
  assert system.level_db == pytest.approx(20 * np.log10(0.3 / 2**0.5), abs=0.1)
  best = max(summary.runs, key=lambda run: run[summary.curve])
  assert (system.temperature, system.threshold) == (
    best["temperature"],
    best["threshold"],
  )
  assert row.metrics["coverage"].runs[best["seed"]] == best["coverage"]
  capsys.readouterr()
  assert train(config, workdir) == summary
  assert "log-mel CNN" in capsys.readouterr().out


def test_a_resumed_run_equals_an_uninterrupted_one(
  tmp_path, monkeypatch, stop_after, no_figures
):
  path = write_corpus(tmp_path / "a")
  # Three batches an epoch and two a round: it stops in the middle of an epoch.
  config = make_config(
    path,
    **{
      "model.encoder": "small",
      "num_epochs": 4,
      "steps_per_round": 2,
      "augment.noise_probability": 0.5,
      "mixup": 0.2,
      "optimizer.accumulate": 3,
      "augment.background_probability": 0.5,
      "augment.background_path": str(path.parent),
      "checkpoint_every": 10,
    },
  )
  whole = train(config, tmp_path / "whole")
  assert whole.unit == "round"
  with monkeypatch.context() as patch:
    stop_after(patch, 2)
    with pytest.raises(SystemExit) as stopped:
      train(config, tmp_path / "parts")
    assert stopped.value.code == 128 + signal.SIGTERM
  assert train(config, tmp_path / "parts") == whole
  one, other = (
    read_arrays(tmp_path / name / "history.npz") for name in ("whole", "parts")
  )
  for name in one:
    np.testing.assert_array_equal(one[name], other[name])
  weights = [
    (tmp_path / name / "model/weights.safetensors").read_bytes()
    for name in ("whole", "parts")
  ]
  assert weights[0] == weights[1]


def make_training(config):
  data, _ = clips.read(config)
  classifier = untrained.make(config, config.model.encoder, data.classes)
  (split,) = data.splits.values()
  augmentation = Augmentation.read(config.augment)
  return Training(config, classifier, data, split, augmentation)


def test_an_encoder_that_is_drawn_is_trained_as_the_head_is(tmp_path):
  path, trained = write_corpus(tmp_path / "a"), []
  for rate in (0.0, 1e-3):
    config = make_config(path, **{"optimizer.encoder_learning_rate": rate})
    study = make_training(config).study(0)
    first = jax.tree.map(np.asarray, study.init().learner.params)
    trained.append(study.round(study.init(), 0)[0].learner.params)
  jax.tree.map(np.testing.assert_array_equal, *trained)
  before, after = (jax.tree.leaves(p["encoder"]) for p in (first, trained[0]))
  assert any((a != b).any() for a, b in zip(before, after, strict=True))
  config = make_config(
    path,
    pretrained_weights="run",
    **{"optimizer.encoder_learning_rate": 0.0},
  )
  with pytest.raises(UserError, match="log-mel CNN would not be trained"):
    untrained.make(config, "log_mel", ("happy", "sad"))


def test_validation_and_test_are_never_augmented(tmp_path):
  path = write_corpus(tmp_path / "a")
  loud = {
    "augment.gain_probability": 1.0,
    "augment.gain_db": (-40.0, -40.0),
    "augment.noise_probability": 1.0,
    "augment.noise_snr_db": (-20.0, -20.0),
    "augment.stretch_probability": 1.0,
    "augment.background_probability": 1.0,
    "augment.background_path": str(tmp_path / "a"),
  }
  plain = make_training(make_config(path))
  augmented = make_training(make_config(path, **loud))
  for part in ("validation", "test"):
    params, frozen = plain.classifier.init(jax.random.key(0))
    one, other = (
      training.logits(params, frozen, part) for training in (plain, augmented)
    )
    np.testing.assert_array_equal(one, other)
    assert augmented.parts[part].reader.noise is None
  assert augmented.parts["train"].reader.noise is not None


def test_cached_features_give_the_same_study(tmp_path, no_figures):
  path = write_corpus(tmp_path / "a")
  first = make_config(path, **{"model.encoder": "small"})
  train(first, tmp_path / "first")
  frozen = make_config(
    path,
    **{
      "model.encoder": "small",
      "freeze_encoder": True,
      "pretrained_weights": str(tmp_path / "first"),
    },
  )
  cached = make_training(frozen)
  assert cached.is_cached
  frozen.augment.gain_probability = 1.0
  frozen.augment.gain_db = (0.0, 0.0)
  computed = make_training(frozen)
  assert not computed.is_cached
  params, rest = cached.classifier.init(jax.random.key(0))
  for part in ("validation", "test"):
    np.testing.assert_allclose(
      cached.logits(params, {}, part),
      computed.logits(params, rest, part),
      atol=1e-5,
    )
  summary = train(
    make_config(
      path,
      **{
        "model.encoder": "small",
        "freeze_encoder": True,
        "pretrained_weights": str(tmp_path / "first"),
        "baselines": ("speaker_normalised",),
      },
    ),
    tmp_path / "head",
  )
  assert "`first`, which nobody has taught who is tested" in summary.model
  _, params = stored.load(tmp_path / "head")
  _, start = stored.load(tmp_path / "first")
  jax.tree.map(
    np.testing.assert_array_equal, params["encoder"], start["encoder"]
  )
  assert (params["output"]["kernel"] != start["output"]["kernel"]).any()
  ids = ["small", "small_speaker_normalised"]
  assert [row.system for row in summary.rows] == ids
  rows = [row.metrics["unweighted_accuracy"].mean for row in summary.rows]
  assert summary.comparisons[1].difference == pytest.approx(rows[0] - rows[1])


def test_weights_that_know_a_test_speaker_are_refused(tmp_path, no_figures):
  path = write_corpus(tmp_path / "a")
  run = tmp_path / "run"
  train(make_config(path, num_epochs=1), run)
  start = {"pretrained_weights": str(run)}
  audit(make_config(path, **start))
  said = r"pretrained_weights: speaker p\d+, of the (test|validation) part of "
  for changes in (
    {"split.seed": 4},
    {"split.method": "k_fold", "split.num_folds": 3},
    # The same voices by other names.
    {"data.path": str(renamed(path)), "split.seed": 4},
  ):
    with pytest.raises(UserError, match=said):
      audit(make_config(path, **start, **changes))
  with pytest.raises(UserError, match=r"in the train part of .*/run"):
    train(make_config(path, **start, **{"split.seed": 4}), tmp_path / "other")
  assert not (tmp_path / "other/config.json").exists()


def test_weights_of_which_nobody_knows_are_said_to_be_so(tmp_path, no_figures):
  path = write_corpus(tmp_path / "a")
  first, second = tmp_path / "first", tmp_path / "second"
  train(make_config(path, num_epochs=1), first)
  # Another manifest's speakers are others, though they have the same names.
  other = write_corpus(tmp_path / "b")
  for clip in other.parent.glob("*.wav"):
    samples, _ = soundfile.read(clip)
    soundfile.write(clip, samples / 2, RATE)
  start = {"pretrained_weights": str(first), "split.seed": 4}
  summary = train(make_config(other, num_epochs=1, **start), second)
  assert summary.model.startswith(
    "Training began with the weights of `first`; whether anybody who is tested "
    "here taught it is unknown. `model/` is"
  )
  # But whom the first one knows, that one does, too.
  start["pretrained_weights"] = str(second)
  with pytest.raises(UserError, match=r"in the train part of .*first"):
    audit(make_config(path, **start))
  # Only a system, and nothing of who has trained it.
  start["pretrained_weights"] = str(first / "model")
  audit(make_config(path, **start))


def test_a_study_goes_on_only_with_the_weights_that_it_began_with(
  tmp_path, monkeypatch, stop_after, no_figures
):
  path = write_corpus(tmp_path / "a")
  first = tmp_path / "first"
  train(make_config(path, num_epochs=1), first)
  config = make_config(path, pretrained_weights=str(first))
  with monkeypatch.context() as patch:
    stop_after(patch, 1)
    with pytest.raises(SystemExit):
      train(config, tmp_path / "run")
  weights = first / "model/weights.safetensors"
  kept = weights.read_bytes()
  shutil.rmtree(first)
  train(make_config(path, num_epochs=1, seed=1), first)
  with pytest.raises(UserError, match=r"trained again .* another --workdir"):
    train(config, tmp_path / "run")
  weights.write_bytes(kept)
  summary = train(config, tmp_path / "run")
  # A finished one no longer needs them.
  shutil.rmtree(first)
  assert train(config, tmp_path / "run") == summary


def renamed(path):
  """The same recordings, of speakers with other names."""
  other = path.with_name("renamed.csv")
  other.write_text(path.read_text().replace(",p", ",p1"))
  return other


def test_several_corpora_folds_and_an_adversary(
  tmp_path, monkeypatch, no_figures
):
  # Six trainings: of the encoders that are quick to trace.
  source = interface.find("small")._replace(encoder=LogMel((3,)))
  monkeypatch.setitem(interface._SOURCES, "small", source)
  first = write_corpus(tmp_path / "a")
  # Names as CREMA-D ships them.
  rng = np.random.default_rng(1)
  folder = tmp_path / "crema" / "AudioWAV"
  folder.mkdir(parents=True)
  for actor in range(1001, 1004):
    for code in ("HAP", "SAD"):
      soundfile.write(
        folder / f"{actor}_IEO_{code}_XX.wav", rng.normal(0, 0.1, 4000), RATE
      )
  config = make_config(
    f"{first},{tmp_path / 'crema'}",
    **{
      "data.corpus": "manifest,crema_d",
      "split.method": "k_fold",
      "split.num_folds": 3,
      "adversary.domain": "corpus",
      "dtype": "bfloat16",
      "model.encoder": "small",
      "baselines": ("log_mel",),
      "num_epochs": 1,
    },
  )
  tables = audit(config)
  assert list(tables) == ["fold 1", "fold 2", "fold 3"]
  assert "crema_d:1001" in tables["fold 1"]
  summary = train(config, tmp_path / "run")
  settings = [row.setting for row in summary.rows]
  folds = ["fold 1", "fold 2", "fold 3"]
  assert (
    settings == [name for name in folds for _ in "ab"] + ["all of them"] * 2
  )
  assert [row.system for row in summary.rows] == ["small", "log_mel"] * 4
  pairs = {(one.a, one.b) for one in summary.comparisons}
  assert pairs == {("small", "log_mel")}
  with np.load(tmp_path / "run/history.npz") as history:
    forgetting = [name for name in history if name.endswith("domain_loss")]
  assert forgetting == [f"{fold}/small/domain_loss" for fold in folds]
  _, params = stored.load(tmp_path / "run")
  assert "domain_classifier" not in params


@pytest.mark.parametrize(
  ("changes", "reason"),
  [
    (
      {"data.corpus": "ravdess", "data.path": "/none"},
      "/none: no such.*zenodo",
    ),
    (
      {"data.corpus": "ravdess", "data.path": ""},
      "path is not set; expected",
    ),
    (
      {"data.corpus": "manifest,crema_d"},
      r"config\.data\.path = .*1 paths for 2 corpora",
    ),
    ({"data.corpus": "nothing"}, "no such corpus"),
    ({"data.labels": "angry,calm"}, "no clip of manifest has one of them"),
    (
      {"data.labels": "happy,sad,angry"},
      "nothing in the train part is angry",
    ),
    ({"data.buckets": (2.0, 1.0)}, "each longer than the one before"),
    ({"freeze_encoder": True, "model.encoder": "small"}, "random weights"),
    ({"unfreeze_last_n_layers": 2}, "config.freeze_encoder=True"),
    (
      {"freeze_encoder": True, "adversary.domain": "speaker"},
      "could not reach it",
    ),
    (
      {"pretrained_weights": "/none", "model.encoder": "small"},
      "no finished run",
    ),
    (
      {
        "augment.background_probability": 0.5,
        "augment.background_path": "/none",
      },
      "no such folder of backgrounds",
    ),
    ({"augment.stretch_rate": (0.0, 1.0)}, "config.augment.stretch_rate"),
    ({"augment.background_probability": 0.5}, "background_path is not set"),
    (
      {"adversary.domain": "corpus", "model.encoder": "small"},
      "only one, and there is nothing to forget",
    ),
    ({"optimizer.accumulate": 99}, "there would be no update"),
    ({"freeze_encoder": True}, "log-mel CNN has random weights"),
    ({"augment.feature_time_share": 0.1}, "no such features"),
    (
      {"baselines": ("speaker_normalised",)},
      "features of a frozen encoder",
    ),
    ({"model.pad_clips": True}, "takes clips of any length"),
    ({"model.averaged_frames": 0}, "averaged_frames = 0"),
    ({"model.pooling": "max"}, "attention, mean"),
    ({"optimizer.schedule": "linear"}, "one_cycle"),
    ({"split.method": "random"}, "shuffle, speakers"),
    ({"model.encoder": "no/such/folder"}, "no such folder"),
    ({"batch_size": 0}, "batch_size = 0"),
  ],
)
def test_bad_config(tmp_path, changes, reason):
  path = write_corpus(tmp_path / "a", num_speakers=3, each=1)
  config = make_config(path, **changes)
  with pytest.raises(UserError, match=reason):
    train(config, tmp_path / "run")
  assert not (tmp_path / "run" / "summary.json").exists()


def test_one_speaker(tmp_path):
  path = write_corpus(tmp_path / "a", num_speakers=1)
  with pytest.raises(UserError, match=r"manifest: 1 speakers \(p0\).*needs 3"):
    train(make_config(path), tmp_path / "run")


def test_too_many_damaged_clips(tmp_path):
  path = write_corpus(tmp_path / "a")
  (tmp_path / "a" / "0_0.wav").write_bytes(b"")
  (tmp_path / "a" / "1_0.wav").write_bytes(b"no audio")
  config = make_config(path, **{"data.max_skipped": 1})
  with pytest.raises(UserError, match="2 of 24 recordings can not be used"):
    train(config, tmp_path / "run")


def test_one_limit_for_all_corpora_and_the_labels_of_the_study(
  tmp_path, monkeypatch
):
  """As in the other studies: what is not used may be damaged."""
  readers = speech_corpora._READERS._registered
  monkeypatch.setitem(readers, "another", manifest)

  def label_of(_, number):
    return ("happy", "sad", "fearful")[number % 3]

  paths = []
  for name, gain in ("a", 1.0), ("b", 0.5):
    path = write_corpus(tmp_path / name, label_of=label_of)
    for clip in (tmp_path / name).glob("*.wav"):
      soundfile.write(clip, gain * soundfile.read(clip)[0], RATE)
    for damaged in ("0_0.wav", "1_2.wav", "2_5.wav"):  # One of them is happy.
      (tmp_path / name / damaged).write_bytes(b"no audio")
    paths.append(str(path))
  config = make_config(",".join(paths), **{"data.max_skipped": 2})
  config.data.corpus = "manifest,another"
  clips.read(config)
  config.data.max_skipped = 1
  with pytest.raises(UserError, match="2 of 32 recordings can not be used"):
    clips.read(config)


def test_a_short_clip_is_skipped_alike_by_all_that_read_clips(
  tmp_path, caplog, no_figures
):
  path = write_corpus(tmp_path / "a")
  clip = tmp_path / "a" / "2_1.wav"
  samples, _ = soundfile.read(clip)
  soundfile.write(clip, samples[:600], RATE)
  # The encoder takes 640 samples or more.
  config = make_config(path, num_epochs=1)
  reason = f"{clip}: 38 ms long, less than the 40 ms of one frame"
  said = f"skipped {reason}"
  (table,) = audit(config).values()
  assert said in caplog.messages
  assert sum(int(row.split("|")[2]) for row in table.splitlines()[2:]) == 23
  caplog.clear()
  train(config, tmp_path / "run")
  assert said in caplog.messages
  caplog.clear()
  found = predict.load(tmp_path / "run").predict([str(tmp_path / "a")])
  assert said in caplog.messages
  assert (len(found.names["path"]), len(found.skipped)) == (23, 1)
  config.data.max_skipped = 0
  for command in (audit, lambda config: train(config, tmp_path / "none")):
    with pytest.raises(
      UserError,
      match=rf"1 of 24 .* config\.data\.max_skipped = 0; the first: {reason}",
    ):
      command(config)


def test_a_short_clip_for_one_encoder_is_left_out_for_all(tmp_path, caplog):
  path = write_corpus(tmp_path / "a")
  clip = tmp_path / "a" / "2_1.wav"
  samples, _ = soundfile.read(clip)
  soundfile.write(clip, samples[:600], RATE)
  # The small encoder takes 400 samples or more.
  config = make_config(path, **{"model.encoder": "small"})
  audit(config)
  assert "2_1.wav" not in caplog.text
  config.baselines = ("log_mel",)
  audit(config)
  assert "2_1.wav: 38 ms long" in caplog.text


def test_weights_are_drawn_once_a_seed(tmp_path, monkeypatch, no_figures):
  path = write_corpus(tmp_path / "a")
  seeds = []
  init = untrained.Untrained.init

  def counted(self, key):
    seeds.append(jax.random.key_data(key).tolist())
    return init(self, key)

  monkeypatch.setattr(untrained.Untrained, "init", counted)
  config = make_config(path, num_epochs=1, num_replicates=2)
  train(config, tmp_path / "run")
  assert len(seeds) == len({tuple(seed) for seed in seeds}) == 2


def test_a_round_of_other_length_compiles_nothing(tmp_path, caplog):
  """What is summed over the steps of a round does not depend on how many."""
  path = write_corpus(tmp_path / "a")
  # Three batches an epoch: the second round has two of the six.
  training = make_training(make_config(path, steps_per_round=4))
  study = training.study(0)
  with jax.log_compiles():
    state, _ = study.round(study.init(), 0)
    assert "Compiling" in caplog.text
    caplog.clear()
    state, record = study.round(state, 1)
    jax.block_until_ready((state, record))
  assert "Compiling" not in caplog.text


def test_a_class_that_nobody_tests_is_said(tmp_path, caplog):
  def label_of(speaker, number):
    return (
      "angry" if speaker == 0 and number == 0 else ("happy", "sad")[number % 2]
    )

  path = write_corpus(tmp_path / "a", label_of=label_of)
  config = make_config(
    path,
    **{
      "data.labels": "happy,sad,angry",
      "split.method": "speakers",
      "split.validation_speakers": "p2",
      "split.test_speakers": "p3",
    },
  )
  audit(config)
  assert "nothing in the test part is angry" in caplog.text
  caplog.set_level("INFO")
  with pytest.raises(UserError):  # Nobody has them.
    audit(make_config(path, **{"data.labels": "calm,fearful"}))
  assert "demo" not in caplog.text
  assert "labels that the study does not name (angry 1, happy " in caplog.text


def test_too_little_memory(tmp_path, monkeypatch):
  path = write_corpus(tmp_path / "a")

  def exhausted(*_):
    # More than any machine has: XLA's own error.
    jax.block_until_ready(jax.numpy.ones((1 << 47,), np.int8))

  monkeypatch.setattr(Training, "logits", exhausted)
  with pytest.raises(UserError, match=r"too little memory.*config\.batch_size"):
    train(make_config(path), tmp_path / "run")


def test_a_checkpoint_written_by_transformers(tmp_path, no_figures):
  """Its last layer is trained, the rest is what the file holds."""
  model = transformers.HubertModel(
    transformers.HubertConfig(
      hidden_size=8,
      num_hidden_layers=2,
      num_attention_heads=2,
      intermediate_size=8,
      conv_dim=(4,),
      conv_kernel=(400,),
      conv_stride=(320,),
      num_conv_pos_embeddings=4,
      num_conv_pos_embedding_groups=2,
      num_feat_extract_layers=1,
    )
  )
  folder = tmp_path / "tiny-hubert"
  model.save_pretrained(folder)
  transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
  config = make_config(
    write_corpus(tmp_path / "a"),
    **{
      "model.encoder": str(folder),
      "freeze_encoder": True,
      "unfreeze_last_n_layers": 1,
      "augment.feature_time_share": 0.05,
    },
  )
  summary = train(config, tmp_path / "run")
  assert summary.systems[0].id == "tiny-hubert"
  system, params = stored.load(tmp_path / "run")
  assert system.encoder.kind == "hubert"
  layers = params["encoder"]["encoder"]
  for number, is_kept in ((0, True), (1, False)):
    theirs = model.encoder.layers[number].feed_forward.output_dense.weight
    ours = layers[f"layers_{number}"]["feed_forward"]["output_dense"]["kernel"]
    assert np.array_equal(ours.T, theirs.detach().numpy()) == is_kept
