"""What the tests of figures share: those that were drawn, and a quiet style."""

import matplotlib
import pytest
from matplotlib.figure import Figure


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
