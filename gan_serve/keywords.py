"""Suggest the nearest valid keyword for one that a function does not have."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from gan_serve.errors import nearest

Function = TypeVar("Function", bound=Callable[..., Any])


def check_keywords(function: str, given: Iterable[str], keywords: Iterable[str]) -> None:
    """Raise ``TypeError`` for the first keyword of ``given`` that is not in ``keywords``, and name the nearest one."""
    for name in given:
        if name not in keywords:
            hint = nearest(name, keywords) or f"It takes: {', '.join(keywords)}."
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}. {hint}")


def suggest_keywords(function: Function) -> Function:
    """Make ``function`` raise a ``TypeError`` that names the nearest keyword. Python 3.11 and 3.12 do not.

    >>> suggest_keywords(sorted)([2, 1], revers=True)
    Traceback (most recent call last):
        ...
    TypeError: sorted() got an unexpected keyword argument 'revers'. Did you mean 'reverse'?
    """
    name_of_call = function.__name__
    if name_of_call == "__init__":  # a user calls the class
        name_of_call = function.__qualname__.split(".")[-2]
    keywords = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and name not in ("self", "cls")
    ]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        check_keywords(name_of_call, kwargs, keywords)
        return function(*args, **kwargs)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            return await call(*args, **kwargs)

        return call_async  # type: ignore[return-value]
    return call  # type: ignore[return-value]
