"""The IEMOCAP reader on trees generated in the release's own formats."""

import dataclasses
import shutil
from collections import Counter, defaultdict

import pytest

from emojax.corpora import labels
from emojax.corpora import speech as corpora
from emojax.errors import UserError

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
EVALUATORS = (
  "C-E2:\tNeutral;\t()\nC-E4:\tNeutral; Other;\t(curious)\n"
  "A-E3:\tval 3; act 2; dom  2;\t()\nA-F1:\tval 3; act 2; dom  1;\t()\n\n"
)


def _write_dialogue(root, dialogue, turns, transcripts=None):
  """Writes a dialogue of (start, utterance, label) with empty recordings."""
  session = root / f"Session{int(dialogue[3:5])}"
  evaluation = session / "dialog" / "EmoEvaluation"
  transcription = session / "dialog" / "transcriptions"
  wav = session / "sentences" / "wav" / dialogue
  for folder in (evaluation, transcription, wav):
    folder.mkdir(parents=True, exist_ok=True)
  blocks = [
    f"[{start:.4f} - {start + 2:.4f}]\t{name}\t{label}"
    f"\t[2.5000, 2.5000, 2.5000]\n{EVALUATORS}"
    for start, name, label in turns
  ]
  (evaluation / f"{dialogue}.txt").write_text(HEADER + "".join(blocks))
  lines = transcripts or [
    f"{name} [{start:08.4f}-{start + 2:08.4f}]: Words of {name}."
    for start, name, _ in turns
  ]
  (transcription / f"{dialogue}.txt").write_bytes(
    "\n".join(lines).encode("latin-1")
  )
  for _, name, _ in turns:
    (wav / f"{name}.wav").touch()


@pytest.fixture
def quirky(tmp_path):
  """A dialogue with all that is odd in the release."""
  _write_dialogue(
    tmp_path,
    "Ses05M_impro01",
    [
      (10.01, "Ses05M_impro01_M000", "fru"),
      (6.2901, "Ses05M_impro01_F000", "neu"),
      (100.5, "Ses05M_impro01_F001", "xxx"),
      (20.0, "Ses05M_impro01_M001", "exc"),
    ],
    [
      "Ses05M_impro01_F000 [006.2901-008.2357]: Caf\xe9, excuse me.\r",
      "Ses05_MXX0 [008.0000-009.0000]: [LAUGHTER]",
      "Ses05M_impro01_MXX1 [009.0000-009.5000]: Mmhmm.",
      "Ses05M_impro01_M000 [010.0100-012.0100]: Wait\x85 what?",
      "M: a line without a time",
      "Ses05M_impro01_M001 [020.0000-022.0000]:",
    ],
  )
  session = tmp_path / "Session5"
  junk = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X\xff\xfe[1.0 - 2.0]\t"
  for folder in ("dialog/EmoEvaluation", "dialog/transcriptions"):
    (session / folder / "._Ses05M_impro01.txt").write_bytes(junk)
  wav = session / "sentences" / "wav" / "Ses05M_impro01"
  (wav / "._Ses05M_impro01_F000.wav").write_bytes(junk)
  categorical = session / "dialog" / "EmoEvaluation" / "Categorical"
  categorical.mkdir()
  (categorical / "Ses05M_impro01_e2_cat.txt").write_text("Ses05M :Neutral; ()")
  return tmp_path


def test_the_format_as_it_is_shipped(quirky):
  found = corpora.read("iemocap", quirky)
  assert [u.turn for u in found] == [0, 1, 2, 3]
  assert [u.path.rpartition("_")[2] for u in found] == [
    "F000.wav",
    "M000.wav",
    "M001.wav",
    "F001.wav",
  ]
  # The dialogue is 'M', but both actors speak in it.
  assert [u.speaker for u in found] == ["Ses05F", "Ses05M", "Ses05M", "Ses05F"]
  assert [u.label for u in found] == [
    "neutral",
    "frustrated",
    "excited",
    "undecided",
  ]
  assert {(u.session, u.dialogue) for u in found} == {("5", "Ses05M_impro01")}
  assert [u.text for u in found] == [
    "Caf\xe9, excuse me.",
    "Wait\x85 what?",
    "",
    "",
  ]


