"""Who learns, validates and is tested: nobody twice, and the proof of it."""

import numpy as np
import pytest

from configs import common
from emojax.data import split_audit, splits
from emojax.errors import UserError

ACTORS = [f"{actor:02d}" for actor in range(1, 25)]
CREMA_D = [str(actor) for actor in range(1001, 1092)]
BOTH = (True, False)


def clips_of(*corpora, each=3, session=""):
  """`each` clip of every speaker of some corpora, c0, c1 and so on."""
  speaker_U = np.concatenate([np.repeat(names, each) for names in corpora])
  corpus_U = np.repeat(
    [f"c{i}" for i in range(len(corpora))], [each * len(c) for c in corpora]
  )
  return splits.Names(speaker_U, np.full(len(speaker_U), session), corpus_U)


def make(names, validates=True, **fields):
  """Settings and their parts."""
  split = common.split()
  split.update(fields)
  made = splits.make(split, names, validates)
  return {setting: one.parts for setting, one in made.items()}


def speakers(names, rows):
  return set(names.speaker_U[rows].tolist())


def test_published_test_speakers():
  # papers/notes.md, from the public repository's own call of scikit-learn.
  for corpus, expected in (
    (ACTORS, "01 09 12 17 19"),
    (
      CREMA_D,
      "1001 1005 1011 1013 1019 1023 1027 1029 1036 1040 1041 1045 1050 1056 "
      "1063 1067 1071 1086 1089",
    ),
  ):
    names = clips_of(corpus)
    for validates in BOTH:
      (parts,) = make(names, validates).values()
      assert speakers(names, parts["test"]) == set(expected.split())


@pytest.mark.parametrize("validates", BOTH)
def test_split_then_merged(validates):
  names = clips_of(ACTORS, CREMA_D)
  made = make(names, validates)
  assert list(made) == ["unseen speakers"]
  parts = made["unseen speakers"]
  test = parts["test"]
  if not validates:
    np.testing.assert_array_equal(parts.pop("unlabelled"), test)
  assert next(iter(parts)) == ("train" if validates else "labelled")
  rows = np.concatenate(list(parts.values()))
  np.testing.assert_array_equal(np.sort(rows), np.arange(len(names.speaker_U)))
  who = [speakers(names, part) for part in parts.values()]
  assert sum(map(len, who)) == len(ACTORS) + len(CREMA_D)
  for part in parts.values():
    assert set(names.corpus_U[part]) == {"c0", "c1"}
    assert (np.diff(part) > 0).all()
  by_itself = make(clips_of(ACTORS), validates)["unseen speakers"]["test"]
  np.testing.assert_array_equal(test[names.corpus_U[test] == "c0"], by_itself)


def test_named_speakers():
  names = clips_of(ACTORS[:4])
  made = make(
    names,
    method="speakers",
    validation_speakers="02",
    test_speakers="03, 04",
  )
  assert list(made) == ["unseen 03, 04"]
  assert [speakers(names, rows) for rows in made["unseen 03, 04"].values()] == [
    {"01"},
    {"02"},
    {"03", "04"},
  ]


def test_names_with_commas_and_in_other_spellings(caplog):
  names = clips_of(["Smith, Jo", "Zoë", "Bo", "Cy"])
  made = make(
    names,
    method="speakers",
    validation_speakers="zoe\u0308",
    test_speakers='Bo, "smith, jo"',
  )
  (parts,) = made.values()
  assert speakers(names, parts["validation"]) == {"Zoë"}
  assert speakers(names, parts["test"]) == {"Smith, Jo", "Bo"}
  assert "'smith, jo' for 'Smith, Jo'" in caplog.text
  with pytest.raises(UserError, match=r'no speaker Smith; .* "Smith, Jo", Zoë'):
    make(names, False, method="speakers", test_speakers="Smith")
  parts = make(names, False, method="speakers", test_speakers="Smith, Jo")
  assert list(parts) == ["unseen Smith, Jo"]


