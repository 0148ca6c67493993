"""The tables of a selection study say what its summary says, in percent."""

import numpy as np
import pytest

from emojax.reports import selection_tables, tables

CLASSES = ["angry", "sad"]
METRICS = ["macro_recall", "macro_precision", "macro_f1", "f1"]
CLEAN, NOISY = "clean", "half and no faces"


def value(*runs: float) -> dict:
  std = float(np.std(runs, ddof=1)) if len(runs) > 1 else 0.0
  ci95 = [min(runs), max(runs)] if len(runs) > 1 else None
  mean = float(np.mean(runs))
  return {"mean": mean, "std": std, "ci95": ci95, "runs": list(runs)}


def row(setting: str, system: str, level: float, **more) -> dict:
  """Two runs; every figure is another one."""
  figures = {
    metric: value(level + 0.01 * place, level + 0.01 * place + 0.02)
    for place, metric in enumerate([*METRICS, "total_accuracy"])
  }
  recall = {
    "angry": value(level - 0.1, level),
    "sad": value(level + 0.1, level + 0.2),
  }
  return {
    "setting": setting,
    "system": system,
    **figures,
    "class_recall": recall,
    **more,
  }


def kinds(**levels: float) -> dict:
  return {kind: value(level, level) for kind, level in levels.items()}


@pytest.fixture
def summary() -> dict:
  return {
    "title": "A selection",
    "demo": False,
    "classes": CLASSES,
    "metrics": [*METRICS, "total_accuracy"],
    "rows": [
      row(NOISY, "DCNN", 0.5),
      row(
        NOISY,
        "DCNN+RLPS",
        0.6,
        retention=kinds(all=0.7, full=0.95, half=0.9, none=0.05),
        removal=kinds(auc=0.98, precision=0.9, recall=0.8, removed=0.3),
      ),
      row(CLEAN, "DCNN", 0.7),
      row(CLEAN, "DCNN+RLPS", 0.65, retention=kinds(all=0.99)),
    ],
    "comparisons": [
      {
        "setting": NOISY,
        "a": "DCNN+RLPS",
        "b": "DCNN",
        "metric": "macro_recall",
        "difference": 0.1,
        "ci95": [0.05, 0.15],
        "p_value": 0.002,
        "test": "sign flips",
      }
    ],
    "published": {
      NOISY: {
        "DCNN": {
          "class_recall": {"angry": 0.4308},
          "macro_recall": 0.5243,
          "macro_f1": 0.6484,
        },
        "DCNN+RLPS": {
          "retention": {"full": 0.9618, "half": 0.8909, "none": 0.3218}
        },
        "DCNN+Sigmoid": {"macro_recall": 0.5746},
      }
    },
    "versions": {"emojax": "0.1.0"},
    "device": "1 x cpu",
  }


def all_tables(markdown: str) -> list[list[list[str]]]:
  """Cells of each table, header first, without the rules."""
  found = []
  for block in markdown.split("\n\n"):
    if block.startswith("|"):
      lines = [line.strip("| ").split(" | ") for line in block.splitlines()]
      assert len({len(line) for line in lines}) == 1
      found.append([lines[0], *lines[2:]])
  return found


def test_each_setting_is_a_table_of_systems(summary):
  markdown = selection_tables.results_tables(summary)
  noisy, clean, _ = all_tables(markdown)
  assert noisy == [
    [
      "System",
      "Angry",
      "Sad",
      "Average accuracy",
      "Macro F1",
      "Total accuracy",
    ],
    [
      "DCNN",
      "45.0 ± 7.1",
      "65.0 ± 7.1",
      "51.0 ± 1.4",
      "53.0 ± 1.4",
      "55.0 ± 1.4",
    ],
    ["*DCNN, published*", "*43.1*", "–", "*52.4*", "*64.8*", "–"],
    [
      "DCNN+RLPS",
      "**55.0 ± 7.1**",
      "**75.0 ± 7.1**",
      "**61.0 ± 1.4**",
      "**63.0 ± 1.4**",
      "**65.0 ± 1.4**",
    ],
    ["*DCNN+Sigmoid, published*", "–", "–", "*57.5*", "–", "–"],
  ]
  assert [line[0] for line in clean] == ["System", "DCNN", "DCNN+RLPS"]
  assert clean[1][3] == "**71.0 ± 1.4**"
  assert markdown.index(f"### {NOISY} (%)") < markdown.index(f"### {CLEAN} (%)")
  assert "over 2 runs" in markdown


def test_the_means_that_the_paper_does_not_print(summary):
  *_, further = all_tables(selection_tables.results_tables(summary))
  assert further[0][2:] == ["Macro precision", "Mean F1 of the classes"]
  assert further[1] == [NOISY, "DCNN", "52.0 ± 1.4", "54.0 ± 1.4"]
  assert len(further) == 1 + len(summary["rows"])


