"""The one error that a user is meant to see."""


class UserError(Exception):
  """Something that the user can mend: a path, a label, a config field.

  The message is one line that names the thing, the place and the mend. The
  entry points (`launch.py`, `python -m emojax`) print it without a traceback
  and exit with code 2. Everything else is a defect and keeps its traceback.
  """
