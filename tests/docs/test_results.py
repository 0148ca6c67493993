"""The page of results: what is committed is what the JSON files say."""

import re

import pytest

from emojax.summary import Comparison, Estimate, Row, Summary, System
from experiments.adversary import variants
from experiments.results import __main__ as results
from experiments.results import page


@pytest.fixture
def found():
  def row(system, *runs):
    estimate = Estimate(sum(runs) / len(runs), 0.01, (0.5, 0.6), runs)
    return Row("all", system, {"unweighted_accuracy": estimate})

  compared = ("all", "b", "a", "unweighted_accuracy", 0.1, (0.04, 0.16), 0.03)
  return Summary(
    study="speech",
    title="a study",
    demo=False,
    classes=("sad",),
    selection="at the last epoch",
    metrics=("unweighted_accuracy",),
    systems=(System("a", "first"), System("b", "second")),
    rows=(row("a", 0.5, 0.52), row("b", 0.6, 0.62)),
    comparisons=(Comparison(*compared, "paired test over runs, of two"),),
    versions={},
    device="",
  )


def test_what_is_committed_is_what_the_command_writes():
  mend = "python -m experiments.results"
  assert results.PAGE.read_text(encoding="utf-8") == results.results(), mend
  readme = results.README.read_text(encoding="utf-8")
  assert readme == results.readme(readme), mend


def test_what_experiments_show_and_link_is_there():
  linked = [
    (file, target)
    for file in sorted(page.EXPERIMENTS.rglob("*.md"))
    if file.name != "template.md"  # Of a page of another folder.
    for target in re.findall(r"\]\(([^):#]+)[)#]", file.read_text("utf-8"))
  ]
  assert any(target.endswith(".png") for _, target in linked)
  missing = [
    f"{file}: {target}"
    for file, target in linked
    if not (file.parent / target).exists()
  ]
  assert not missing


def test_the_readme_of_variants_has_their_table():
  table = variants.comparison_table(page.study("adversary/variants"))
  readme = page.EXPERIMENTS / "adversary" / "README.md"
  assert table in readme.read_text(encoding="utf-8")


def test_a_table_has_ours_and_what_is_published(found):
  table = page.systems(
    found, "all", ["unweighted_accuracy"], published=[("theirs", 65.4)]
  )
  lines = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in table.splitlines()
  ]
  assert lines[2] == ["first", "51.0 ± 1.0", "50.0 to 60.0"]
  assert lines[3] == ["second", "**61.0 ± 1.0**", "50.0 to 60.0"]
  assert lines[4] == ["*theirs*", "*65.4*", ""]


def test_a_difference_that_is_asked_for_the_other_way_round(found):
  (one,) = page.compared(found, "all", "unweighted_accuracy", "a", "b")
  assert (one.a, one.b, one.difference) == ("a", "b", -0.1)
  assert one.ci95 == (-0.16, -0.04)
  table = page.comparisons(found, "all", "unweighted_accuracy", [("a", "b")])
  assert "first − second | runs" in table
  assert "| -16.0 to -4.0 | 0.030 |" in table


def test_what_no_summary_has_is_no_number(found):
  with pytest.raises(KeyError, match="all, c, unweighted_accuracy"):
    page.estimate(found, "all", "c", "unweighted_accuracy")
  with pytest.raises(KeyError, match="c against a"):
    page.compared(found, "all", "unweighted_accuracy", "c", "a")