def test_nothing_published_and_one_run(summary):
  del summary["published"]
  for one in summary["rows"]:
    for name in (*METRICS, "total_accuracy"):
      one[name] = value(0.5)
  markdown = selection_tables.results_tables(summary)
  assert "One run each." in markdown
  noisy, *_ = all_tables(markdown)
  assert [line[0] for line in noisy] == ["System", "DCNN", "DCNN+RLPS"]
  assert {line[-1] for line in noisy[1:]} == {"**50.0**"}


def test_retention_stands_above_table_5(summary):
  noisy, clean = all_tables(selection_tables.retention_tables(summary))
  assert noisy == [
    ["Setting", "System", "All", "Full", "Half", "None"],
    [NOISY, "DCNN+RLPS", "70.0 ± 0.0", "95.0 ± 0.0", "90.0 ± 0.0", "5.0 ± 0.0"],
    [NOISY, "*DCNN+RLPS, published*", "–", "*96.2*", "*89.1*", "*32.2*"],
  ]
  assert clean == [
    ["Setting", "System", "All"],
    [CLEAN, "DCNN+RLPS", "99.0 ± 0.0"],
  ]


def test_settings_of_the_same_groups_share_a_table(summary):
  summary["rows"][3]["retention"] = kinds(all=1, full=1, half=1, none=1)
  (table,) = all_tables(selection_tables.retention_tables(summary))
  names = [line[0] for line in table[1:]]
  assert names == [NOISY, NOISY, CLEAN]


def test_retention_of_classes_is_a_table_for_itself(summary):
  summary["rows"][1]["class_retention"] = kinds(angry=0.2, sad=0.9)
  *_, classes = all_tables(selection_tables.retention_tables(summary))
  assert classes == [
    ["Setting", "System", "Angry", "Sad"],
    [NOISY, "DCNN+RLPS", "20.0 ± 0.0", "90.0 ± 0.0"],
  ]


def test_ranking_leaves_out_what_knows_no_truth(summary):
  summary["rows"][1]["removal"]["precision"] = None
  (table,) = all_tables(selection_tables.ranking_table(summary))
  assert table == [
    ["Setting", "System", "AUC", "Precision", "Recall", "Removed"],
    [NOISY, "DCNN+RLPS", "98.0 ± 0.0", "–", "80.0 ± 0.0", "30.0 ± 0.0"],
  ]


def test_report_has_everything(summary):
  figures = {"What goes": "gallery.png"}
  report = selection_tables.report(summary, figures, ["First."])
  assert report.startswith("# A selection\n\nFirst.\n\n## Results")
  for part in (
    selection_tables.results_tables(summary),
    tables.comparisons_table(summary),
    selection_tables.retention_tables(summary),
    selection_tables.ranking_table(summary),
    "![What goes](gallery.png)",
    "1 x cpu; emojax 0.1.0",
  ):
    assert part in report


def test_report_of_the_demo_says_so_and_leaves_out_what_is_not_there(summary):
  bare = {**summary, "demo": True, "comparisons": []}
  bare["rows"] = [row(CLEAN, "DCNN", 0.5)]
  report = selection_tables.report(bare, {}, [])
  assert tables.DEMO in report.splitlines()[0]
  for absent in ("Comparisons", "What is retained", "How well", "Figures"):
    assert f"## {absent}" not in report


def test_terminal_table(summary):
  lines = selection_tables.terminal_table(summary).splitlines()
  cells = [line.split("  ") for line in lines]
  cells = [[cell.strip() for cell in line if cell.strip()] for line in cells]
  assert cells == [
    ["A selection (%)"],
    ["Average accuracy", "Macro F1", "Total accuracy", "Retained", "Noise AUC"],
    [NOISY, "DCNN", "51.0 ± 1.4", "53.0 ± 1.4", "55.0 ± 1.4", "–", "–"],
    [
      "DCNN+RLPS",
      "61.0 ± 1.4",
      "63.0 ± 1.4",
      "65.0 ± 1.4",
      "70.0 ± 0.0",
      "98.0 ± 0.0",
    ],
    [CLEAN, "DCNN", "71.0 ± 1.4", "73.0 ± 1.4", "75.0 ± 1.4", "–", "–"],
    ["DCNN+RLPS", "66.0 ± 1.4", "68.0 ± 1.4", "70.0 ± 1.4", "99.0 ± 0.0", "–"],
  ]


def test_terminal_table_without_a_selector(summary):
  summary["rows"] = [row(CLEAN, "DCNN", 0.5)]
  _, header, _ = selection_tables.terminal_table(summary).splitlines()
  assert "Retained" not in header and "AUC" not in header
