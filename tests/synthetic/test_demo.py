"""The demo: its voices, measured with independent methods, and its corpus."""

import collections
import itertools

import librosa
import numpy as np
import pytest
import soundfile
from scipy import signal

from emojax.corpora.speech import demo as corpus
from emojax.data.functionals import functionals
from emojax.synthetic import phones, source_filter
from emojax.synthetic import voices as demo

RATE = source_filter.SAMPLE_RATE
TEXT = "morning window letter number"


def _render(voice=None, emotion="neutral", seed=0, text=TEXT):
  rng = np.random.default_rng(seed)
  voice = voice or demo.Voice()
  return demo.render(text, voice, demo.EXPRESSIONS[emotion], rng)


def _level(samples):
  return 10 * np.log10(np.mean(samples**2))


def test_the_same_seed_is_the_same_sound_and_another_is_not():
  np.testing.assert_array_equal(_render(seed=1), _render(seed=1))
  assert len(_render(seed=1)) != len(_render(seed=2))


@pytest.mark.parametrize("emotion", demo.EXPRESSIONS)
@pytest.mark.parametrize("pitch", [100.0, 200.0])
def test_measured_pitch_is_the_pitch_asked_for(emotion, pitch):
  voice = demo.Voice(pitch=pitch)
  asked = demo.articulate(
    TEXT, voice, demo.EXPRESSIONS[emotion], np.random.default_rng(0)
  )
  measured = librosa.yin(
    _render(voice, emotion),
    fmin=60,
    fmax=500,
    sr=RATE,
    frame_length=1024,
    hop_length=source_filter.FRAME,
  )
  frames = min(len(measured), len(asked.pitch_T))
  vowels = asked.voicing_T[:frames] > 0.9
  assert vowels.sum() > 30
  semitones = 12 * np.log2(measured[:frames] / asked.pitch_T[:frames])
  assert np.median(np.abs(semitones[vowels])) < 0.5


@pytest.mark.parametrize("tract", [0.85, 1.0, 1.1])
def test_linear_prediction_finds_the_formants_asked_for(tract):
  asked = np.array([730.0, 1090.0, 2440.0, 3500.0, 4500.0]) / tract
  frames = 200
  articulation = source_filter.Articulation(
    pitch_T=np.full(frames, 90.0),
    voicing_T=np.ones(frames),
    friction_T=np.zeros(frames),
    centre_T=np.full(frames, 4000.0),
    formants_TxF=np.tile(asked, (frames, 1)),
  )
  glottis = source_filter.Glottis(6.0, 0.5, 0.0, 0.0, 0.0)
  vowel = source_filter.synthesize(
    articulation, glottis, np.random.default_rng(0)
  )
  emphasised = signal.lfilter([1, -0.95], [1], vowel)[4000:12000]
  roots = np.roots(librosa.lpc(emphasised * np.hamming(8000), order=14))
  narrow = roots[(np.abs(roots) > 0.93) & (roots.imag > 0)]
  found = np.sort(np.angle(narrow)) * RATE / (2 * np.pi)
  nearest = found[np.abs(found[:, np.newaxis] - asked[:3]).argmin(axis=0)]
  np.testing.assert_allclose(nearest, asked[:3], rtol=0.06)


def test_loudness_and_microphone_change_the_level_as_asked():
  plain = _render(demo.Voice(noise=-120))
  louder = _render(demo.Voice(noise=-120, loudness=6))
  assert _level(louder) - _level(plain) == pytest.approx(6, abs=0.1)
  brighter = _render(demo.Voice(noise=-120, tilt=3))
  frequency, before = signal.welch(plain, RATE, nperseg=1024)
  _, after = signal.welch(brighter, RATE, nperseg=1024)
  for octave in (-1, 0, 1, 2):
    bin_ = np.argmin(np.abs(frequency - 1000 * 2.0**octave))
    gain = 10 * np.log10(after[bin_] / before[bin_])
    assert gain == pytest.approx(3 * octave, abs=0.5)


def test_a_room_rings_on_and_is_the_same_in_every_recording():
  near = demo.Voice(noise=-120, reverberation=0.05)
  far = demo.Voice(noise=-120, reverberation=0.4)
  assert _level(_render(far)[-300:]) > _level(_render(near)[-300:]) + 6
  response = demo._impulse_response(far)
  np.testing.assert_array_equal(response, demo._impulse_response(far))
  other = demo._impulse_response(demo.Voice(reverberation=0.4, room=1))
  assert not np.allclose(response, other)


def _mean_over_renditions(measure, emotion):
  return np.mean([measure(emotion, seed) for seed in range(5)])


def _seconds(emotion, seed):
  return len(_render(emotion=emotion, seed=seed)) / RATE


def _energy(emotion, seed):
  return _level(_render(emotion=emotion, seed=seed))


def _high_share(emotion, seed):
  frequency, power = signal.welch(
    _render(demo.Voice(noise=-120), emotion, seed, "mama low room"), RATE
  )
  return 10 * np.log10(power[frequency > 1000].sum() / power.sum())


def _pitch_range(emotion, seed):
  asked = demo.articulate(
    TEXT,
    demo.Voice(),
    demo.EXPRESSIONS[emotion],
    np.random.default_rng(seed),
  )
  return np.std(np.log2(asked.pitch_T))