def test_the_session_of_the_test_in_another_spelling():
  names = clips_of(["A", "B", "C"])
  sessions = np.repeat(["1", "2", "Morning"], 3)
  names = splits.Names(names.speaker_U, sessions, names.corpus_U)
  fields = {"labelled_sessions": ("12",), "test_session": "morning "}
  parts = make(names, False, method="sessions", **fields)["TS 12"]
  assert speakers(names, parts["test"]) == {"C"}


def test_named_speakers_are_unlabelled_where_nobody_validates():
  parts = make(
    splits.Names(
      np.array(["01", "02", "03", "01", "03"]), np.full(5, ""), np.full(5, "c")
    ),
    validates=False,
    method="speakers",
    test_speakers="03,02",
  )["unseen 03, 02"]
  assert {part: rows.tolist() for part, rows in parts.items()} == {
    "labelled": [0, 3],
    "unlabelled": [1, 2, 4],
    "test": [1, 2, 4],
  }


@pytest.mark.parametrize(
  ("validation", "test", "reason"),
  [
    ("", "01", "config.split.validation_speakers = '': names nobody"),
    ("02", "99", "test_speakers = '99': no speaker 99; there are 01, 02, 03"),
    ("02", "1", "no speaker 1;"),
    ("02", "02", "02 validates and tests"),
    ("02,03", "01", "no speaker is left to learn from; there are 01, 02, 03"),
  ],
)
def test_wrong_names(validation, test, reason):
  with pytest.raises(UserError, match=reason):
    make(
      clips_of(ACTORS[:3]),
      method="speakers",
      validation_speakers=validation,
      test_speakers=test,
    )


def test_nobody_validates_where_labelled_speakers_are_held_out():
  with pytest.raises(UserError, match=r"validation_speakers = '02': this"):
    make(
      clips_of(ACTORS[:3]),
      validates=False,
      method="speakers",
      validation_speakers="02",
      test_speakers="01",
    )


@pytest.mark.parametrize(
  ("test", "reason"),
  [
    ("", "config.split.test_speakers = '': names nobody; there are 01, 02, 03"),
    ("04", "no speaker 04; there are 01, 02, 03"),
    ("1", "no speaker 1"),
    ("01,02,03", "no speaker is left"),
  ],
)
def test_speakers_that_can_not_be_tested(test, reason):
  with pytest.raises(UserError, match=reason):
    make(
      clips_of(ACTORS[:3]),
      validates=False,
      method="speakers",
      test_speakers=test,
    )


def conversations_of_a_series():
  """Three speakers; parts train, dev and test; Tag says nothing in the last."""
  who = ["Joey", "Ross", "Tag"] * 2 + ["Joey", "Ross"]
  part = ["train"] * 3 + ["dev"] * 3 + ["test"] * 2
  return splits.Names(np.array(who), np.array(part), np.full(8, ""))


def test_speakers_in_turn():
  """Unlabelled where the others teach, tested where nobody does."""
  names = conversations_of_a_series()
  fields = {"method": "in_turn", "test_session": "test"}
  made = make(names, False, test_speakers="Ross,Joey", **fields)
  found = {s: {p: r.tolist() for p, r in of.items()} for s, of in made.items()}
  assert found == {
    "unseen Ross": {
      "labelled": [0, 2, 3, 5],
      "unlabelled": [1, 4],
      "test": [7],
    },
    "unseen Joey": {
      "labelled": [1, 2, 4, 5],
      "unlabelled": [0, 3],
      "test": [6],
    },
  }
  with pytest.raises(UserError, match="Tag has to speak in the session"):
    make(names, False, test_speakers="Tag", **fields)
  with pytest.raises(UserError, match="no speaker Ursula; there are Joey"):
    make(names, False, test_speakers="Ursula", **fields)


@pytest.mark.parametrize("validates", BOTH)
def test_every_speaker_is_tested_in_one_fold(validates):
  names = clips_of(ACTORS, CREMA_D)
  made = make(names, validates, method="k_fold", seed=0)
  assert list(made) == [f"fold {n}" for n in range(1, 6)]
  for part in ("validation", "test")[not validates :]:
    rows = np.concatenate([parts[part] for parts in made.values()])
    np.testing.assert_array_equal(
      np.sort(rows), np.arange(len(names.speaker_U))
    )
  for parts in made.values():
    if not validates:
      np.testing.assert_array_equal(parts.pop("unlabelled"), parts["test"])
    who = [speakers(names, rows) for rows in parts.values()]
    assert sum(map(len, who)) == len(ACTORS) + len(CREMA_D)
    assert set(names.corpus_U[parts["test"]]) == {"c0", "c1"}


