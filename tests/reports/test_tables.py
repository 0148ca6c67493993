"""The tables say what the summary says, in percent, and nothing else."""

import dataclasses

import pytest

from emojax import markdown
from emojax.reports import tables
from emojax.summary import Comparison, Estimate, Row, Summary, System

METRICS = ("weighted_accuracy", "unweighted_accuracy", "macro_f1")
FACES = (*METRICS, "macro_precision", "f1_of_averages")
CLEAN, NOISY = "clean", "half and no faces"


def value(*runs: float) -> Estimate:
  return Estimate.of(runs)


def row(setting: str, system: str, *runs: float, **more) -> Row:
  further = more.pop("further", {})
  figures = {metric: value(*runs) for metric in METRICS}
  return Row(setting, system, figures | further, **more)


@pytest.fixture
def summary(make_summary) -> Summary:
  """Two settings; C1 wins the one, DANN the other, the SVM is in one only."""

  def oracle(run):
    return {metric: value(run, run) for metric in METRICS}

  def probe(*runs):
    return {"speaker_probe": value(*runs)}

  return make_summary(
    rows=(
      row("few", "c1", 0.70, 0.72, oracle=oracle(0.9)),
      row("few", "dann", 0.60, 0.64, further=probe(0.2, 0.3)),
      row("many", "c1", 0.70, 0.74, further=probe(0.9, 0.9)),
      row("many", "dann", 0.80, 0.82, oracle=oracle(0.95)),
      row("many", "svm", 0.655),
    ),
    comparisons=tuple(
      Comparison(setting, "dann", "c1", "macro_f1", *figures, "sign flips")
      for setting, *figures in (
        ("few", -0.092, (-0.11, 0.0051), 0.0625),
        ("many", 0.09, None, 0.0001),
      )
    ),
  )


def faces_row(setting: str, system: str, level: float, **groups) -> Row:
  """Two runs; every figure is another one."""
  metrics = {
    metric: value(level + 0.01 * place, level + 0.01 * place + 0.02)
    for place, metric in enumerate(FACES)
  }
  recall = {
    "angry": value(level - 0.1, level),
    "sad": value(level + 0.1, level + 0.2),
  }
  return Row(setting, system, metrics, {}, {"class_recall": recall, **groups})


def kinds(**levels: float) -> dict[str, Estimate]:
  return {kind: value(level, level) for kind, level in levels.items()}


@pytest.fixture
def selection(make_summary) -> Summary:
  """A study with figures of classes and of selectors."""
  return make_summary(
    title="A selection",
    metrics=FACES,
    systems=(System("none", "DCNN"), System("rlps", "DCNN+RLPS")),
    rows=(
      faces_row(NOISY, "none", 0.5),
      faces_row(
        NOISY,
        "rlps",
        0.6,
        retention=kinds(all=0.7, full=0.95, half=0.9, none=0.05),
        class_retention=kinds(angry=0.2, sad=0.9),
        noise_detection=kinds(auc=0.98, precision=0.9, recall=0.8, removed=0.3),
      ),
      faces_row(CLEAN, "none", 0.7),
      faces_row(CLEAN, "rlps", 0.65, retention=kinds(all=0.99)),
    ),
  )


PUBLISHED = {
  NOISY: {
    "none": {
      "class_recall": {"angry": 0.4308},
      "unweighted_accuracy": 0.5243,
      "f1_of_averages": 0.6484,
    },
    "rlps": {"retention": {"full": 0.9618, "half": 0.8909, "none": 0.3218}},
    "sigmoid": {"unweighted_accuracy": 0.5746},
  }
}


def all_tables(text: str) -> list[list[list[str]]]:
  """Cells of each table, header first, without the rules."""
  found = []
  for block in text.split("\n\n"):
    if block.startswith("|"):
      lines = [
        [cell.strip() for cell in line[2:-2].split(" | ")]
        for line in block.splitlines()
      ]
      assert len({len(line) for line in lines}) == 1
      found.append([lines[0], *lines[2:]])
  return found


def table_after(text: str, heading: str) -> list[list[str]]:
  return all_tables(text.split(f"{heading}\n\n")[1])[0]


def replaced(summary: Summary, place: int, one: Row) -> Summary:
  rows = list(summary.rows)
  rows[place] = one
  return dataclasses.replace(summary, rows=tuple(rows))


