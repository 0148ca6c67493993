"""Files of folds: ours, and EmoBox's as they are in its repository."""

import json

import pytest

from emojax.corpora import fold_files
from emojax.errors import UserError

# Lines of data/emodb/fold_1 of emo-box/EmoBox, in both of its forms.
LINE = (
  '{"key": "emodb-03a02Wb", "dataset": "emodb", "wav": '
  '"downloads/emodb/wav/03a02Wb.wav", "type": "raw", "sample_rate": 16000, '
  '"num_frame": 33978.0, "task": "category", "length": 2.123625, "emo": '
  '"anger", "channel": 1}\n'
)
OBJECT = """{
    "emodb-12a05Ta": {
        "wav": "downloads/emodb/wav/12a05Ta.wav",
        "length": 5.36025,
        "emo": "sad",
        "dataset": "emodb",
        "channel": 1
    }
}"""


def table(tmp_path, *rows, header="path,part,fold"):
  path = tmp_path / "folds.csv"
  path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
  return path


def write(folder, name, text):
  folder.mkdir(parents=True, exist_ok=True)
  (folder / name).write_text(text, encoding="utf-8")


def plain(found):
  """Path and part of each clip, by corpus and fold."""
  return {
    corpus: {
      name: [(c.path, c.part) for c in fold] for name, fold in of.items()
    }
    for corpus, of in found.items()
  }


def test_a_table(tmp_path):
  path = table(
    tmp_path,
    r"b\1.wav;Dev;10",
    "a/1.wav;train;2",
    "a/2.wav;TEST;2.0",
    "a/1.wav;train;2",
    "a/1.wav;Training;10",
    "a/2.wav;test;10",
    header="Path;Part;Fold",
  )
  assert plain(fold_files.read(path)) == {
    "": {
      "fold 2": [("a/1.wav", "train"), ("a/2.wav", "test")],
      "fold 10": [
        ("b/1.wav", "validation"),
        ("a/1.wav", "train"),
        ("a/2.wav", "test"),
      ],
    }
  }


def test_folds_with_names_are_in_the_order_of_the_file(tmp_path):
  rows = ["1,train,B", "2,test,B", "2,train,A", "1,test,A", "3,test,b "]
  (folds,) = fold_files.read(table(tmp_path, *rows)).values()
  assert [(name, len(fold)) for name, fold in folds.items()] == [
    ("B", 3),
    ("A", 2),
  ]


def test_a_number_with_zeros_before_it_is_the_same_fold(tmp_path):
  rows = ["1,train,01", "2,test,1", "3,train,10", "4,test,010", "5,train,2"]
  path = table(tmp_path, *rows, "6,test,002")
  assert plain(fold_files.read(path))[""] == {
    "fold 1": [("1", "train"), ("2", "test")],
    "fold 2": [("5", "train"), ("6", "test")],
    "fold 10": [("3", "train"), ("4", "test")],
  }


def test_files_of_emobox(tmp_path, caplog):
  fold = tmp_path / "emodb" / "fold_1"
  write(fold, "emodb_test_fold_1.jsonl", LINE)
  write(fold, "emodb_train_fold_1.json", OBJECT)
  # What else is there; and the same part in another form.
  write(fold, "emodb_test_fold_1.json", OBJECT)
  write(fold, "emodb_test_fold1.jsonl", "damaged")
  write(fold.parent, "label_map.json", "{}")
  write(fold.parent, "emodb.jsonl", LINE)
  meld = tmp_path / "meld" / "fold_1"
  for part in ("train", "valid", "test"):
    write(meld, f"meld_{part}_fold_1.jsonl", LINE.replace("03a02Wb", part))
  assert plain(fold_files.read(tmp_path)) == {
    "emodb": {
      "fold 1": [
        ("downloads/emodb/wav/03a02Wb.wav", "test"),
        ("downloads/emodb/wav/12a05Ta.wav", "train"),
      ]
    },
    "meld": {
      "fold 1": [
        (f"downloads/emodb/wav/{name}.wav", part)
        for name, part in [
          ("test", "test"),
          ("train", "train"),
          ("valid", "validation"),
        ]
      ]
    },
  }
  assert "emodb_test_fold1.jsonl" in caplog.text
  assert "label_map" not in caplog.text


