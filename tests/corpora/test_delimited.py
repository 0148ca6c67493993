"""Tables as pandas, Excel, Windows and macOS write them."""

import pytest

from emojax.corpora import delimited
from emojax.errors import UserError

COLUMNS = delimited.Columns(
  ("name", "number"), ("note",), names=("name",), expected="expected a table"
)
TABLE = "name,number\nZoë,1\nBo,2\n"
ROWS = [("Zoë", "1"), ("Bo", "2")]


def _read(tmp_path, content, encoding="utf-8"):
  path = tmp_path / "t.csv"
  path.write_bytes(
    content if isinstance(content, bytes) else content.encode(encoding)
  )
  return delimited.read(path, COLUMNS)


@pytest.mark.parametrize(
  ("content", "encoding"),
  [
    (TABLE, "utf-8-sig"),
    ("\ufeff" + TABLE, "utf-8-sig"),  # exported twice
    (TABLE, "utf-16"),
    (TABLE, "utf-32"),
    (TABLE.replace(",", "\t"), "utf-16"),  # Excel's "Unicode text"
    (TABLE.replace(",", ";"), "utf-8"),  # Excel in German
    ("sep=;\r\n" + TABLE.replace(",", ";"), "utf-8-sig"),
    (TABLE.replace("\n", "\r\n"), "utf-8"),
    (TABLE.replace("\n", "\r"), "utf-8"),
    (TABLE.replace(",", " , "), "utf-8"),
    (TABLE.replace(",", ', "').replace("\n", '"\n'), "utf-8"),
    ("Name , NUMBER\n" + TABLE.partition("\n")[2], "utf-8"),
    (TABLE.replace("\n", "\n\n,\n"), "utf-8"),
    (TABLE.replace("\n", ",,\n"), "utf-8"),
    ("\n,\n" + TABLE, "utf-8"),
    (TABLE.replace("Bo", "name,number\nBo"), "utf-8"),  # two tables, joined
  ],
)
def test_what_programs_make_of_a_table(tmp_path, content, encoding, caplog):
  rows = _read(tmp_path, content, encoding)
  assert [(r.values["name"], r.values["number"]) for r in rows] == ROWS
  assert not caplog.messages


def test_a_row_knows_its_first_line(tmp_path):
  content = 'sep=,\nname,number\n"Zo\në",1\n\nBo,2\n'
  rows = _read(tmp_path, content)
  assert [row.where.rpartition(" ")[2] for row in rows] == ["3", "6"]


def test_values_of_pandas(tmp_path, caplog):
  content = ",name,number,note\n0,1.0,3.0,nan\n1,2.0,1e2,None\n2,3,4,None.\n"
  rows = _read(tmp_path, content)
  assert [list(row.values.values()) for row in rows] == [
    ["1", "3.0", ""],
    ["2", "1e2", ""],
    ["3", "4", "None."],
  ]
  (message,) = caplog.messages
  assert "'nan' in note (1 of 3 rows), 'None' in note (1 of 3 rows)" in message


def test_what_is_said_may_be_a_word_for_missing_values(tmp_path, caplog):
  path = tmp_path / "t.csv"
  path.write_text("name,note\nA,None\nB,NA\nC,nan\nNone,x\n", encoding="utf-8")
  columns = delimited.Columns(("name", "note"), words=("note",))
  rows = delimited.read(path, columns)
  assert [row.values["note"] for row in rows] == ["None", "NA", "", "x"]
  assert rows[3].values["name"] == ""
  missing, said = caplog.messages
  assert "missing: 'nan' in note (1 of 4 rows), 'None' in name (1 of" in missing
  assert "what is said: 'None' in note (1 of 4 rows), 'NA' in note" in said


@pytest.mark.parametrize(
  ("value", "why"),
  [("", "no name; all have"), ("NA", r"no name \('NA' reads as .*; all have")],
)
def test_a_column_that_is_never_empty(tmp_path, value, why):
  path = tmp_path / "t.csv"
  path.write_text(f"name,note\nA,\n{value},x\n", encoding="utf-8")
  columns = delimited.Columns(("name", "note"), filled={"name": "all have one"})
  with pytest.raises(UserError, match=f"t.csv, line 3: {why}"):
    delimited.read(path, columns)


@pytest.mark.parametrize(
  ("value", "number"), [("3", 3), ("3.0", 3), ("-1e2", -100), ("007", 7)]
)
def test_whole_numbers(value, number):
  assert delimited.whole(value, "t.csv, line 2", "turn") == number


@pytest.mark.parametrize(
  "value", ["2.5", "1_0", "nan", "inf", "9" * 5000, "1e400", "3,0", "0x1"]
)
def test_no_whole_numbers(value):
  with pytest.raises(UserError, match=r"line 2: turn .* is no whole number"):
    delimited.whole(value, "t.csv, line 2", "turn")


def test_columns_that_are_not_read_are_named(tmp_path, caplog):
  _read(tmp_path, "name,number,split,empty,,Split 2\nA,1,x,,y,z\n")
  (message,) = caplog.messages
  assert message.endswith("t.csv: columns not used: split, number 5, Split 2")


@pytest.mark.parametrize(
  ("content", "why"),
  [
    ("Zoë,1\n", "line 1: no column name, number; expected a .*found Zoë, 1"),
    ("", "line 1: no column name, number; .*found nothing"),
    ("name,number,Name \nA,1,B\n", "line 1: 2 columns are called name"),
    ("name,number\nA\n", r"line 2: not as many .*\(1 and 2\); .* comma in"),
    ("name;number\nA;1;B\n", r"line 2: not as many .*semicolon in double"),
    ('name,number\nA,"1\nB,2\n', "line 2: not CSV .*close each double quote"),
    ('name,number\nA,"1" x\n', "line 2: not CSV .*double those inside"),
    ('name,number\nA,"' + "x" * 200_000 + '"\n', "line 2: not CSV .*limit"),
    (b"name,number\nZo\xeb,1\n", "line 2: not UTF-8: byte eb .*'ë'.*CSV UTF-8"),
    (TABLE.encode("utf-16-le"), "line 1: a byte of 0; .*save it as CSV UTF-8"),
    (TABLE.encode("utf-16")[:-1], "damaged, no utf-16"),
    ("x" * 2_000_000, "line 1: longer than a million"),
    (b"PK\x03\x04 and so on", "an Excel workbook, .*save it as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook: save it as CSV UTF-8"),
    ('[{"name": "A"}]', "JSON: save it as CSV UTF-8"),
    ("version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
  ],
)
def test_what_is_no_table_says_why(tmp_path, content, why):
  with pytest.raises(UserError, match=why) as caught:
    _read(tmp_path, content)
  assert str(caught.value).startswith(str(tmp_path / "t.csv"))
  assert "\n" not in str(caught.value)
