"""How a trained run of the speech study hears what is no studio recording.

Its own test clips, of speakers that neither trained nor validated it, are
classified as they are and in conditions such as noise, rooms, a telephone,
short pieces, and other levels.

U test clips, S samples, K conditions, C emotions.
"""

import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import soxr

from emojax import calibration, metrics
from emojax import summary as summaries
from emojax.audio import filters, io, levels, rooms, waveforms
from emojax.audio.backgrounds import Backgrounds
from emojax.data import clips, windows
from emojax.data.clips import Clips
from emojax.errors import UserError
from emojax.inference import recordings
from emojax.inference.recordings import Window
from emojax.reports import robustness as reports
from emojax.reports import speech as study
from emojax.runtime import environment
from emojax.runtime.progress import progress
from emojax.summary import Estimate, Row, Summary, System
from emojax.systems import stored
from emojax.systems.speech import SpeechSystem

RATE = clips.SAMPLE_RATE
_SEED = 14  # Of noise and rooms; a clip has the same in all conditions.
_SNR_DB = (20, 10, 5, 0)
_DECAY_SECONDS = (0.4, 0.8)  # A furnished room and a hall.
_DIRECT_DB = 0.0  # As far away as the room is as loud as the voice.
_TELEPHONE_HERTZ = (300.0, 3400.0)
_LEVELS_DB = (-20, 20)
_FREQUENCY_F = filters.frequencies(RATE)

_add_noise = jax.jit(waveforms.add_noise)
_filter = jax.jit(filters.apply)


class Clip(NamedTuple):
  """A test clip: float32 [S], full scale at 1, and what it is known by."""

  samples: np.ndarray
  number: int


Change = Callable[[Clip], np.ndarray]  # To float32 samples of any length.


class Tested(NamedTuple):
  """The clips on which a run may be tested, and the run that is kept."""

  data: Clips
  rows_U: np.ndarray
  run: Mapping[str, str]
  summary: Summary


def measure(
  run: str | os.PathLike, data: str | None, noise: str | None
) -> Summary:
  """Tests a run's classifier in all conditions; `reports` shows the result.

  Args:
    run: folder of a finished run of the speech study.
    data: where its corpus is; None: where it was in training.
    noise: a folder of background recordings; None: the noise is Gaussian.

  Returns:
    A row for each condition, with intervals over the test speakers; the
    comparisons are with the clips as they are, speaker by speaker.

  Raises:
    UserError: no such run, or a damaged one; other clips than those that it was
      tested on; no background that can be used; too little memory.
  """
  run = pathlib.Path(run)
  system, params = stored.load(run, SpeechSystem)
  backgrounds = _backgrounds(noise)
  tested = _tested(run, data, system)
  changes = _conditions(backgrounds)
  logits_KxUxC, seconds_K = _logits(
    system, params, tested, list(changes.values())
  )
  if not np.isfinite(logits_KxUxC).all():
    raise UserError(f"{run}: damaged (weights that are NaN); train it again")
  probabilities_KxUxC = calibration.probabilities(
    logits_KxUxC, system.temperature
  )
  rows = [
    _row(name, system, tested, probabilities_UxC)
    for name, probabilities_UxC in zip(
      changes, probabilities_KxUxC, strict=True
    )
  ]
  details = {
    "of": {k: tested.run[k] for k in ("setting", "system", "seed")},
    "noise": "Gaussian" if noise is None else pathlib.Path(noise).name,
    "threshold": system.threshold,
    "seconds": dict(zip(changes, seconds_K.tolist(), strict=True)),
  }
  return _summary(tested, rows, details)


def _summary(tested: Tested, rows: list[Row], details) -> Summary:
  """The first of the rows is of the clips as they are."""
  clean, *others = rows
  label = tested.summary.label(clean.system)
  return Summary(
    study="robustness",
    title=f"Robustness of {tested.summary.title}",
    demo=tested.data.demo,
    classes=tested.summary.classes,
    selection=tested.summary.selection,
    metrics=("unweighted_accuracy", "mean_confidence"),
    systems=(System(clean.system, label),),
    rows=tuple(rows),
    comparisons=tuple(
      comparison
      for row in others
      for comparison in summaries.over_same_speakers(
        row, clean, row.setting, reports.CLEAN
      )
    ),
    details=details,
    test_digest=tested.data.digest_of({"": tested.rows_U}),
    **environment.describe(),
  )


