"""Words: which tokens of two prompts correspond, and how a user writes words, factors and windows.

The alignments are those of Prompt-to-Prompt (Hertz et al. 2022, arXiv:2208.01626, sections 3.2 and 4).
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.text import Text

Kind = Literal["replace", "refine", "reweight"]


@dataclass(frozen=True, eq=False)
class Alignment:
    """The maps of K targets: token n gets sum_w source[w] matrix[k, w, n] + own[k, n] target[n].

    `matrix` (K, L, L), with source tokens as rows and target tokens as columns; `own` (K, L) in {0, 1}.
    """

    matrix: Tensor
    own: Tensor


def align(kind: Kind, source: Text, target: Text, *, published: bool = False) -> Alignment:
    """The alignment of every target with its source, or with the one source that all share.

    "replace": as many words in both; a changed word takes the maps of the one in its place. "refine": tokens
    that both prompts have, in order, take their maps; others keep their own. "reweight": token by token.
    Padding answers to padding; `published`: as the authors' code has it, whose replacement forgets that the
    prompts may have grown apart after the last changed word, and whose refinement never shifts the padding.

    Raises InputError where the numbers of words differ, or a changed word was cut off.
    """
    length = target.tokens.shape[1]
    eye, none = torch.eye(length, dtype=torch.float32), torch.zeros(length, dtype=torch.float32)
    made: list[tuple[Tensor, Tensor]] = []
    for k in range(len(target)):
        a, b = source.take([k if len(source) > 1 else 0]), target.take([k])
        if kind == "reweight":
            made.append((eye, none))
        elif kind == "replace":
            made.append((_replacement(a, b, published), none))
        else:
            made.append(_refinement(a, b, published))
    return Alignment(torch.stack([m for m, _ in made]), torch.stack([own for _, own in made]))


def _replacement(source: Text, target: Text, published: bool) -> Tensor:
    """(L, L): ones along the diagonal; at a changed word of m tokens for n, 1 / n for each pair if m != n."""
    ours, theirs = source.words(0), target.words(0)
    if len(ours) != len(theirs):
        raise InputError(
            f"target: replacing needs as many words as the source has, {len(ours)}, not {len(theirs)}: "
            f"{source.prompts[0]!r} and {target.prompts[0]!r}; edit='refine' takes any prompts"
        )
    length = target.tokens.shape[1]
    matrix = torch.zeros(length, length, dtype=torch.float32)
    i = j = 0
    for (word, of), (other, to) in zip(ours, theirs, strict=True):
        if word == other or not (of or to):  # both beyond what the model reads
            continue
        if not (of and to):
            raise InputError(
                f"word: {word!r} and {other!r} do not both fit into what this model reads of the prompts; "
                "shorten them"
            )
        _diagonal(matrix, i, j, of[0] - i)
        if len(of) == len(to):
            matrix[of, to] = 1
        else:
            matrix[of[0] : of[-1] + 1, to] = 1 / len(to)
        i, j = of[-1] + 1, to[-1] + 1
    rest = length - max(i, j)
    _diagonal(matrix, j if published else i, j, rest)
    if not published:
        matrix[-1, j + rest :] = 1  # the source has no padding left
    return matrix


def _diagonal(matrix: Tensor, i: int, j: int, n: int) -> None:
    matrix[i : i + n, j : j + n].diagonal().fill_(1)


def _refinement(source: Text, target: Text, published: bool) -> tuple[Tensor, Tensor]:
    """(matrix (L, L), own (L,)) from the longest common subsequence of the tokens (Needleman & Wunsch)."""
    length, (m, n) = target.tokens.shape[1], (_read(source), _read(target))
    matrix = torch.zeros(length, length, dtype=torch.float32)
    own = torch.zeros(length, dtype=torch.float32)
    for j, i in enumerate(_common(_ids(source)[:m], _ids(target)[:n])):
        if i is None:
            own[j] = 1
        else:
            matrix[i, j] = 1
    shift = 0 if published else m - n
    for j in range(n, length):
        matrix[min(j + shift, length - 1), j] = 1
    return matrix, own


def _common(x: list[int], y: list[int]) -> list[int | None]:
    """For every item of y, the place of the item of x that it is aligned with.

    Scores: gap 0, match 1, mismatch -1. Where several alignments are best, read from the end, an item is
    rather taken to be new in y, then to be left out of x, than to be matched: the published order.
    """
    best = [[0] * (len(y) + 1) for _ in range(len(x) + 1)]
    for i, a in enumerate(x, 1):
        for j, b in enumerate(y, 1):
            best[i][j] = max(best[i][j - 1], best[i - 1][j], best[i - 1][j - 1] + (1 if a == b else -1))
    place: list[int | None] = [None] * len(y)
    i, j = len(x), len(y)
    while j > 0:
        if best[i][j] == best[i][j - 1]:
            j -= 1
        elif best[i][j] == best[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            place[j] = i
    return place


def _ids(text: Text) -> list[int]:
    if text.ids is None:
        raise InputError("words: this model does not tell its tokens apart; use another one")
    return [int(i) for i in text.ids[0]]


def _read(text: Text) -> int:
    """The number of tokens that are not padding: those that spell something, between the start and the end token."""
    spelled = [i for i, span in enumerate(text.offsets[0]) if span != (0, 0)]
    return spelled[-1] + 2 if spelled else 2


def factors(text: Text, by_word: Mapping[str, float], default: float = 1.0) -> Tensor:
    """(b, L): the factor of every token, in each prompt that has its word.

    Raises InputError for a word that is in none of the prompts.
    """
    weights = torch.full((len(text), text.tokens.shape[1]), default, dtype=torch.float32)
    for word, factor in by_word.items():
        for row, tokens in enumerate(text.spans(word)):
            weights[row, tokens] = factor
    return weights


# What users write


def read_factors(field: str, text: str) -> dict[str, float]:
    """ "striped=2, red=-0.5" -> the factor of each word. Raises InputError, naming the field."""
    return {
        word: _number(field, value, "WORD=NUMBER, such as striped=2") for word, value in _items(field, text)
    }


def read_windows(field: str, text: str) -> dict[str, tuple[float, float]]:
    """ "tiger=0.4, cat=0.2:0.6" -> the share of the steps (from, until) of each word. Raises InputError."""
    windows: dict[str, tuple[float, float]] = {}
    for word, value in _items(field, text):
        start, colon, end = value.rpartition(":")
        how = "WORD=UNTIL or WORD=FROM:UNTIL, such as tiger=0.4"
        windows[word] = (_number(field, start, how) if colon else 0.0, _number(field, end, how))
        if not 0 <= windows[word][0] <= windows[word][1] <= 1:
            raise InputError(f"{field}: {word}={value}; give shares of the steps between 0 and 1, in order")
    return windows


@dataclass(frozen=True)
class Region:
    """The words whose places count, and those whose places are removed."""

    words: tuple[str, ...]
    without: tuple[str, ...]


def read_regions(field: str, text: str) -> list[Region]:
    """ "cat -grass | tiger -grass" -> the source's region and the targets'. Raises InputError."""
    regions: list[Region] = []
    for part in text.split("|"):
        said = re.split(r"[,\s]+", part.strip())
        region = Region(
            tuple(w for w in said if w and not w.startswith("-")),
            tuple(w[1:] for w in said if w.startswith("-") and w[1:]),
        )
        if not region.words:
            raise InputError(
                f"{field}: {text!r} names no word for the {'source' if not regions else 'target'}"
            )
        regions.append(region)
    return regions


def _items(field: str, text: str) -> Iterator[tuple[str, str]]:
    for item in text.split(",") if text.strip() else ():
        word, equals, value = item.rpartition("=")
        if not equals or not word.strip():
            raise InputError(
                f"{field}: {item.strip()!r} is not WORD=VALUE; write it like {field}='tiger=0.5'"
            )
        yield word.strip(), value.strip()


def _number(field: str, text: str, how: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise InputError(f"{field}: {text!r} is not a number; write {how}") from None
    if not math.isfinite(number):
        raise InputError(f"{field}: {text!r} is not a finite number")
    return number
