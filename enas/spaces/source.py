"""Which files of users are run, and the classes in them.

A file is run because the user names it, on the command line, in a configuration or in Python; never because a run
folder, a result or a model names it, for those may come from a stranger. So whoever builds a space from stored options
looks here whether its file was run (`class_of`), and says how to ask for it where it was not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import os
import sys
import types
from dataclasses import dataclass
from pathlib import Path

from enas.config import CustomOptions
from enas.errors import UserError
from enas.spaces.custom import CustomSpace, failure, name_of


class NotAsked(UserError):
    """A run, a result or a model is of a space whose file the user has not named, so it was not run."""


@dataclass(frozen=True)
class Code:
    """A file of the user's that was run: where it lies and what stood in it, for processes that run it too."""

    path: str
    text: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text).hexdigest()


@dataclass(frozen=True)
class _Known:
    """A class that may be used. code: None where it comes from no file that could be run again."""

    made_by: type[CustomSpace]
    options: CustomOptions
    code: Code | None


_known: dict[tuple[str, str], _Known] = {}  # by the file's sha256 and the class's name


def load(source: str) -> CustomOptions:
    """Run the file of `path/to/file.py:MySpace`, once for each content, and give the options of that space.

    Only for what the user named. Raises UserError where there is no such file or class, or where running it fails.
    """
    file, colon, class_name = source.rpartition(":")
    if not colon or not file or not class_name.isidentifier():
        raise UserError(f"a space of your own must be given as path/to/file.py:MySpace, but got {source!r}")
    path = Path(os.path.abspath(os.path.expanduser(file)))
    try:
        code = Code(str(path), path.read_bytes())
    except OSError as error:
        raise UserError(f"{file} must be a readable Python file, but: {error.strerror}; check the path") from None
    if (code.sha256, class_name) not in _known:
        made_by = getattr(run(code), class_name, None)
        if not isinstance(made_by, type) or not issubclass(made_by, CustomSpace):
            raise UserError(
                f"{file} must have a class {class_name} that derives from enas.CustomSpace, but it has "
                f"{'none of that name' if made_by is None else 'another thing of that name'}"
            )
        _remember(made_by, f"{path}:{class_name}", code)
    return _known[code.sha256, class_name].options


def register(made_by: type[CustomSpace]) -> CustomOptions:
    """The options of a space whose class is at hand, as in a notebook: its fingerprint is that of its source."""
    file = inspect.getsourcefile(made_by) if made_by.__module__ != "__main__" else None
    if file is not None and os.path.isfile(file) and made_by.__qualname__ == made_by.__name__:
        path = Path(os.path.abspath(file))
        return _registered(made_by, f"{path}:{made_by.__name__}", Code(str(path), path.read_bytes()))
    try:
        text = inspect.getsource(made_by)
    except (OSError, TypeError):
        raise UserError(
            f"the source of {made_by.__name__} must be known, so that a run can tell whether it is the same, but it is "
            "not; put the class into a file and give path/to/file.py:" + made_by.__name__
        ) from None
    return _registered(made_by, made_by.__name__, Code("", text.encode()))


def _registered(made_by: type[CustomSpace], source: str, code: Code) -> CustomOptions:
    found = _known.get((code.sha256, made_by.__name__))
    if found is None or found.made_by is not made_by:
        _remember(made_by, source, code)
    return _known[code.sha256, made_by.__name__].options


def run(code: Code) -> types.ModuleType:
    """The module of a file. Raises UserError where running it fails."""
    name = f"enas_space_{code.sha256[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = types.ModuleType(name)
    module.__file__ = code.path
    sys.modules[name] = module  # dataclasses and pickle look there for what a class belongs to
    try:
        exec(compile(code.text, code.path, "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        if isinstance(error, UserError):
            raise
        raise UserError(f"{code.path} must be a Python file that runs, but: {failure(error)}") from error
    return module


def class_of(options: CustomOptions) -> type[CustomSpace]:
    """The class of a space. Raises UserError where the user has not named its file, or names another content."""
    return _find(options).made_by


def code_of(options: object) -> Code | None:
    """The file that processes must run that work for a space with these options; None for spaces without any."""
    return _find(options).code if isinstance(options, CustomOptions) else None


def check(options: object) -> None:
    """Raise UserError for a space whose file the user has not named; for others there is nothing to ask."""
    if isinstance(options, CustomOptions):
        _find(options)


def settled(options: CustomOptions) -> CustomOptions:
    """Options that the user gave, with their file run and its fingerprint in them.

    Raises UserError as `load`, and where the options have the fingerprint of another content.
    """
    if (options.sha256, options.class_name) in _known:
        return options
    found = load(options.source)
    if options.sha256 not in ("", found.sha256):
        raise UserError(_changed(options))
    return dataclasses.replace(options, source=found.source, sha256=found.sha256)


def named(name: str) -> CustomOptions | None:
    """The options of the class, among those that the user has named, whose space has this name; the last of several."""
    return next((known.options for known in reversed(_known.values()) if name_of(known.made_by) == name), None)


def _find(options: CustomOptions) -> _Known:
    found = _known.get((options.sha256, options.class_name))
    if found is not None:
        return found
    if any(class_name == options.class_name for _, class_name in _known):
        raise NotAsked(_changed(options))
    source = options.source or "FILE.py:CLASS"
    raise NotAsked(
        f"this is of a space of its own, {source}, and a file that a run names is not run unasked; if you trust that "
        f"file give --space {source} (in Python: space=...)"
    )


def _changed(options: CustomOptions) -> str:
    return (
        f"{options.source} must be the file that the run began with (sha256 {options.sha256[:12]}...), but it has "
        "changed; bring back that file, or start a new run"
    )


def _remember(made_by: type[CustomSpace], source: str, code: Code) -> None:
    name_of(made_by)
    options = CustomOptions(source=source, sha256=code.sha256)
    _known.pop((code.sha256, made_by.__name__), None)  # so that the last one named stands last
    _known[code.sha256, made_by.__name__] = _Known(made_by, options, code if code.path else None)