def test_recordings_without_an_evaluation_are_counted(quirky, caplog):
  wav = quirky / "Session5" / "sentences" / "wav"
  (wav / "Ses05M_impro01" / "Ses05M_impro01_F009.wav").touch()
  (wav / "Ses05F_impro02").mkdir()
  (wav / "Ses05F_impro02" / "Ses05F_impro02_M000.wav").touch()
  assert len(corpora.read("iemocap", quirky)) == 4
  assert any(
    f"{wav}: 2 files without an evaluation were not read: 2 .wav" in message
    for message in caplog.messages
  )


def test_the_folder_above_the_release(quirky, tmp_path):
  release = tmp_path / "above" / "IEMOCAP_full_release"
  release.mkdir(parents=True)
  (quirky / "Session5").rename(release / "Session5")
  assert len(corpora.read("iemocap", tmp_path / "above")) == 4


def test_utf_8_and_missing_transcripts(quirky):
  folder = quirky / "Session5" / "dialog" / "transcriptions"
  path = folder / "Ses05M_impro01.txt"
  path.write_text("Ses05M_impro01_F000 [006.2901-008.2357]: Café.", "utf-8")
  assert corpora.read("iemocap", quirky)[0].text == "Café."
  path.unlink()
  assert corpora.read("iemocap", quirky)[0].text == ""


def test_a_missing_recording_is_left_to_who_reads_it(quirky):
  wav = quirky / "Session5" / "sentences" / "wav" / "Ses05M_impro01"
  (wav / "Ses05M_impro01_F000.wav").unlink()
  assert len(corpora.read("iemocap", quirky)) == 4
  for path in wav.glob("Ses*.wav"):
    path.unlink()
  with pytest.raises(UserError, match="no audio found; the first of 4"):
    corpora.read("iemocap", quirky)


def test_the_text_alone(quirky):
  whole = corpora.read("iemocap", quirky)
  assert corpora.read("iemocap", quirky, needs_audio=False) == whole
  shutil.rmtree(quirky / "Session5" / "sentences")
  alone = corpora.read("iemocap", quirky, needs_audio=False)
  assert alone == [dataclasses.replace(one, path="") for one in whole]


def test_what_programs_make_of_the_files(quirky):
  whole = corpora.read("iemocap", quirky)
  folder = quirky / "Session5" / "dialog"
  path = folder / "EmoEvaluation" / "Ses05M_impro01.txt"
  text = path.read_text("utf-8")
  for content in (
    text.replace("\n", "\r\n").encode(),
    text.replace("\n", "\r").encode(),
    text.partition("\n")[2].strip().encode("utf-8-sig"),
    text.encode("utf-16"),
    text.replace("\n", "\n ").encode(),
  ):
    path.write_bytes(content)
    assert corpora.read("iemocap", quirky) == whole
  transcript = folder / "transcriptions" / path.name
  transcript.rename(transcript.with_name(path.name.upper()))
  (folder / "EmoEvaluation").rename(folder / "emoevaluation")
  (quirky / "Session5").rename(quirky / "SESSION5")
  found = corpora.read("iemocap", quirky)
  assert [u.text for u in found] == [u.text for u in whole]


def test_transcripts_that_are_missing_are_counted(quirky, caplog):
  corpora.read("iemocap", quirky, needs_audio=False)
  first = "the first: Ses05M_impro01_M001"
  assert f"no transcript for 2 of 4 utterances; {first}" in caplog.text


def test_a_dialogue_that_is_there_again(quirky, caplog):
  whole = corpora.read("iemocap", quirky)
  folder = quirky / "Session5" / "dialog" / "EmoEvaluation"
  path = folder / "Ses05M_impro01.txt"
  copy = shutil.copy(path, folder / "Ses05M_impro01 (1).txt")
  assert corpora.read("iemocap", quirky) == whole
  assert "4 are there twice and count once" in caplog.text
  with open(copy, "w", encoding="utf-8") as file:
    file.write(path.read_text("utf-8").replace("\tfru\t", "\tsad\t"))
  with pytest.raises(UserError, match=r"\(1\).txt, line 3: .* 'frustrated', "):
    corpora.read("iemocap", quirky)