@pytest.mark.parametrize("validates", BOTH)
def test_each_group_is_left_out_once(validates):
  names = clips_of(ACTORS, CREMA_D)
  made = make(names, validates, method="leave_one_out", group="corpus")
  assert list(made) == ["without c0", "without c1"]
  for setting, parts in made.items():
    left_out = setting.removeprefix("without ")
    assert set(names.corpus_U[parts.pop("test")]) == {left_out}
    if not validates:
      assert set(names.corpus_U[parts.pop("unlabelled")]) == {left_out}
    rest = list(parts.values())
    assert len(rest) == 1 + validates
    assert left_out not in names.corpus_U[np.concatenate(rest)]
    if validates:
      assert not speakers(names, rest[0]) & speakers(names, rest[1])


def test_speakers_and_sessions_are_groups_too(caplog):
  names = splits.Names(
    np.repeat(ACTORS[:4], 2),
    np.repeat(["1", "2", ""], [4, 2, 2]),
    np.full(8, "c"),
  )
  made = make(names, False, method="leave_one_out", group="speaker")
  assert list(made) == [f"unseen {actor}" for actor in ACTORS[:4]]
  made = make(names, False, method="leave_one_out", group="session")
  assert made["without 2"]["labelled"].tolist() == [0, 1, 2, 3]
  assert made["without 2"]["test"].tolist() == [4, 5]
  assert "without one are in no part: 2 of 8" in caplog.text


def test_a_corpus_of_one_speaker_more_does_not_validate(caplog):
  """As TESS, whose two women can not test, teach and validate at once."""
  women = ["OAF", "YAF"]
  names = clips_of(ACTORS[:4], women)
  made = make(names, method="leave_one_out", group="speaker")
  assert len(made) == 6
  for who in women:
    parts = made[f"unseen {who}"]
    (other,) = set(women) - {who}
    assert speakers(names, parts["test"]) == {who}
    assert other in speakers(names, parts["train"])
    validating = speakers(names, parts["validation"])
    assert validating and validating <= set(ACTORS)
  assert caplog.text.count("c1: nobody validates: 1 speaker is left") == 2
  names = clips_of(women)
  with pytest.raises(UserError, match=r"c0: 1 speakers .* needs 2"):
    make(names, method="leave_one_out", group="speaker")


def test_a_corpus_without_groups_would_be_in_no_part():
  names = splits.Names(
    np.repeat(["ie:F", "ie:M", "rav:01"], 2),
    np.repeat(["ie:1", "ie:2", ""], 2),
    np.repeat(["ie", "rav"], [4, 2]),
  )
  with pytest.raises(UserError, match="'session': rav has none"):
    make(names, False, method="leave_one_out", group="session")


# Two of each who speak alone, and who speak at once.
CHOIR = splits.Names(
  np.array([*"AABBCCDDEE", "A & B", "A & E", "D & E", "E & F"]),
  np.full(14, ""),
  np.full(14, "own"),
)


@pytest.mark.parametrize(
  ("fields", "labelled", "test"),
  [
    ({"method": "speakers", "test_speakers": "E"}, "A A & B B C D", "E"),
    (
      {"method": "speakers", "test_speakers": "D,E"},
      "A A & B B C",
      "D D & E E",
    ),
    ({"method": "leave_one_out"}, None, None),
    ({"method": "k_fold", "num_folds": 3}, None, None),
    ({"method": "shuffle"}, None, None),
  ],
)
@pytest.mark.parametrize("validates", BOTH)
def test_who_speaks_with_others_is_where_they_are(
  fields, labelled, test, validates, caplog
):
  if validates and fields["method"] == "speakers":
    fields = fields | {"validation_speakers": "C"}
    labelled = labelled.replace(" C", "")
  made = make(CHOIR, validates, **fields)
  for setting, parts in made.items():
    first = "train" if validates else "labelled"
    names = [sorted(speakers(CHOIR, parts[part])) for part in (first, "test")]
    if labelled:
      assert [" ".join(who) for who in names] == [labelled, test]
    split_audit.audit(splits.Split(parts), *([""] * 14, CHOIR.speaker_U) * 2)
    rows = np.unique(np.concatenate(list(parts.values())))
    assert set(range(10)) <= set(rows.tolist())
    if len(rows) < 14:
      assert f"{setting}: utterances of several speakers" in caplog.text
      assert f"in none: {14 - len(rows)} of 14" in caplog.text
  if fields["method"] == "leave_one_out":
    assert list(made) == [f"unseen {who}" for who in "ABCDE"]