def _tested(
  run: pathlib.Path, data: str | None, system: SpeechSystem
) -> Tested:
  """Finds again who tested the classifier that is kept, and proves it.

  The run's config splits the corpus once more; the clips have to be those of
  its summary, sample by sample.
  """
  summary = summaries.read(run)
  config = stored.read_config(run)
  if data is not None:
    config.data.path = config.data.paths = data
  found, _ = clips.read(config, system.encoder.min_samples)
  rows = {name: one.parts["test"] for name, one in found.splits.items()}
  if not summary.test_digest or found.digest_of(rows) != summary.test_digest:
    raise UserError(
      f"{config.data.path or config.data.corpus}: not the clips that {run} was "
      "tested on, so a speaker who trained it might be among them; give --data="
      "FOLDER, the same corpus, whole, as the run has read it"
    )
  best = study.best(summary)
  return Tested(found, rows[best["setting"]], best, summary)


def _backgrounds(noise: str | None) -> Backgrounds | None:
  if noise is None:
    return None
  if not os.path.isdir(noise):
    raise UserError(
      f"--noise={noise}: no such folder; name one with background recordings, "
      "or leave it out: the noise is Gaussian then"
    )
  return Backgrounds(noise)


def _conditions(backgrounds: Backgrounds | None) -> dict[str, Change]:
  """What is done to a clip, by the name of the condition."""
  band = functools.partial(_band, _TELEPHONE_HERTZ)
  return {
    reports.CLEAN: lambda clip: clip.samples,
    **{
      f"noise {snr_db} dB": functools.partial(_noisy, backgrounds, snr_db)
      for snr_db in _SNR_DB
    },
    **{
      f"room {seconds:g} s": functools.partial(_in_room, seconds)
      for seconds in _DECAY_SECONDS
    },
    "telephone 300-3400 Hz": band,
    "sampled at 8 kHz": _resampled,
    **{
      f"level {decibels:+d} dB": functools.partial(_louder, decibels)
      for decibels in _LEVELS_DB
    },
    **{
      reports.piece(seconds): functools.partial(_piece, seconds)
      for seconds in reports.LENGTHS
    },
  }


def _noisy(
  backgrounds: Backgrounds | None, snr_db: float, clip: Clip
) -> np.ndarray:
  """The signal-to-noise ratio is that of the whole clip, pauses included."""
  rng = np.random.default_rng([_SEED, clip.number])
  size = len(clip.samples)
  if backgrounds is None:
    noise_S = rng.normal(size=size).astype(np.float32)
  else:
    noise_S = backgrounds.excerpt(rng, size)
  noise_1xS = _filled(noise_S)
  return _play(_add_noise, clip, noise_1xS, np.full(1, snr_db, np.float32))


def _in_room(seconds: float, clip: Clip) -> np.ndarray:
  key = jax.random.fold_in(jax.random.key(_SEED), clip.number)
  return _play(_reverberate(seconds), clip, key[None])


@functools.cache
def _reverberate(seconds: float) -> Callable:
  """Compiled: a clip in a room of its own."""

  def play(audio_1xS, lengths_1, key_1):
    responses_1xR = rooms.synthesize(
      *(key_1, jnp.full(1, seconds), jnp.full(1, _DIRECT_DB)),
      num_samples=round(seconds * RATE),
      sample_rate=RATE,
    )
    return rooms.reverberate(audio_1xS, lengths_1, responses_1xR)

  return jax.jit(play)


def _band(hertz: tuple[float, float], clip: Clip) -> np.ndarray:
  gains_1xF = filters.band(_FREQUENCY_F, *(np.full(1, edge) for edge in hertz))
  return _play(_filter, clip, gains_1xF)


def _resampled(clip: Clip) -> np.ndarray:
  samples = soxr.resample(soxr.resample(clip.samples, RATE, 8000), 8000, RATE)
  return samples[: len(clip.samples)]


