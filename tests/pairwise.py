"""Pairwise choice of test cases, in place of a whole product.

allpairspy 2.5.1 leaves out pairs that are allowed where others are not (22 of those in test_recipes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import combinations, product
from typing import Any


def pairwise(*factors: Collection[Any], allowed: Callable[[list[Any]], bool] = lambda values: True) -> list[list[Any]]:
    """Return cases with one value of each factor; every two values of different factors meet in at least one case.

    ``allowed`` gets values of two or more factors and returns False where they cannot be together. The same factors
    give the same cases: each starts with the first pair that is still missing, and takes what adds most pairs to it.
    """
    values: list[Sequence[Any]] = [list(factor) for factor in factors]

    def fits(case: dict[int, int]) -> bool:
        return allowed([values[factor][index] for factor, index in sorted(case.items())])

    missing = {  # in order, as a set would not be: ((factor, index of its value), (another factor, index))
        ((one, i), (other, j)): None
        for one, other in combinations(range(len(values)), 2)
        for i, j in product(range(len(values[one])), range(len(values[other])))
        if fits({one: i, other: j})
    }
    cases = []
    while missing:
        case = dict(next(iter(missing)))
        for factor in set(range(len(values))) - case.keys():
            candidates = [index for index in range(len(values[factor])) if fits(case | {factor: index})]
            case[factor] = max(
                candidates,
                key=lambda index: sum(tuple(sorted([(factor, index), chosen])) in missing for chosen in case.items()),
            )
        for pair in combinations(sorted(case.items()), 2):
            missing.pop(pair, None)
        cases.append([values[factor][case[factor]] for factor in range(len(values))])
    return cases
