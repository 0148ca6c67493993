"""Tests in noise, rooms and channels: what is heard, of whom, and bad input."""

import json
import shutil

import jax
import ml_collections
import numpy as np
import pytest
import soundfile
from scipy import signal
from sklearn.metrics import balanced_accuracy_score

from configs import speech as speech_config
from emojax import __main__ as entry
from emojax import summary as summaries
from emojax.data import clips
from emojax.encoders.log_mel import LogMel
from emojax.errors import UserError
from emojax.inference import predict, recordings, robustness
from emojax.reports import robustness as reports
from emojax.reports import speech as speech_reports
from emojax.summary import Summary, System
from emojax.systems import speech, stored

RATE = 16_000
TESTED = [f"p{number}" for number in range(3, 9)]
CLASSES = ("happy", "sad")


def write_corpus(folder, seed=0):
  """Voices of nine speakers: buzzes in noise, with silence around them."""
  rng = np.random.default_rng(seed)
  folder.mkdir()
  lines = ["path,label,speaker"]
  for speaker in range(9):
    for number, label in enumerate(CLASSES):
      time = np.arange(rng.integers(20_000, 24_000)) / RATE
      samples = signal.sawtooth(2 * np.pi * (150 + 90 * number) * time)
      samples += 0.3 * rng.normal(size=len(time))
      samples[: RATE // 4] *= 1e-3
      samples[-RATE // 4 :] *= 1e-3
      name = f"{speaker}_{number}.wav"
      soundfile.write(folder / name, 0.15 * samples, RATE)
      lines.append(f"{name},{label},p{speaker}")
  (folder / "clips.csv").write_text("\n".join(lines))
  return folder / "clips.csv"


def make_config(path) -> ml_collections.ConfigDict:
  config = speech_config.get_config("demo")
  config.data.corpus, config.data.path = "manifest", str(path)
  config.data.labels = ",".join(CLASSES)
  config.data.buckets = (2.0,)
  config.split.method = "speakers"
  config.split.validation_speakers = "p2"
  config.split.test_speakers = ",".join(TESTED)
  return config


@pytest.fixture(scope="module")
def home(tmp_path_factory):
  """A corpus, and beside it a finished run on it, as training leaves it."""
  folder = tmp_path_factory.mktemp("robustness")
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    config = make_config(write_corpus(folder / "data"))
    data, _ = clips.read(config)
    ((setting, split),) = data.splits.items()
    system = speech.SpeechSystem(
      *(LogMel((4,)), CLASSES, 2.0, "mean", False, 1, 8, 0.0),
      temperature=0.5,
      threshold=0.51,
    )
    params = jax.jit(system.init)(jax.random.key(3))
    run = {"setting": setting, "system": "log_mel", "seed": 0}
    summary = Summary(
      study="speech",
      title="A study",
      demo=False,
      classes=CLASSES,
      selection=summaries.BEST_EPOCH,
      metrics=(),
      systems=(System("log_mel", "log-mel CNN"),),
      rows=(),
      comparisons=(),
      versions={},
      device="",
      runs=(run | {speech_reports.CURVE: 0.5},),
      curve=speech_reports.CURVE,
      test_digest=data.digest_of({setting: split.parts["test"]}),
    )
    (folder / "run" / "model").mkdir(parents=True)
    for name, write in stored.writers(system, params).items():
      write(folder / "run" / name)
    (folder / "run" / "config.json").write_text(config.to_json())
    summaries.write(folder / "run" / "summary.json", summary)
    yield folder


@pytest.fixture(scope="module")
def measured(home):
  return robustness.measure(home / "run", None, None)


@pytest.fixture
def heard(home, monkeypatch):
  """What the classifier is given, by condition: int16 of each test clip.

  None where it is the clip as it is, which is heard once.
  """

  def measure(noise=None):
    found = {}

    def classify(system, params, pieces):
      for index, samples in pieces:
        found[index] = samples.astype(float)
        yield index, np.zeros(len(CLASSES))

    with monkeypatch.context() as patch:
      patch.setattr(recordings, "classify", classify)
      rows = robustness.measure(home / "run", None, noise).rows
    every = 2 * len(TESTED)
    return {
      row.setting: [found.get(every * k + i) for i in range(every)]
      for k, row in enumerate(rows)
    }

  return measure


def test_clips_as_they_are_fare_as_predict_says(home, measured):
  paths = [
    str(home / "data" / f"{name[1:]}_{number}.wav")
    for name in TESTED
    for number in range(2)
  ]
  predictions = predict.load(home / "run").predict(paths)
  probabilities_UxC = predictions.probabilities_UxC
  labels_U = np.arange(len(paths)) % 2
  row = measured.rows[0]
  assert row.setting == reports.CLEAN
  assert row.metrics["unweighted_accuracy"].mean == balanced_accuracy_score(
    labels_U, probabilities_UxC.argmax(1)
  )
  confidence_U = probabilities_UxC.max(1)
  found = row.metrics["mean_confidence"].mean
  assert found == pytest.approx(confidence_U.mean(), abs=1e-5)
  assert row.metrics["coverage"].mean == np.mean(confidence_U >= 0.51)
  assert sorted(row.groups[summaries.SPEAKERS]) == TESTED
  # What is as long as it was is what it was.
  assert measured.rows[-1].metrics == row.metrics
  # Each condition against the first, over the six speakers.
  assert len(measured.comparisons) == len(measured.rows) - 1
  assert measured.comparisons[0].difference == pytest.approx(
    measured.rows[1].metrics["unweighted_accuracy"].mean
    - row.metrics["unweighted_accuracy"].mean
  )


def power(samples_S, low=0, high=8001):
  spectrum_F = np.abs(np.fft.rfft(samples_S * np.hanning(len(samples_S)))) ** 2
  frequency_F = np.fft.rfftfreq(len(samples_S), 1 / RATE)
  return spectrum_F[(frequency_F >= low) & (frequency_F < high)].sum()


def test_what_is_heard_in_each_condition(heard):
  found = heard()
  for number, clean_S in enumerate(found["clean"]):
    for snr_db in (20, 10, 5, 0):
      noise_S = found[f"noise {snr_db} dB"][number] - clean_S
      ratio = np.square(clean_S).sum() / np.square(noise_S).sum()
      assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.05)
    telephone_S = found["telephone 300-3400 Hz"][number]
    assert power(telephone_S, 0, 200) < 0.05 * power(clean_S, 0, 200)
    assert power(telephone_S, 500, 3000) == pytest.approx(
      power(clean_S, 500, 3000), rel=0.05
    )
    narrow_S = found["sampled at 8 kHz"][number]
    assert power(narrow_S, 4200) < 1e-3 * power(clean_S, 4200)
    assert np.abs(found["level -20 dB"][number] - clean_S / 10).max() < 0.51
    loud_S = found["level +20 dB"][number]
    expected_S = np.clip(10 * clean_S, -32768, 32767)
    assert np.abs(loud_S - expected_S).max() < 1
    assert (loud_S == 32767).any()
    # The middle of what is said: no silence is left in half a second.
    piece_S = found["piece of 0.5 s"][number]
    assert len(piece_S) == RATE // 2
    assert np.abs(piece_S[:100]).max() > 1000 < np.abs(piece_S[-100:]).max()
    assert len(found["piece of 1 s"][number]) == RATE
    assert found["piece of 5 s"][number] is None
  decays = [
    np.mean([np.square(x[-RATE // 4 :]).mean() for x in found[name]])
    for name in ("clean", "room 0.4 s", "room 0.8 s")
  ]
  assert decays[2] > 1.5 * decays[1] > 15 * decays[0]


def test_the_same_each_time_and_backgrounds_of_a_folder(heard, tmp_path):
  time = np.arange(3 * RATE) / RATE
  tone = 0.1 * np.sin(2 * np.pi * 7000 * time)
  soundfile.write(tmp_path / "tone.wav", tone, RATE)
  first, again = heard(str(tmp_path)), heard(str(tmp_path))
  for name, of_clips in first.items():
    for samples, others in zip(of_clips, again[name], strict=True):
      assert np.array_equal(samples, others)
  clean_S, noisy_S = first["clean"][0], first["noise 0 dB"][0]
  assert power(noisy_S - clean_S, 6900, 7100) > 0.99 * power(noisy_S - clean_S)


def test_the_command_leaves_a_table_and_a_figure(
  home, measured, tmp_path, capsys, monkeypatch
):
  asked = []
  monkeypatch.setattr(
    robustness, "measure", lambda *given: asked.append(given) or measured
  )
  options = [f"--output={tmp_path / 'out'}", "--noise=n", "--data=d"]
  entry.main(["emojax", "robustness", "run", *options])
  assert asked == [("run", "d", "n")]
  printed = capsys.readouterr().out
  text = (tmp_path / "out" / "robustness.md").read_text()
  summary = summaries.read(tmp_path / "out")
  assert summary.study == "robustness" and summary.device and summary.date
  table = reports.table(summary)
  assert table in printed and table in text
  assert all(f"| {row.setting} " in table for row in summary.rows)
  assert (tmp_path / "out" / "robustness.png").stat().st_size > 10_000
  # Again in the same folder, but not in that of the run.
  reports.require_free(tmp_path / "out")
  with pytest.raises(UserError, match="holds a run"):
    reports.require_free(home / "run")


def test_the_folder_of_a_run_that_goes_on_is_not_free(tmp_path):
  reports.require_free(tmp_path)
  (tmp_path / "config.json").write_text("{}")
  with pytest.raises(UserError, match="holds a run"):
    reports.require_free(tmp_path)


@pytest.mark.parametrize(
  ("what", "message"),
  [
    ("no run", "no finished run"),
    ("another study", "kind has to be one of"),
    ("no config", "config.json: no such file, so nobody knows who"),
    ("damaged config", "config.json: damaged, no config of a run"),
    ("other clips", "not the clips that .* was tested on"),
    ("no test speaker", "config.split.test_speakers = .*: no speaker p7"),
    ("no data", "nowhere.csv"),
    ("no noise", "no such folder; name one with background recordings"),
    ("empty noise", "no audio in it"),
  ],
)
def test_what_can_not_be_tested(home, tmp_path, what, message):
  run, data, noise = shutil.copytree(home / "run", tmp_path / "r"), None, None
  if what == "no run":
    run = tmp_path
  elif what == "another study":
    path = run / "model" / "system.json"
    content = json.loads(path.read_text()) | {"kind": "music"}
    path.write_text(json.dumps(content))
  elif what == "no config":
    (run / "config.json").unlink()
  elif what == "damaged config":
    (run / "config.json").write_text('{"data": 1}')
  elif what == "other clips":
    data = str(write_corpus(tmp_path / "data", seed=1))
  elif what == "no test speaker":
    copy = shutil.copytree(home / "data", tmp_path / "data") / "clips.csv"
    rest = [x for x in copy.read_text().splitlines() if not x.endswith("p7")]
    copy.write_text("\n".join(rest))
    data = str(copy)
  elif what == "no data":
    data = str(tmp_path / "nowhere.csv")
  elif what == "no noise":
    noise = str(tmp_path / "nowhere")
  else:
    (tmp_path / "noise").mkdir()
    noise = str(tmp_path / "noise")
  with pytest.raises(UserError, match=message) as caught:
    robustness.measure(run, data, noise)
  assert "\n" not in str(caught.value)


def test_arguments_of_the_command():
  for arguments in (["robustness"], ["robustness", "a", "b"]):
    with pytest.raises(UserError, match="robustness"):
      entry.main(["emojax", *arguments])
  with pytest.raises(UserError, match="there is --data, --noise"):
    entry.main(["emojax", "robustness", "a", "--loud"])