def _louder(decibels: float, clip: Clip) -> np.ndarray:
  """What is beyond full scale will be clipped."""
  return clip.samples * np.float32(10 ** (decibels / 20))


def _piece(seconds: float, clip: Clip) -> np.ndarray:
  """So much around the middle of what is said; a shorter clip as it is."""
  size = round(seconds * RATE)
  start, stop = levels.active_span(clip.samples, RATE)
  first = (start + stop - size) // 2
  first = min(max(first, 0), max(len(clip.samples) - size, 0))
  return clip.samples[first : first + size]


def _play(function: Callable, clip: Clip, *arguments) -> np.ndarray:
  """A function of batches on one clip, which keeps its length."""
  size = len(clip.samples)
  audio_1xS = function(_filled(clip.samples), np.full(1, size), *arguments)
  return np.asarray(audio_1xS)[0, :size]


def _filled(samples_S: np.ndarray) -> np.ndarray:
  """[1, S], filled up to a power of two: few shapes are compiled."""
  size = 1 << (len(samples_S) - 1).bit_length()
  return np.pad(samples_S, (0, size - len(samples_S)))[None]


def _logits(
  system: SpeechSystem, params, tested: Tested, changes: list[Change]
) -> tuple[np.ndarray, np.ndarray]:
  """Mean logits over the windows of each changed clip, [K, U, C].

  As `predict` does it, from int16 samples on. And the mean length of the clips
  in each condition, in seconds, [K].
  """
  shape = len(changes), len(tested.rows_U), len(system.classes)
  logits_KUxC = np.zeros((shape[0] * shape[1], shape[2]))
  windows_KU, samples_KU = np.zeros((2, len(logits_KUxC)), int)

  def pieces() -> Iterator[Window]:
    places = range(len(logits_KUxC))
    for index in progress(places, None, "robustness", "clip"):
      condition, number = divmod(index, shape[1])
      samples = tested.data.audio[int(tested.rows_U[number])]
      clip = Clip(samples / np.float32(io.FULL_SCALE), number)
      changed = io.to_int16(np.array(changes[condition](clip)))
      samples_KU[index] = len(changed)
      if condition and np.array_equal(changed, samples):
        continue  # As in the first condition.
      bounds = windows.cover(len(changed), system.window_samples)
      windows_KU[index] = len(bounds)
      for start, stop in bounds:
        yield Window(index, changed[start:stop])

  for index, logits_C in recordings.classify(system, params, pieces()):
    logits_KUxC[index] += logits_C
  places = np.arange(len(logits_KUxC))
  heard_KU = np.where(windows_KU, places, places % shape[1])
  logits_KUxC = (logits_KUxC / np.maximum(windows_KU, 1)[:, None])[heard_KU]
  seconds_K = samples_KU.reshape(shape[:2]).mean(1) / system.sample_rate
  return logits_KUxC.reshape(shape), seconds_K


def _row(
  name: str, system: SpeechSystem, tested: Tested, probabilities_UxC
) -> Row:
  """A condition: accuracies with intervals over speakers; how sure it is."""
  data, rows_U = tested.data, tested.rows_U
  labels_U, predicted_U = data.class_U[rows_U], probabilities_UxC.argmax(1)
  counts_CxC = metrics.confusion_counts(probabilities_UxC, labels_U)
  row = summaries.over_speakers(
    summaries.row(name, tested.run["system"], np.asarray(counts_CxC)[None]),
    (predicted_U == labels_U)[None],
    labels_U,
    data.speaker_U[rows_U],
  )
  confidence_U = probabilities_UxC.max(1)
  further = {"mean_confidence": confidence_U.mean()}
  if system.threshold is not None:
    coverage, accuracy = calibration.accuracy_of_kept(
      probabilities_UxC, labels_U, system.threshold
    )
    further["coverage"] = coverage
    if coverage:
      further["kept_accuracy"] = accuracy
  estimates = {key: Estimate.of([value]) for key, value in further.items()}
  return Row(
    row.setting,
    row.system,
    {**row.metrics, **estimates},
    row.oracle,
    row.groups,
  )