def test_a_choir_in_the_folds_of_the_labelled_part():
  parts = make(CHOIR, False, method="speakers", test_speakers="C")["unseen C"]
  for fold in splits.inner_folds(splits.Split(parts), CHOIR, 2):
    sides = (fold.parts["labelled"], fold.parts["unlabelled"])
    one, other = (
      {who for name in speakers(CHOIR, rows) for who in name.split(" & ")}
      for rows in sides
    )
    assert not one & other
    assert one | other >= set("ABCDE")


@pytest.mark.parametrize(
  ("sessions", "labelled", "test", "rows"),
  [
    (["train", "train", "dev", "test"], "train", "test", [0, 1]),
    (["train", "train", "dev", "test"], "Train, dev", "test", [0, 1, 2]),
    (["10", "11", "11", "12"], "10", "12", [0]),
    (["10", "11", "11", "12"], "10,11", "12", [0, 1, 2]),
    (["1", "2", "2", "5"], "12", "5", [0, 1, 2]),
    (["1", "2", "12", "5"], "1,2", "5", [0, 1]),
    (["1", "2", "12", "5"], "12,", "5", [2]),
  ],
)
def test_sessions_of_longer_names(sessions, labelled, test, rows):
  names = splits.Names(
    np.array(list("ABCD")), np.array(sessions), np.full(4, "own")
  )
  parts = by_sessions(names, labelled, test=test)
  assert parts["labelled"].tolist() == rows
  assert parts["test"].tolist() == [3]


def test_a_setting_that_may_be_two():
  names = splits.Names(
    np.array(list("ABCD")), np.array(["1", "2", "12", "5"]), np.full(4, "own")
  )
  with pytest.raises(UserError, match=r"write '12,' or '1,2'"):
    by_sessions(names, "12")
  with pytest.raises(UserError, match="no session evening; there are 1, 12, 2"):
    by_sessions(names, "evening")


PARTS = splits.Names(
  np.array(list("ABABAC")),
  np.array(["train", "train", "dev", "dev", "test", "test"]),
  np.full(6, "meld"),
)


@pytest.mark.parametrize("validates", BOTH)
def test_official_parts(validates):
  made = splits.make(_official(), PARTS, validates)
  parts = made["official parts"].parts
  assert [rows.tolist() for rows in parts.values()] == (
    [[0, 1], [2, 3], [4, 5]] if validates else [[0, 1, 2, 3], [4, 5], [4, 5]]
  )
  prints = ["p", "", "", "", "p", ""]
  text = split_audit.audit(
    made["official parts"], [""] * 6, PARTS.speaker_U, list("abcdef"), prints
  )
  assert "1 speakers are in the " in text
  assert "and the test part, too: A" in text
  assert "1 of 2 recordings of the test part are identical to one" in text


@pytest.mark.parametrize("corpus", ["manifest", "", "ravdess"])
def test_corpora_without_official_parts(corpus):
  sessions = np.full(6, "") if corpus == "ravdess" else PARTS.session_U
  names = splits.Names(PARTS.speaker_U, sessions, np.full(6, corpus))
  with pytest.raises(UserError, match="no parts of its authors"):
    splits.make(_official(), names, True)


def _official():
  split = common.split()
  split.method = "official"
  return split