@pytest.mark.parametrize(
  ("content", "why"),
  [
    (b"", "no evaluated utterance, a line that begins with"),
    (b"[1 - 2]\tSes05F" + b"_F" * 400_000, "line 1: .* is not"),
    (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
  ],
)
def test_files_that_are_no_evaluation(quirky, content, why):
  folder = quirky / "Session5" / "dialog" / "EmoEvaluation"
  (folder / "Ses05M_impro01.txt").write_bytes(content)
  with pytest.raises(UserError, match=why) as caught:
    corpora.read("iemocap", quirky)
  assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
  ("old", "new", "why"),
  [
    ("\tfru\t", "\tfrx\t", "line 3: unknown label 'frx'; did you mean"),
    ("\tfru\t", " fru ", "line 3: .* is not"),
    ("[10.0100 -", "[10.0100", "line 3: .* is not"),
  ],
)
def test_a_damaged_evaluation_names_its_line(quirky, old, new, why):
  folder = quirky / "Session5" / "dialog" / "EmoEvaluation"
  path = folder / "Ses05M_impro01.txt"
  path.write_text(path.read_text().replace(old, new, 1))
  with pytest.raises(UserError, match=why) as caught:
    corpora.read("iemocap", quirky)
  assert str(path) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_a_session_without_evaluations(quirky):
  (quirky / "Session1").mkdir()
  with pytest.raises(UserError, match=r"Session1.*no evaluations"):
    corpora.read("iemocap", quirky)


# What the release holds: labels of each session, and its dialogues. The sums
# over the four classes are Table 1 of Lian et al.; the rest brings them to the
# 10,039 utterances of the whole release.
SESSIONS = {
  1: ({"neu": 384, "hap": 135, "exc": 143, "sad": 194, "ang": 229}, 28),
  2: ({"neu": 362, "hap": 117, "exc": 210, "sad": 197, "ang": 137}, 30),
  3: ({"neu": 320, "hap": 135, "exc": 151, "sad": 305, "ang": 240}, 32),
  4: ({"neu": 258, "hap": 65, "exc": 238, "sad": 143, "ang": 327}, 30),
  5: ({"neu": 384, "hap": 143, "exc": 299, "sad": 245, "ang": 170}, 31),
}
REST = {"fru": 1849, "fea": 40, "sur": 107, "dis": 2, "oth": 3, "xxx": 2507}


@pytest.fixture(scope="module")
def full_release(tmp_path_factory):
  """A tree of the release's size; the recordings are empty files."""
  root = tmp_path_factory.mktemp("IEMOCAP")
  rest = [label for label, count in REST.items() for _ in range(count)]
  for session, (counts, dialogues) in SESSIONS.items():
    codes = [label for label, count in counts.items() for _ in range(count)]
    codes += rest[session - 1 :: 5]
    for number in range(dialogues):
      letter = "FM"[number % 2]
      dialogue = f"Ses0{session}{letter}_impro{number:02d}"
      turns = [
        (3.0 * turn, f"{dialogue}_{'FM'[turn % 2]}{turn // 2:03d}", label)
        for turn, label in enumerate(codes[number::dialogues])
      ]
      _write_dialogue(root, dialogue, turns)
  return root


def test_the_counts_of_table_1(full_release):
  found = corpora.read("iemocap", full_release)
  assert len(found) == 10_039
  assert len({u.speaker for u in found}) == 10
  _, index = labels.parse_classes("angry,happy+excited,neutral,sad")
  kept = [u for u in found if u.label in index]
  utterances = Counter(u.session for u in kept)
  assert [utterances[s] for s in "12345"] == [1085, 1023, 1151, 1031, 1241]
  assert len(kept) == 5531
  dialogues = defaultdict(set)
  for utterance in kept:
    dialogues[utterance.session].add(utterance.dialogue)
  assert [len(dialogues[s]) for s in "12345"] == [28, 30, 32, 30, 31]
  merged = Counter(index[u.label] for u in kept)
  assert merged == {0: 1103, 1: 1636, 2: 1708, 3: 1084}
  # Whom the annotators disagree on is of no class, and not without a label.
  named = Counter(u.label for u in found)
  assert (named["other"], named["undecided"], named[""]) == (3, 2507, 0)
