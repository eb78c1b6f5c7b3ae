"""What a call changes for its own length is put back however it ends, also if Ctrl-C comes while it is being put back.

Python may raise KeyboardInterrupt as the first thing inside the function that ends a `with` block, or between two lines
of a `finally`: what was to be put back then stays changed, or is put back when the traceback is forgotten, which may be
much later. So each change is listed here before it is made, and `left_as_found`, which is around every public call,
puts back what is still listed when an exception leaves the call.

The filters of `warnings` are put back too. pandas and scikit-learn change them by `warnings.catch_warnings`, which
belongs to the whole process: of two threads, the one that ends last puts back the filters of the other.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class _Listed(threading.local):
    def __init__(self) -> None:
        self.changes: list[undoing] = []


_LISTED = _Listed()


class undoing:  # noqa: N801 - it is used as a function: with undoing(...):
    """Call *undo* at the end of a `with` block; it may be called twice, for the first call may be interrupted.

    >>> settings = {"a": 1}
    >>> with undoing(lambda: settings.update(a=1)):
    ...     settings["a"] = 2
    >>> settings
    {'a': 1}
    """

    def __init__(self, undo: Callable[[], object]) -> None:
        self._undo = undo
        self._done = False

    def __enter__(self) -> None:
        _LISTED.changes.append(self)

    def __exit__(self, *exception: object) -> None:
        self.finish()
        changes = _LISTED.changes  # of another thread, if that one drops a generator of ours
        changes[:] = [one for one in changes if one is not self]

    def finish(self) -> None:
        """Undo, unless that is done already."""
        if not self._done:
            self._undo()
            self._done = True


@contextmanager
def replaced(*places: tuple[MutableMapping[str, Any], str, Any]) -> Iterator[None]:
    """Put values into mappings, such as a module's `__dict__`, for a `with` block: (mapping, key, value).

    >>> names = {"a": 1}
    >>> with replaced((names, "a", 2), (names, "b", 3)):
    ...     print(names)
    {'a': 2, 'b': 3}
    >>> names
    {'a': 1}
    """
    before = [(mapping, key, key in mapping, mapping.get(key)) for mapping, key, _ in places]

    def undo() -> None:
        for mapping, key, there, value in before:
            if there:
                mapping[key] = value
            else:
                mapping.pop(key, None)

    with undoing(undo):
        for mapping, key, value in places:
            mapping[key] = value
        yield


_Filters = tuple[Any, Any, Any]
_RUNNING: dict[object, int] = {}
"""The thread of each call that is running."""
_FOUND: dict[str, _Filters] = {}
"""The filters as the first of them found them, and as each did, by the list's `id`; `threads` is there if one has ended
since while another thread ran."""


class _Warnings:
    """The filters of warnings as a call found them. Single operations on dicts need no lock, which a fork may break."""

    def __init__(self, call: object) -> None:
        self._call, self._found = call, _filters()
        _FOUND.setdefault("first", self._found)
        _FOUND[str(id(self._found[0]))] = self._found
        _RUNNING[call] = threading.get_ident()  # last: a call that Ctrl-C keeps from beginning is not listed

    def leave(self, failed: bool) -> None:
        """Put the filters back after an exception or, at the end of the last call, if several threads ran."""
        _RUNNING.pop(self._call, None)
        if any(thread != threading.get_ident() for thread in list(_RUNNING.values())):
            _FOUND["threads"] = self._found
        if "threads" not in _FOUND:
            if failed:
                _put_back(self._found)
        # Fewer filters, or those that a call found, may be what the caller has set or ended in the meantime.
        elif not _RUNNING and len(warnings.filters) > len(_FOUND["first"][0]) and not _is_known(warnings.filters):
            _put_back(_FOUND["first"])
        if not _RUNNING:
            _FOUND.clear()


def _is_known(filters: object) -> bool:
    return str(id(filters)) in _FOUND


def _filters() -> _Filters:
    return warnings.filters, warnings.showwarning, getattr(warnings, "_showwarnmsg_impl", None)


def _put_back(found: _Filters) -> None:
    if warnings.filters is found[0]:  # `catch_warnings` puts a new list in its place
        return
    module: Any = warnings
    module.filters, module.showwarning, module._showwarnmsg_impl = found
    getattr(module, "_filters_mutated", lambda: None)()  # else Python goes on using what it has cached


class left_as_found:  # noqa: N801 - as above
    """Put back, if an exception leaves the `with` block, what was changed inside and is changed still."""

    def __enter__(self) -> None:
        self._warnings = _Warnings(self)
        self._n = len(_LISTED.changes)
        # Without torch nothing was changed of it, and the command line's help does not import it.
        torch = self._torch = sys.modules.get("torch")
        if torch is not None and hasattr(torch, "get_default_dtype"):
            self._modes = (torch.get_default_dtype(), torch.is_grad_enabled())
        else:
            self._torch = None

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        if kind is None:
            self._warnings.leave(failed=False)
            return
        _leave(traceback)
        self._warnings.leave(failed=True)
        for change in reversed(_LISTED.changes[self._n :]):
            change.finish()
        del _LISTED.changes[self._n :]
        if self._torch is not None and (self._torch.get_default_dtype(), self._torch.is_grad_enabled()) != self._modes:
            self._torch.set_default_dtype(self._modes[0])
            self._torch.set_grad_enabled(self._modes[1])


def leaving_as_found(function: F) -> F:
    """Decorate a method that runs a model, so that `left_as_found` is around each call, as in `checked` functions.

    >>> settings = {"a": 1}
    >>> @leaving_as_found
    ... def stop() -> None:
    ...     undoing(lambda: settings.update(a=1)).__enter__()
    ...     settings["a"] = 2
    ...     raise KeyboardInterrupt
    >>> with contextlib.suppress(KeyboardInterrupt):
    ...     stop()
    >>> settings
    {'a': 1}
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with left_as_found():
            return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def _leave(traceback: TracebackType | None) -> None:
    """End now, the innermost first, the blocks that an exception kept from ending; the traceback holds them."""
    blocks: list[Any] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == contextlib.__file__ and code.co_name in ("__enter__", "__exit__"):
            blocks.append(traceback.tb_frame.f_locals.get("self"))
        traceback = traceback.tb_next
    for block in reversed(blocks):
        ending = getattr(block, "gen", None) or block
        with contextlib.suppress(Exception):  # which the block would have raised after the exception that is on its way
            if hasattr(ending, "close"):
                ending.close()