@pytest.mark.parametrize(
  ("rows", "reason"),
  [
    ([], "names no clip; expected a CSV file with the columns path,part,fold"),
    (["a.wav,tset,1"], "line 2: part 'tset': there are train, validation and"),
    (["a.wav,,1"], "line 2: part ''"),
    ([",train,1"], "line 2: no path; each row has path, part and fold"),
    (["a.wav,train,"], "line 2: no fold"),
    (["a.wav,train,1"], "fold 1 has no test part; name the clips of both"),
    (["a.wav,train,1", "b.wav,dev,2"], "fold 1 has no test part"),
    (["a.wav,dev,x"], "x has no train and no test part"),
    (["a.wav,train"], "not as many fields as columns"),
  ],
)
def test_tables_that_are_wrong(tmp_path, rows, reason):
  with pytest.raises(UserError) as caught:
    fold_files.read(table(tmp_path, *rows))
  assert reason in str(caught.value)


def test_speakers_of_a_table(tmp_path):
  header = "path,part,fold,speaker"
  rows = [
    "./a.wav,train,1,Anna",
    "b.wav,test,1,anna ",
    "x/../a.wav,train,2,Anna",
  ]
  path = table(tmp_path, *rows, "b.wav,test,2,ANNA", header=header)
  found = fold_files.read(path)[""]
  for fold in ("fold 1", "fold 2"):
    clips = [(one.path, one.speaker) for one in found[fold]]
    assert clips == [("a.wav", "Anna"), ("b.wav", "Anna")]
  path = table(tmp_path, *rows, "a.wav,test,1,Bo", header=header)
  reason = "line 5: the clip of .* line 2, there with speaker 'Anna', here with"
  with pytest.raises(UserError, match=reason):
    fold_files.read(path)


def test_other_files(tmp_path):
  (tmp_path / "empty").mkdir()
  write(tmp_path, "emodb_test_fold_1.jsonl", LINE)
  other = table(tmp_path, "1,2", header="file,set")
  for path, reason in (
    (other, "no column path, part, fold; expected a CSV file"),
    (tmp_path / "empty", "no fold files found; expected a CSV file"),
    (tmp_path / "nowhere", "can not be read"),
    (tmp_path / "emodb_test_fold_1.jsonl", "one part of one fold; name the"),
    (tmp_path, "emodb, fold 1 has no train part"),
  ):
    with pytest.raises(UserError, match=reason):
      fold_files.read(path)


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("", "emodb, fold 1 has no train part"),
    ("\n[\n", "line 2: not JSON"),
    ("[1]", 'line 1: no clip with its path as "wav"'),
    ('{"key": "a"}', 'line 1: no clip with its path as "wav"'),
    ('{"wav": 3}', 'line 1: no clip with its path as "wav"'),
    ("3", "line 1: 3 where clips should be"),
    ("[" * 100_000, "line 1: not JSON"),
  ],
)
def test_lines_that_are_no_clips(tmp_path, text, reason):
  fold = tmp_path / "fold_1"
  write(fold, "emodb_test_fold_1.jsonl", LINE)
  write(fold, "emodb_train_fold_1.jsonl", text)
  with pytest.raises(UserError) as caught:
    fold_files.read(tmp_path)
  assert reason in str(caught.value)


def test_one_part_in_two_folders(tmp_path):
  for copy in ("a", "b"):
    for part in ("train", "test"):
      name = f"x_{part}_fold_1.json"
      write(tmp_path / copy, name, json.dumps([{"wav": "a.wav"}]))
  with pytest.raises(UserError, match=r"two files of one part: .*a.* and .*b"):
    fold_files.read(tmp_path)