def test_clips_that_overlap_in_time():
  split = splits.Split(
    {"labelled": np.array([0, 1]), "test": np.array([2, 3, 4])}
  )
  stretches = [
    *(("S1", 0, 10), ("S2", 5, 6), ("S1", 2, 3), ("S1", 9, 12), ("S2", 0, 6)),
  ]
  who = ["A", "A", "B", "B", "B"]
  text = split_audit.audit(split, [""] * 5, who, who, [""] * 5, stretches)
  said = (
    "2 of 3 clips of the test part overlap in time with one of the labelled"
  )
  assert said in text


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_speakers(count):
  names = clips_of(ACTORS[:count])
  with pytest.raises(UserError, match=f"c0: {count} speakers .*needs 3"):
    make(names)
  if count == 1:
    with pytest.raises(UserError, match=r"c0: 1 speakers .*needs 2"):
      make(names, validates=False)


def test_folds_that_are_too_many_or_too_few():
  names = clips_of(ACTORS[:4])
  with pytest.raises(UserError, match=r"c0: 4 speakers .* needs 5"):
    make(names, method="k_fold")
  with pytest.raises(UserError, match=r"config.split.num_folds = 2.*three"):
    make(names, method="k_fold", num_folds=2)
  assert len(make(names, False, method="k_fold", num_folds=2)) == 2
  with pytest.raises(UserError, match="it takes two"):
    make(names, False, method="k_fold", num_folds=1)
  with pytest.raises(UserError, match="leaving one out takes two"):
    make(names, method="leave_one_out", group="corpus")


@pytest.mark.parametrize("validates", BOTH)
@pytest.mark.parametrize(
  ("fields", "reason"),
  [
    ({"method": "shufle"}, "config.split.method = 'shufle': there are shuffle"),
    ({"method": "official"}, "config.split.method = 'official'"),
    ({"method": "leave_one_out", "group": "speakers"}, "config.split.group"),
    ({"group": "actor"}, "there are speaker, session, corpus"),
    (
      {"test_speakers": "01"},
      "goes with config.split.method = 'speakers' or 'in_turn', not with",
    ),
    (
      {"method": "k_fold", "labelled_sessions": ("12",)},
      "config.split.labelled_sessions = .* goes with .* 'sessions'",
    ),
  ],
)
def test_a_slip_is_an_error(validates, fields, reason):
  with pytest.raises(UserError, match=reason):
    make(clips_of(ACTORS), validates, **fields)


# Two speakers a session.
SESSIONS = splits.Names(
  np.array(list("ABCDEFGHIJ")),
  np.array(list("1122334455")),
  np.full(10, "iemocap"),
)


def by_sessions(names, labelled, validates=False, test="5"):
  made = make(
    names,
    validates,
    method="sessions",
    labelled_sessions=(labelled,),
    test_session=test,
  )
  assert list(made) == [f"TS {labelled}"]
  return made[f"TS {labelled}"]


@pytest.mark.parametrize(
  ("labelled", "unlabelled"),
  [("1234", "5"), ("123", "45"), ("134", "25"), ("234", "15"), ("23", "145")],
)
def test_the_settings_of_the_paper(labelled, unlabelled):
  parts = by_sessions(SESSIONS, labelled)
  session_U = SESSIONS.session_U
  assert "".join(session_U[parts["labelled"]][::2]) == labelled
  assert "".join(session_U[parts["unlabelled"]][::2]) == unlabelled
  assert parts["test"].tolist() == [8, 9]


def test_a_fifth_of_the_labelled_sessions_validates():
  parts = by_sessions(SESSIONS, "1234", validates=True)
  assert parts["test"].tolist() == [8, 9]
  assert len(parts["validation"]) == 2
  both = np.concatenate([parts["train"], parts["validation"]])
  assert sorted(both) == list(range(8))


def test_sessions_of_several_corpora_are_those_of_each():
  names = splits.Names(
    np.concatenate([SESSIONS.speaker_U, ["x", "y"]]),
    np.concatenate(
      [np.char.add("iemocap:", SESSIONS.session_U), ["own:1", "own:5"]]
    ),
    np.repeat(["iemocap", "own"], [10, 2]),
  )
  parts = by_sessions(names, "1")
  assert parts["labelled"].tolist() == [0, 1, 10]
  assert parts["test"].tolist() == [8, 9, 11]
  with pytest.raises(UserError, match="own: no session 2; there are 1, 5"):
    by_sessions(names, "12")