def test_results_are_percent_with_the_best_in_bold(summary):
  text = tables.results_tables(summary, {})
  expected = [
    ["System", "few", "many"],
    ["C1", "**71.0 ± 1.4**", "72.0 ± 2.8"],
    ["DANN", "62.0 ± 2.8", "**81.0 ± 1.4**"],
    ["SVM", "–", "65.5"],
  ]
  for title in ("Weighted accuracy", "Unweighted accuracy", "Macro F1"):
    assert table_after(text, f"### {title} (%)") == expected
  assert "over 2 runs, at the last epoch; without ±, a single run." in text


def test_what_prints_the_same_is_equally_bold(summary):
  summary = replaced(summary, 1, row("few", "dann", 0.7001, 0.7201))
  (_, first, second, _) = table_after(
    tables.results_tables(summary, {}), "### Macro F1 (%)"
  )
  assert first[1] == second[1] == "**71.0 ± 1.4**"


def test_the_best_is_the_largest_number_not_the_last_word(summary):
  summary = replaced(summary, 0, row("few", "c1", 0.09, 0.09))
  table = table_after(tables.results_tables(summary, {}), "### Macro F1 (%)")
  assert table[1][1] == "9.0 ± 0.0"
  assert table[2][1] == "**62.0 ± 2.8**"


def test_published_numbers_stand_below_ours(summary):
  published = {
    "few": {"c1": {"weighted_accuracy": 0.7598}},
    "many": {
      "c1": {"weighted_accuracy": 0.8},
      "CMN": {"weighted_accuracy": 0.776},
    },
    "a setting that was not trained": {"dann": {"weighted_accuracy": 1}},
  }
  text = tables.results_tables(summary, published)
  table = table_after(text, "### Weighted accuracy (%)")
  assert [row[0] for row in table[1:]] == [
    "C1",
    "*C1, published*",
    "DANN",
    "SVM",
    "*CMN, published*",
  ]
  assert table[2][1:] == ["*76.0*", "*80.0*"]
  assert table[5][1:] == ["–", "*77.6*"]
  assert ", published" not in text.split("### Macro F1")[1]


def test_a_system_that_nobody_has_listed_is_shown(summary):
  summary = replaced(summary, 1, row("few", "a new one", 0.5))
  table = table_after(tables.results_tables(summary, {}), "### Macro F1 (%)")
  assert ["a new one", "50.0", "–"] in table


def test_oracle_is_apart_and_says_what_it_is(summary):
  assert "90.0" not in tables.results_tables(summary, {})
  text = tables.oracle_tables(summary)
  assert "not results" in text and "**chosen on the test set" in text
  assert table_after(text, "### Oracle: Macro F1 (%)") == [
    ["System", "few", "many"],
    ["C1", "90.0 ± 0.0", "–"],
    ["DANN", "–", "95.0 ± 0.0"],
  ]


def test_comparisons_are_points(summary):
  text = tables.comparisons_tables(summary.comparisons, summary.label)
  assert all_tables(text) == [
    [
      ["Setting", "Comparison", "Metric", "Difference", "95 % CI", "p"],
      ["few", "DANN − C1", "Macro F1", "-9.2", "-11.0 to +0.5", "0.062"],
      ["many", "DANN − C1", "Macro F1", "+9.0", "–", "< 0.001"],
    ]
  ]
  assert "Test: sign flips." in text


def test_each_test_has_a_table(summary):
  one, other = summary.comparisons
  other = dataclasses.replace(other, test="Welch's t")
  text = tables.comparisons_tables([one, other], str)
  assert [len(table) for table in all_tables(text)] == [2, 2]
  assert text.index("sign flips") < text.index("many") < text.index("Welch")


def test_speaker_probe_leaves_out_what_has_none(summary):
  text = tables.further_tables(summary, {})
  assert table_after(text, "### Speaker probe (%)") == [
    ["System", "few", "many"],
    ["C1", "–", "90.0 ± 0.0"],
    ["DANN", "25.0 ± 7.1", "–"],
  ]
  assert "speaker identity" in text


