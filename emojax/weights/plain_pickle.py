"""Pickles of plain containers, carried out without `pickle`.

A pickle is a program. Of its instructions, only those that build containers
are known here, and of all functions only those that the caller hands over. (A
subclass of `pickle.Unpickler` can refuse functions as well, but it looks up
attributes of what it builds, and a megabyte of nested tuples as the key of a
dict crashes Python itself.)
"""

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

# What puts its argument on the stack.
_LITERALS = (
  *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
  *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
  *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
  *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)
# What damaged bytes do to a stack machine, and to the functions that it calls.
DAMAGE = (
  *(ArithmeticError, AttributeError, LookupError, MemoryError),
  *(TypeError, ValueError),
)


class RefusedError(Exception):
  """The pickle asks for more than it is allowed; says what, as a predicate."""


def _refuse(identity: Any) -> None:
  raise RefusedError("refers to something outside of it")


def _ignore(state: Any, target: Any) -> None:
  """An ordered dict of PyTorch carries versions; all else stays as it is."""
  if not isinstance(target, dict):
    raise RefusedError(f"sets attributes of a {type(target).__name__}")


def run(
  program: bytes,
  names: Mapping[str, Any],
  find: Callable[[Any], Any] = _refuse,
  build: Callable[[Any, Any], None] = _ignore,
) -> Any:
  """Carries out a pickle of any protocol.

  Args:
    program: the pickle.
    names: what to take for full names such as `collections.OrderedDict`; all
      others are refused. What is callable may be called with plain arguments.
    find: gives the object of a persistent identity.
    build: is given a state and the object that gets it.

  Returns:
    What it builds of dicts, lists (sets, too), tuples, strings (of Python 2 as
    Latin-1), bytes, numbers, and the results of `names` and `find`.

  Raises:
    RefusedError: before anything but `names`, `find` and `build` is called.
    *DAMAGE: the pickle is damaged.
  """
  machine = _Machine(names, find, build)
  file = io.BytesIO(program)
  while code := file.read(1):
    opcode = pickletools.code2op[code.decode("latin-1")]
    argument = _argument(opcode, file)
    if opcode.name == "STOP":
      return machine.stack[-1]
    if opcode.name in _LITERALS:
      machine.stack.append(argument)
    elif opcode.name in _OPERATIONS:
      _OPERATIONS[opcode.name](machine, argument)
    else:
      raise RefusedError(f"has an instruction {opcode.name}")
  raise ValueError("no end of the pickle")


def _argument(opcode: pickletools.OpcodeInfo, file: BinaryIO) -> Any:
  # Of these `pickletools` decodes less than there may be, or more than is.
  if opcode.name == "STRING":
    return file.readline().strip()[1:-1].decode("unicode_escape")
  if opcode.name == "GLOBAL":
    return [file.readline().rstrip(b"\n").decode() for _ in range(2)]
  return opcode.arg.reader(file) if opcode.arg else None


class _Machine:
  """The stack on which a pickle builds."""

  def __init__(self, names, find, build):
    self.stack: list[Any] = []
    self.marks: list[int] = []
    self.memo: dict[int, Any] = {}
    self._names, self.find, self.build = names, find, build

  def pop(self, count: int) -> list[Any]:
    start = len(self.stack) - count
    if count < 0 or start < 0:
      raise IndexError("the pickle takes more than it has put")
    items = self.stack[start:]
    del self.stack[start:]
    return items

  def pop_to_mark(self) -> list[Any]:
    return self.pop(len(self.stack) - self.marks.pop())

  def extend(self, items: list[Any]) -> None:
    if not isinstance(self.stack[-1], list):
      raise TypeError("items for what is no list")
    self.stack[-1].extend(items)

  def look_up(self, module: Any, name: Any) -> None:
    if not isinstance(module, str) or not isinstance(name, str):
      raise TypeError("a name that is no string")
    full = f"{module}.{name}"
    if full not in self._names:
      raise RefusedError(f"tries to run {full[:80]!r}")
    self.stack.append(self._names[full])

  def call(self, function: Any, arguments: Any) -> None:
    if not callable(function) or not isinstance(arguments, tuple):
      raise RefusedError("calls what is no function")
    self.stack.append(function(*arguments))

  def put(self, place: int) -> None:
    self.memo[place] = self.stack[-1]


def _update(items: list[Any], target: Any) -> dict[Any, Any]:
  if not isinstance(target, dict):
    raise TypeError("items for what is no dict")
  keys, values = items[::2], items[1::2]
  # To hash a key of tuples in tuples can take all of the stack.
  if not all(isinstance(key, str | int) for key in keys):
    raise RefusedError("has a dict with keys other than strings and numbers")
  target.update(zip(keys, values, strict=True))
  return target


def _push(make: Callable[[_Machine], Any]) -> Callable[[_Machine, Any], None]:
  return lambda machine, _: machine.stack.append(make(machine))


_OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
  "PROTO": lambda machine, version: None,
  "FRAME": lambda machine, size: None,
  "NONE": _push(lambda machine: None),
  "NEWTRUE": _push(lambda machine: True),
  "NEWFALSE": _push(lambda machine: False),
  "EMPTY_TUPLE": _push(lambda machine: ()),
  "TUPLE1": _push(lambda machine: tuple(machine.pop(1))),
  "TUPLE2": _push(lambda machine: tuple(machine.pop(2))),
  "TUPLE3": _push(lambda machine: tuple(machine.pop(3))),
  "TUPLE": _push(lambda machine: tuple(machine.pop_to_mark())),
  "EMPTY_LIST": _push(lambda machine: []),
  "LIST": _push(_Machine.pop_to_mark),
  "EMPTY_SET": _push(lambda machine: []),
  "FROZENSET": _push(_Machine.pop_to_mark),
  "EMPTY_DICT": _push(lambda machine: {}),
  "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
  "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
  **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
  **dict.fromkeys(
    ("GET", "BINGET", "LONG_BINGET"),
    lambda machine, place: machine.stack.append(machine.memo[place]),
  ),
  "APPEND": lambda machine, _: machine.extend(machine.pop(1)),
  "APPENDS": lambda machine, _: machine.extend(machine.pop_to_mark()),
  "ADDITEMS": lambda machine, _: machine.extend(machine.pop_to_mark()),
  "SETITEM": lambda machine, _: _update(machine.pop(2), machine.stack[-1]),
  "SETITEMS": lambda machine, _: _update(
    machine.pop_to_mark(), machine.stack[-1]
  ),
  "DICT": _push(lambda machine: _update(machine.pop_to_mark(), {})),
  "GLOBAL": lambda machine, name: machine.look_up(*name),
  "STACK_GLOBAL": lambda machine, _: machine.look_up(*machine.pop(2)),
  "REDUCE": lambda machine, _: machine.call(*machine.pop(2)),
  "BINPERSID": _push(lambda machine: machine.find(*machine.pop(1))),
  "BUILD": lambda machine, _: machine.build(
    machine.pop(1)[0], machine.stack[-1]
  ),
}