@pytest.mark.parametrize(
  ("sessions", "labelled", "why"),
  [
    (list("1122334455"), "1236", "no session 6; there are 1, 2, 3, 4, 5"),
    (list("1122334444"), "123", "no session 5"),
    (list("1122334455"), "1235", "another one for the test"),
    (list("1122334455"), "", "name labelled sessions"),
    (
      [""] * 10,
      "1234",
      "there are none: give a session for each utterance, or choose",
    ),
  ],
)
def test_sessions_that_are_not_there(sessions, labelled, why):
  names = splits.Names(
    SESSIONS.speaker_U, np.array(sessions), SESSIONS.corpus_U
  )
  with pytest.raises(UserError, match=why) as caught:
    by_sessions(names, labelled)
  assert f"TS {labelled} of config.split.labelled_sessions" in str(caught.value)


def test_a_table_need_not_say_of_which_corpus_it_is():
  nameless = splits.Names(
    SESSIONS.speaker_U, SESSIONS.session_U, np.full(10, "")
  )
  assert by_sessions(nameless, "1234")["test"].tolist() == [8, 9]
  with pytest.raises(UserError, match="'5': the data: no session 6; there"):
    by_sessions(nameless, "16")
  with pytest.raises(UserError, match=r"^the data: 10 speakers .* needs 11"):
    make(nameless, method="k_fold", num_folds=11)


@pytest.mark.parametrize("settings", [(), ("12", "12")])
def test_settings_are_named_once(settings):
  with pytest.raises(UserError, match=r"config\.split\.labelled_sessions"):
    make(SESSIONS, False, method="sessions", labelled_sessions=settings)


# Five sessions of two speakers, as in IEMOCAP; four utterances of each.
SESSION = np.repeat(list("12345"), 8)
DIALOGUES = splits.Names(
  np.char.add(SESSION, np.tile(["F", "M"], 20)), SESSION, np.full(40, "iemocap")
)


def folds_of(parts, num_folds, session_U=SESSION):
  """The folds of a split, with what has to hold for all of them checked."""
  speaker_U = DIALOGUES.speaker_U
  names = splits.Names(speaker_U, session_U, DIALOGUES.corpus_U)
  found = splits.inner_folds(splits.Split(parts), names, num_folds)
  found = [fold.parts for fold in found]
  held_out = [fold["test"] for fold in found]
  assert sorted(np.concatenate(held_out)) == sorted(parts["labelled"])
  for fold in found:
    everything = np.concatenate([fold["labelled"], fold["unlabelled"]])
    assert sorted(everything) == list(range(40))
    assert set(fold["test"]) <= set(fold["unlabelled"])
    # The test part of the study gives no label: neither to learn from nor to
    # choose by.
    assert not set(fold["labelled"]) & set(parts["test"])
    assert not set(fold["test"]) & set(parts["test"])
    assert not set(speaker_U[fold["labelled"]]) & set(speaker_U[fold["test"]])
  return found


def by_speakers(test):
  made = make(DIALOGUES, False, method="speakers", test_speakers=test)
  (parts,) = made.values()
  return parts


@pytest.mark.parametrize("setting", ["1234", "123", "134", "234", "23"])
def test_each_labelled_session_is_held_out_once(setting):
  found = folds_of(by_sessions(DIALOGUES, setting), 5)
  held_out = ["".join(set(SESSION[fold["test"]])) for fold in found]
  assert "".join(held_out) == setting


def test_fewer_folds_hold_out_several_sessions():
  found = folds_of(by_sessions(DIALOGUES, "1234"), 2)
  held_out = [set(SESSION[fold["test"]]) for fold in found]
  assert held_out == [{"1", "2"}, {"3", "4"}]


@pytest.mark.parametrize(("num_folds", "expected"), [(3, 3), (5, 5), (20, 8)])
def test_speakers_are_held_out_where_there_are_no_sessions(num_folds, expected):
  found = folds_of(by_speakers("1F,5M"), num_folds, np.full(40, ""))
  assert len(found) == expected
  counts = [len(speakers(DIALOGUES, fold["test"])) for fold in found]
  assert max(counts) - min(counts) <= 1