def test_runs_are_counted_of_what_a_table_shows(summary):
  """A probe of some of the runs says nothing on the others."""
  few = {"speaker_probe": value(0.2, 0.3, 0.4)}
  by_speaker = {"speaker_accuracy": {"x": value(0.5, 0.6), "y": None}}
  rows = (
    row("few", "c1", 0.7, 0.8, 0.7, 0.8, further=few, groups=by_speaker),
    row("few", "svm", 0.6),
  )
  summary = dataclasses.replace(summary, rows=rows)
  end = "runs, at the last epoch; without ±, a single run."
  results = tables.results_tables(summary, {})
  assert f"deviation over 4 {end} Bold" in results
  further = tables.further_tables(summary, {})
  assert "deviation over 3 runs, at the last epoch.\n\nHow well" in further
  report = tables.report(summary, {}, {}, [])
  (speakers,) = (
    s for s in report.split("## ") if s.startswith("Test speakers")
  )
  assert "deviation over 2 runs, at the last epoch.\n" in speakers


def test_report_has_everything(summary):
  figures = {"Learning curves": "curves.png"}
  report = tables.report(summary, figures, {}, ["First.", "Second."])
  assert report.startswith("# A study\n\nFirst.\n\nSecond.\n\n## Results")
  assert tables.DEMO not in report
  for part in (
    tables.results_tables(summary, {}),
    tables.comparisons_tables(summary.comparisons, summary.label),
    tables.further_tables(summary, {}),
    tables.oracle_tables(summary),
    "![Learning curves](curves.png)",
    "1 x cpu; emojax 0.1.0, jax 0.10.2",
  ):
    assert part in report


def test_report_of_the_demo_says_so_first(summary):
  summary = dataclasses.replace(summary, demo=True)
  report = tables.report(summary, {}, {}, [])
  assert "demo corpus (synthetic)" in report.splitlines()[0]
  assert "demo corpus (synthetic)" in tables.terminal_table(summary)


def test_report_leaves_out_what_is_not_there(make_summary):
  bare = make_summary(rows=(row("few", "svm", 0.5),))
  report = tables.report(bare, {}, {}, [])
  for absent in ("Comparisons", "Further", "Oracle", "Figures", "What", "How"):
    assert f"## {absent}" not in report
  assert "One run each" in report


def test_pipes_do_not_break_a_table(summary):
  summary = replaced(summary, 0, row("a|b", "c1", 0.5))
  assert r" a\|b |" in tables.results_tables(summary, {})


def test_a_table_of_narrow_columns_has_a_rule_of_three():
  assert markdown.table([["a", "b"], ["c", "1"]]).splitlines() == [
    "| a   |   b |",
    "| --- | --: |",
    "| c   |   1 |",
  ]


def test_terminal_table(summary):
  assert tables.terminal_table(summary).splitlines() == [
    "A study (%)",
    "            WA          UA          F1",
    "few   C1    71.0 ± 1.4  71.0 ± 1.4  71.0 ± 1.4",
    "      DANN  62.0 ± 2.8  62.0 ± 2.8  62.0 ± 2.8",
    "many  C1    72.0 ± 2.8  72.0 ± 2.8  72.0 ± 2.8",
    "      DANN  81.0 ± 1.4  81.0 ± 1.4  81.0 ± 1.4",
    "      SVM   65.5        65.5        65.5",
  ]


def test_with_recalls_of_classes_each_setting_is_a_table(selection):
  text = tables.results_tables(selection, PUBLISHED)
  noisy, clean = all_tables(text)
  assert noisy == [
    [
      *("System", "Angry", "Sad", "Weighted accuracy", "Unweighted accuracy"),
      *("Macro F1", "Macro precision", "F1 of averages"),
    ],
    [
      *("DCNN", "45.0 ± 7.1", "65.0 ± 7.1", "51.0 ± 1.4", "52.0 ± 1.4"),
      *("53.0 ± 1.4", "54.0 ± 1.4", "55.0 ± 1.4"),
    ],
    ["*DCNN, published*", "*43.1*", "–", "–", "*52.4*", "–", "–", "*64.8*"],
    [
      *("DCNN+RLPS", "**55.0 ± 7.1**", "**75.0 ± 7.1**", "**61.0 ± 1.4**"),
      *("**62.0 ± 1.4**", "**63.0 ± 1.4**", "**64.0 ± 1.4**"),
      "**65.0 ± 1.4**",
    ],
    ["*sigmoid, published*", "–", "–", "–", "*57.5*", "–", "–", "–"],
  ]
  assert [line[0] for line in clean] == ["System", "DCNN", "DCNN+RLPS"]
  assert clean[1][3] == "**71.0 ± 1.4**"
  assert text.index(f"### {NOISY} (%)") < text.index(f"### {CLEAN} (%)")
  assert "over 2 runs" in text and "Eq. 7" in text


