"""Folds of others: who leaks is named, by the file names alone."""

import itertools
import json
import pathlib

import pytest

from emojax import __main__ as entry
from emojax.corpora import speech
from emojax.errors import UserError

# Paths of emo-box/EmoBox, data/*/fold_1, and who speaks.
NAMES = {
  "ravdess": (
    "downloads/ravdess/audio/Audio_Speech_Actors_01-24/Actor_11/"
    "03-01-07-02-02-02-11.wav",
    "11",
  ),
  "crema_d": ("downloads/cremad/AudioWAV/1006_ITH_DIS_XX.wav", "1006"),
  "emodb": ("downloads/emodb/wav/03a02Wb.wav", "03"),
  "savee": ("downloads/savee/JE_d06.wav", "JE"),
  "tess": ("downloads/tess/YAF_mess_happy.wav", "YAF"),
  "iemocap": (
    "downloads/iemocap/Session1/sentences/wav/Ses01M_impro06/"
    "Ses01M_impro06_F024.wav",
    "Ses01F",
  ),
}


def emobox(root, corpus, fold, **parts):
  """Writes a fold in EmoBox's form: paths by part."""
  folder = root / corpus / f"fold_{fold}"
  folder.mkdir(parents=True)
  for part, paths in parts.items():
    lines = [
      json.dumps({"key": "k", "dataset": corpus, "wav": path, "emo": "sad"})
      for path in paths
    ]
    file = folder / f"{corpus}_{part}_fold_{fold}.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")


def audit(capsys, path):
  """What the command prints, and its error."""
  error = ""
  try:
    entry.main(["emojax", "audit", f"--folds={path}"])
  except UserError as wrong:
    error = str(wrong)
  assert "\n" not in error
  return capsys.readouterr().out, error


def test_file_names_say_who_speaks():
  rules = speech.speaker_rules()
  assert sorted(rules) == sorted(NAMES)
  for (corpus, speaker_of), name in itertools.product(rules.items(), NAMES):
    path, speaker = NAMES[name]
    found = speaker_of(pathlib.PurePosixPath(path))
    assert found == (speaker if name == corpus else None)
  assert rules["savee"](pathlib.PurePosixPath("AudioData/DC/sa01.wav")) == "DC"
  assert rules["tess"](pathlib.PurePosixPath("OA_bite_neutral.wav")) == "OAF"


def test_every_speaker_on_both_sides(tmp_path, capsys):
  actors = range(1001, 1092)
  paths = {
    part: [f"AudioWAV/{actor}_{text}_ANG_XX.wav" for actor in actors]
    for part, text in (("train", "IEO"), ("test", "TIE"))
  }
  emobox(tmp_path, "cremad", 1, **paths)
  out, error = audit(capsys, tmp_path / "cremad")
  assert "cremad, fold 1\n| part " in out
  assert "| train | 91         | 91: 1001 1002" in out
  assert "\n91 of 91 test speakers are in the training part, too\n" in out
  assert error == (
    f"{tmp_path / 'cremad'}: 1 of 1 folds leak: cremad, fold 1: 91 of 91 test "
    "speakers are in the training part, too; make parts of whole speakers"
  )


def test_whole_speakers_are_clean(tmp_path, capsys):
  for fold, test in (("1", "DC"), ("2", "JE")):
    train = [f"downloads/savee/{who}_a01.wav" for who in {"DC", "JE"} - {test}]
    emobox(
      tmp_path, "savee", fold, train=train, test=[f"downloads/{test}_a01.wav"]
    )
  out, error = audit(capsys, tmp_path)
  assert not error
  assert "savee, fold 2" in out
  assert out.count("\nno speaker and no recording is in two parts\n") == 3


def test_the_speaker_of_a_table_and_a_recording_in_two_parts(tmp_path, capsys):
  path = tmp_path / "folds.csv"
  rows = ["a,train,1,A", "b,validation,1,A", "c,test,1,B", "a,test,1,A"]
  rows += ["d,train,2,D", "e,test,2,E"]
  path.write_text("\n".join(["path,part,fold,speaker", *rows]), "utf-8")
  out, error = audit(capsys, path)
  assert (
    "1 of 1 validation speakers are in the training part, too; "
    "1 of 2 test speakers are in the training part, too; "
    "1 of 2 test speakers are in the validation part, too; "
    "1 of 2 test recordings are in the training part, too, such as a\n"
  ) in out
  assert "| test  | 1          | 1: E" in out
  assert "1 of 2 folds leak: fold 1: 1 of 1 validation" in error
  assert "; and 3 more such; " in error


def test_nobody_knows_who_speaks(tmp_path, capsys):
  emobox(tmp_path, "mead", 1, train=["M003_1.wav"], test=["M004_1.wav"])
  out, error = audit(capsys, tmp_path)
  assert "| train | 1          | –" in out
  assert "mead: who speaks is not known: file names such as M004_1.wav" in error
  assert "path,part,fold,speaker" in error
  emobox(tmp_path, "emodb", 1, train=["03a01Wa.wav"], test=["03a02Wa", "x"])
  out, error = audit(capsys, tmp_path / "emodb")
  assert "known: 1 of 3 file names are not as in emodb: x; give a CSV" in error
  emobox(tmp_path, "tess", 1, train=["OAF_a_sad.wav"], test=["OAF_b_sad.wav"])
  out, error = audit(capsys, tmp_path)
  assert "tess, fold 1: 1 of 1 test speakers are in" in error
  assert "; of 2 folds it is not known who speaks; " in error


def test_a_recording_in_two_parts_is_seen_whoever_speaks(tmp_path, capsys):
  emobox(tmp_path, "mead", 1, train=["1.wav", "2.wav"], test=["2.wav"])
  _, error = audit(capsys, tmp_path)
  assert "1 of 1 test recordings are in the training part, too" in error


@pytest.mark.parametrize(
  ("arguments", "reason"),
  [
    (["--folds="], "usage: emojax audit --folds=FOLDER"),
    (["--folds=a", "b"], "usage: emojax audit --folds=FOLDER"),
    (["--folds"], "Missing value.*there is --folds"),
    (["--folds=nowhere"], "nowhere: can not be read"),
    (["--folds=.", "--config=x"], "Unknown command line flag 'config'"),
  ],
)
def test_the_command_line(tmp_path, monkeypatch, arguments, reason):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError, match=reason):
    entry.main(["emojax", "audit", *arguments])


def test_some_speakers_only(tmp_path, capsys):
  path = tmp_path / "folds.csv"
  path.write_text("path,part,fold,speaker\na,train,1,A\nb,test,1,\n", "utf-8")
  _, error = audit(capsys, path)
  assert "line 3: no speaker, and other clips have one" in error