def test_speakers_are_held_out_where_the_labelled_part_has_one_session():
  found = folds_of(by_sessions(DIALOGUES, "2"), 5)
  held_out = [speakers(DIALOGUES, fold["test"]) for fold in found]
  assert held_out == [{"2F"}, {"2M"}]


def test_speakers_are_held_out_where_they_come_to_several_sessions():
  """A held-out session would leave its speakers among the labelled ones."""
  session_U = np.tile(["1", "2"], 20)
  session_U[::3] = "3"
  folds_of(by_speakers("1F,5M"), 4, session_U)


def test_one_labelled_speaker_is_too_few():
  names = clips_of(["A", "B"])
  (parts,) = make(names, False, method="speakers", test_speakers="B").values()
  with pytest.raises(UserError, match="only A is labelled") as caught:
    splits.inner_folds(splits.Split(parts), names, 5)
  assert "config.stabilised.enabled=False" in str(caught.value)


SPEAKERS = np.array(["01", "02", "03", "01", "03"])
LABELS = ["angry", "sad", "angry", "", "sad"]
PLACES = ["a", "b", "c", "a", "c"]
UNIQUE = ["p", "q", "r", "s", "t"]
ON_03 = splits.Split(
  {
    "labelled": np.array([0, 1, 3]),
    "unlabelled": np.array([2, 4]),
    "test": np.array([2, 4]),
  }
)


def test_the_audit_counts():
  text = split_audit.audit(ON_03, LABELS, SPEAKERS, PLACES, UNIQUE)
  rows = [
    [c.strip() for c in line.split("|")[1:-1]] for line in text.split("\n")
  ]
  assert rows[0] == [
    "part",
    "utterances",
    "dialogues",
    "speakers",
    "angry",
    "sad",
    "no label",
  ]
  assert rows[2] == ["labelled", "3", "2", "2: 01 02", "1", "1", "1"]
  assert rows[3] == ["unlabelled", "2", "1", "1: 03", "1", "1", "0"]
  assert rows[4] == ["test", "2", "1", "1: 03", "1", "1", "0"]
  assert len({len(line) for line in text.split("\n")}) == 1


def test_the_audit_names_some_speakers():
  """MELD has hundreds."""
  names = clips_of(CREMA_D, each=1)
  (parts,) = make(names, validates=False).values()
  count = len(CREMA_D)
  text = split_audit.audit(
    splits.Split(parts), [""] * count, names.speaker_U, CREMA_D, [""] * count
  )
  labelled = text.split("\n")[2]
  assert "72: 1002 1003 1004" in labelled
  assert "and 48 others" in labelled
  assert len(labelled) < 250


def test_a_speaker_in_two_parts():
  split = splits.Split({"labelled": np.arange(3), "test": np.arange(3, 5)})
  with pytest.raises(
    UserError, match=r"same speaker.*labelled.*row 0: speaker 01"
  ):
    split_audit.audit(split, LABELS, SPEAKERS, PLACES, UNIQUE)


@pytest.mark.parametrize("one", ["labelled", "validation"])
@pytest.mark.parametrize("other", ["unlabelled", "test"])
def test_a_recording_in_two_parts(one, other):
  rows = {one: np.array([0, 1, 3]), other: np.array([2, 4])}
  copies = ["p", "q", "r", "s", "q"]
  with pytest.raises(UserError, match=r"same recording.*row 1.*row 4"):
    split_audit.audit(splits.Split(rows), LABELS, SPEAKERS, PLACES, copies)


def test_unknown_recordings_are_no_copies():
  assert split_audit.audit(ON_03, LABELS, SPEAKERS, PLACES, [""] * 5)


def test_an_empty_part():
  split = splits.Split({"labelled": np.arange(5), "test": np.arange(0)})
  with pytest.raises(UserError, match="test part of the split is empty"):
    split_audit.audit(split, LABELS, SPEAKERS, PLACES, UNIQUE)