def test_retention_stands_above_what_was_published(selection):
  noisy, clean = all_tables(
    tables.group_tables(selection, "retention", PUBLISHED)
  )
  assert noisy == [
    ["Setting", "System", "All", "Full", "Half", "None"],
    [NOISY, "DCNN+RLPS", "70.0 ± 0.0", "95.0 ± 0.0", "90.0 ± 0.0", "5.0 ± 0.0"],
    [NOISY, "*DCNN+RLPS, published*", "–", "*96.2*", "*89.1*", "*32.2*"],
  ]
  assert clean == [
    ["Setting", "System", "All"],
    [CLEAN, "DCNN+RLPS", "99.0 ± 0.0"],
  ]


def test_settings_of_the_same_groups_share_a_table(selection):
  retention = kinds(all=1, full=1, half=1, none=1)
  last = faces_row(CLEAN, "rlps", 0.65, retention=retention)
  (table,) = all_tables(
    tables.group_tables(replaced(selection, 3, last), "retention", {})
  )
  assert [line[0] for line in table[1:]] == [NOISY, CLEAN]


def test_retention_of_classes_is_a_table_for_itself(selection):
  (table,) = all_tables(tables.group_tables(selection, "class_retention", {}))
  assert table == [
    ["Setting", "System", "Angry", "Sad"],
    [NOISY, "DCNN+RLPS", "20.0 ± 0.0", "90.0 ± 0.0"],
  ]


def test_what_is_undefined_of_a_group_is_a_dash(selection):
  detection = {**selection.rows[1].groups["noise_detection"], "precision": None}
  one = faces_row(NOISY, "rlps", 0.6, noise_detection=detection)
  (table,) = all_tables(
    tables.group_tables(replaced(selection, 1, one), "noise_detection", {})
  )
  assert table == [
    ["Setting", "System", "AUC", "Precision", "Recall", "Removed"],
    [NOISY, "DCNN+RLPS", "98.0 ± 0.0", "–", "80.0 ± 0.0", "30.0 ± 0.0"],
  ]


def test_report_has_a_section_for_each_group(selection):
  report = tables.report(selection, {}, PUBLISHED, ["First."])
  sections = [s.splitlines()[0] for s in report.split("\n## ")[1:]]
  assert sections == [
    "Results",
    "What is retained",
    "What is retained of each class",
    "How well noise is found",
    "Made with",
  ]
  assert tables.results_tables(selection, PUBLISHED) in report
  assert tables.group_tables(selection, "retention", PUBLISHED) in report


def test_a_group_that_nobody_knows_has_a_section_too(selection):
  one = faces_row(NOISY, "rlps", 0.6, of_moons=kinds(full=0.5))
  report = tables.report(replaced(selection, 1, one), {}, {}, [])
  assert table_after(report, "## Of moons") == [
    ["Setting", "System", "Full"],
    [NOISY, "DCNN+RLPS", "50.0 ± 0.0"],
  ]


def test_terminal_table_of_selectors(selection):
  header, *lines = tables.terminal_table(selection).splitlines()[1:]
  assert header.split() == [
    *("WA", "UA", "F1", "Macro", "precision", "F1", "of", "averages"),
    *("Retained", "Noise", "AUC"),
  ]
  assert lines[0].split("  ")[-1].strip() == "–"
  assert lines[1].endswith("70.0 ± 0.0  98.0 ± 0.0")
  assert lines[3].rstrip().endswith("99.0 ± 0.0  –")


def test_terminal_table_without_a_selector(make_summary):
  bare = make_summary(rows=(faces_row(CLEAN, "c1", 0.5),))
  assert "Retained" not in tables.terminal_table(bare)
  assert "AUC" not in tables.terminal_table(bare)
