"""What the tests of reports share: a summary, what was drawn, a quiet style."""

from collections.abc import Callable

import matplotlib
import pytest
from matplotlib.figure import Figure

from emojax.summary import METRICS, Summary, System


@pytest.fixture(scope="session")
def make_summary() -> Callable[..., Summary]:
  """A summary of three systems; its rows and all else are arguments."""

  def make(**fields) -> Summary:
    return Summary(
      **{
        "study": "a",
        "title": "A study",
        "demo": False,
        "classes": ("angry", "sad"),
        "selection": "at the last epoch",
        "metrics": tuple(METRICS),
        "systems": (
          System("c1", "C1"),
          System("dann", "DANN"),
          System("svm", "SVM"),
        ),
        "rows": (),
        "comparisons": (),
        "versions": {"emojax": "0.1.0", "jax": "0.10.2"},
        "device": "1 x cpu",
        **fields,
      }
    )

  return make


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
  """The figures that get saved."""
  saved = []
  save = Figure.savefig

  def savefig(self, *args, **kwargs):
    saved.append(self)
    save(self, *args, **kwargs)

  monkeypatch.setattr(Figure, "savefig", savefig)
  return saved


@pytest.fixture
def path(tmp_path) -> str:
  return str(tmp_path / "figure.png")


@pytest.fixture(autouse=True)
def no_trace_in_matplotlib():
  """The global style stays as the caller has it."""

  def style() -> dict:
    # Reading the backend resolves it, which is no doing of ours.
    names = set(matplotlib.rcParams) - {"backend"}
    return {name: matplotlib.rcParams[name] for name in names}

  before = style()
  yield
  assert style() == before