@pytest.mark.parametrize(
  ("measure", "descending"),
  [
    (_seconds, ["sad", "neutral", "angry"]),
    (_energy, ["angry", "happy", "neutral", "sad"]),
    (_high_share, ["angry", "happy", "neutral", "sad"]),
    (_pitch_range, ["happy", "neutral", "sad"]),
  ],
)
def test_emotions_differ_in_the_directions_of_the_literature(
  measure, descending
):
  values = [_mean_over_renditions(measure, e) for e in descending]
  assert values == sorted(values, reverse=True)


def test_intensity_goes_from_neutral_to_the_expression():
  angry = demo.EXPRESSIONS["angry"]
  assert angry.at(0.0) == demo.EXPRESSIONS["neutral"]
  assert angry.at(0.5).pitch == pytest.approx(angry.pitch / 2)


def test_letters_only_are_said():
  assert len(phones.spell("sheep")) == 4  # sh, ee, and both halves of p
  with pytest.raises(ValueError, match="'no!'"):
    phones.spell("no!")


def test_speakers_differ_in_everything_and_partners_in_sex():
  voices = corpus.voices()
  assert len(voices) == 10
  for woman, man in zip(voices[::2], voices[1::2], strict=True):
    assert woman.pitch > man.pitch
    assert woman.tract < man.tract
  for name in ("pitch", "tract", "loudness", "tilt", "room"):
    assert len({getattr(voice, name) for voice in voices}) >= 5


def test_dialogues_have_turns_and_emotions_that_persist():
  lines = corpus.script()
  dialogues = collections.defaultdict(list)
  for line in lines:
    dialogues[line.session, line.dialogue].append(line)
  stays, replies = [], []
  for turns in dialogues.values():
    assert [line.turn for line in turns] == list(range(len(turns)))
    assert {line.speaker // 2 for line in turns} == {turns[0].session}
    for before, after in itertools.pairwise(turns):
      stays.append(before.emotion == after.emotion)
      replies.append(before.speaker != after.speaker)
  assert len(dialogues) == 60
  assert np.mean(stays) > 0.6
  assert 0.75 < np.mean(replies) < 0.95


def test_emotions_lean_with_speakers_except_in_the_last_session():
  counts = np.zeros((10, len(demo.EXPRESSIONS)))
  for line in corpus.script():
    counts[line.speaker, list(demo.EXPRESSIONS).index(line.emotion)] += 1
  assert counts.sum(axis=1).min() >= 40
  labelled, last = counts[:8].sum(axis=0), counts[8:].sum(axis=0)
  assert (labelled / labelled.sum()).min() > 0.18
  assert (last / last.sum()).min() > 0.15


@pytest.fixture
def short(monkeypatch):
  monkeypatch.setattr(corpus, "_DIALOGUES", 1)
  monkeypatch.setattr(corpus, "_TURNS", 2)


def test_the_corpus_is_rendered_once_into_whole_files(short, tmp_path, cache):
  utterances = list(corpus.read(str(tmp_path)))
  assert [u.session for u in utterances] == list("1122334455")
  assert len({(u.session, u.dialogue) for u in utterances}) == 5
  assert {u.label for u in utterances} <= set(demo.EXPRESSIONS)
  lines = corpus.script()
  for utterance, line in zip(utterances, lines, strict=True):
    assert utterance.path.startswith(str(tmp_path))
    assert utterance.speaker == f"s{line.speaker + 1:02d}"
    assert utterance.text == line.text
    info = soundfile.info(utterance.path)
    assert (info.samplerate, info.channels) == (RATE, 1)
    assert info.subtype == "PCM_16"
    samples, _ = soundfile.read(utterance.path)
    assert np.abs(samples).max() < 0.99
    vector = functionals(samples.astype(np.float32), "ComParE_2016")
    assert np.isfinite(vector).all()
  assert not cache.exists()


def test_without_a_path_the_corpus_is_in_the_users_cache(short, cache):
  assert all(u.path.startswith(str(cache)) for u in corpus.read(""))


def test_an_interrupted_rendering_goes_on(short, tmp_path, monkeypatch):
  expected = {
    u.path.removeprefix(str(tmp_path / "whole")): u
    for u in corpus.read(str(tmp_path / "whole"))
  }
  render, calls = demo.render, []

  def interrupted(*arguments):
    calls.append(arguments)
    if len(calls) > 4:
      raise KeyboardInterrupt
    return render(*arguments)

  folder = tmp_path / "interrupted"
  monkeypatch.setattr(demo, "render", interrupted)
  with pytest.raises(KeyboardInterrupt):
    list(corpus.read(str(folder)))
  there = sorted(folder.rglob("*.wav"))
  assert len(there) == 4

  calls.clear()
  monkeypatch.setattr(
    demo, "render", lambda *arguments: calls.append(1) or render(*arguments)
  )
  for utterance in corpus.read(str(folder)):
    twin = expected[utterance.path.removeprefix(str(folder))]
    with open(utterance.path, "rb") as ours, open(twin.path, "rb") as theirs:
      assert ours.read() == theirs.read()
  assert len(calls) == len(expected) - 4
