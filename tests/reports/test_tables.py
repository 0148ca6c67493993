"""The tables say what the summary says, in percent, and nothing else."""

import copy

import numpy as np
import pytest

from emojax.reports import tables

METRICS = ["weighted_accuracy", "unweighted_accuracy", "macro_f1"]


def value(*runs: float) -> dict:
  std = float(np.std(runs, ddof=1)) if len(runs) > 1 else 0.0
  ci95 = [min(runs), max(runs)] if len(runs) > 1 else None
  mean = float(np.mean(runs))
  return {"mean": mean, "std": std, "ci95": ci95, "runs": list(runs)}


def row(setting: str, system: str, *runs: float, **more) -> dict:
  figures = {metric: value(*runs) for metric in METRICS}
  return {"setting": setting, "system": system, **figures, **more}


@pytest.fixture
def summary() -> dict:
  """Two settings; C1 wins the one, DANN the other, the SVM is in one only."""

  def oracle(run):
    return {metric: value(run, run) for metric in METRICS}

  return {
    "title": "A study",
    "demo": False,
    "metrics": METRICS,
    "rows": [
      row("few", "C1", 0.70, 0.72, oracle=oracle(0.9)),
      row("few", "DANN", 0.60, 0.64, speaker_probe=value(0.2, 0.3)),
      row("many", "C1", 0.70, 0.74, speaker_probe=value(0.9, 0.9)),
      row("many", "DANN", 0.80, 0.82, oracle=oracle(0.95)),
      row("many", "SVM", 0.655),
    ],
    "comparisons": [
      {
        "setting": setting,
        "a": "DANN",
        "b": "C1",
        "metric": "macro_f1",
        "difference": difference,
        "ci95": ci95,
        "p_value": p_value,
        "test": "sign flips",
      }
      for setting, difference, ci95, p_value in (
        ("few", -0.092, [-0.11, 0.0051], 0.0625),
        ("many", 0.09, None, 0.0001),
      )
    ],
    "versions": {"emojax": "0.1.0", "jax": "0.10.2"},
    "device": "1 x cpu",
  }


def table_after(markdown: str, heading: str) -> list[list[str]]:
  """Cells of the first table after a heading, without the rule."""
  lines = markdown.split(f"{heading}\n\n")[1].split("\n\n")[0].splitlines()
  cells = [line.strip("| ").split(" | ") for line in lines]
  assert len({len(row) for row in cells}) == 1
  return [cells[0], *cells[2:]]


def test_results_are_percent_with_the_best_in_bold(summary):
  markdown = tables.results_table(summary)
  expected = [
    ["System", "few", "many"],
    ["C1", "**71.0 ± 1.4**", "72.0 ± 2.8"],
    ["DANN", "62.0 ± 2.8", "**81.0 ± 1.4**"],
    ["SVM", "–", "65.5"],
  ]
  for title in ("Weighted accuracy", "Unweighted accuracy", "Macro F1"):
    assert table_after(markdown, f"### {title} (%)") == expected
  assert "over 2 runs" in markdown


def test_what_prints_the_same_is_equally_bold(summary):
  summary["rows"][1] = row("few", "DANN", 0.7001, 0.7201)
  (_, first, second, _) = table_after(
    tables.results_table(summary), "### Macro F1 (%)"
  )
  assert first[1] == second[1] == "**71.0 ± 1.4**"


def test_published_numbers_stand_below_ours(summary):
  published = {
    "weighted_accuracy": {
      "C1": {"few": 75.98, "many": 80.0},
      "CMN": {"many": 77.6},
    }
  }
  markdown = tables.results_table(summary, published)
  table = table_after(markdown, "### Weighted accuracy (%)")
  assert [row[0] for row in table[1:]] == [
    "C1",
    "*C1, published*",
    "DANN",
    "SVM",
    "*CMN, published*",
  ]
  assert table[2][1:] == ["*76.0*", "*80.0*"]
  assert table[5][1:] == ["–", "*77.6*"]
  assert "published" not in markdown.split("### Macro F1")[1]


def test_oracle_is_apart_and_says_what_it_is(summary):
  assert "90.0" not in tables.results_table(summary)
  markdown = tables.oracle_table(summary)
  assert "not results" in markdown and "**chosen on the test set" in markdown
  assert table_after(markdown, "### Oracle: Macro F1 (%)") == [
    ["System", "few", "many"],
    ["C1", "90.0 ± 0.0", "–"],
    ["DANN", "–", "95.0 ± 0.0"],
  ]


def test_comparisons_are_points(summary):
  markdown = "## x\n\n" + tables.comparisons_table(summary)
  assert table_after(markdown, "## x") == [
    ["Setting", "Comparison", "Metric", "Difference", "95 % CI", "p"],
    ["few", "DANN − C1", "Macro F1", "-9.2", "-11.0 to +0.5", "0.062"],
    ["many", "DANN − C1", "Macro F1", "+9.0", "–", "< 0.001"],
  ]
  assert "sign flips" in markdown


def test_speaker_probe_leaves_out_what_has_none(summary):
  markdown = tables.speaker_probe_table(summary)
  assert table_after(markdown, "### Speakers recognised (%)") == [
    ["System", "few", "many"],
    ["C1", "–", "90.0 ± 0.0"],
    ["DANN", "25.0 ± 7.1", "–"],
  ]


def test_report_has_everything(summary):
  figures = {"Learning curves": "curves.png"}
  report = tables.report(summary, figures, None, ["First.", "Second."])
  assert report.startswith("# A study\n\nFirst.\n\nSecond.\n\n## Results")
  assert tables.DEMO not in report
  for part in (
    tables.results_table(summary),
    tables.comparisons_table(summary),
    tables.speaker_probe_table(summary),
    tables.oracle_table(summary),
    "![Learning curves](curves.png)",
    "1 x cpu; emojax 0.1.0, jax 0.10.2",
  ):
    assert part in report


def test_report_of_the_demo_says_so_first(summary):
  summary["demo"] = True
  report = tables.report(summary, {}, None, [])
  assert "demo corpus (synthetic)" in report.splitlines()[0]
  assert "demo corpus (synthetic)" in tables.terminal_table(summary)


def test_report_leaves_out_what_is_not_there(summary):
  bare = copy.deepcopy(summary) | {"comparisons": []}
  bare["rows"] = [row("few", "SVM", 0.5)]
  report = tables.report(bare, {}, {}, [])
  for absent in ("Comparisons", "Speaker probe", "Oracle", "Figures"):
    assert f"## {absent}" not in report
  assert "One run each" in report


def test_pipes_do_not_break_a_table(summary):
  summary["rows"][0]["setting"] = "a|b"
  assert r"| a\|b |" in tables.results_table(summary)


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
