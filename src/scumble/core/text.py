"""Embedded prompts, and the words that their tokens spell."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from scumble.core.control import Row
from scumble.core.errors import InputError


class Negative(str):
    """A prompt that guidance leads away from. A prompt like any other, but for models that put instructions before
    what is to be drawn (Sana), and none before this.
    """


@dataclass(frozen=True, eq=False)
class Text:
    """Embedded prompts, one row each. Loops carry it and never look inside.

    `tokens` (b, L, D), `pooled` (b, P), `ids` (b, L), `prompts` the strings themselves, `offsets` the
    character span (start, end) of every token in its prompt ((0, 0): no character), `roles` the name of every
    row, `mask` (b, L) which tokens the network may look at (None: all), `extra` any other per-row tensors a network
    is conditioned on (time ids, embedded guidance, class, ...).
    """

    tokens: Tensor
    prompts: tuple[str, ...]
    pooled: Tensor | None = None
    ids: Tensor | None = None
    offsets: tuple[tuple[tuple[int, int], ...], ...] = ()
    roles: tuple[Row | None, ...] = ()
    mask: Tensor | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: Sequence[int]) -> "Text":
        """The given rows, in the given order; a row may be taken again."""
        index = torch.tensor(list(rows), dtype=torch.int64, device=self.tokens.device)
        return Text(
            tokens=self.tokens[index],
            prompts=tuple(self.prompts[i] for i in rows),
            pooled=None if self.pooled is None else self.pooled[index],
            ids=None if self.ids is None else self.ids[index.to(self.ids.device)],
            offsets=tuple(self.offsets[i] for i in rows) if self.offsets else (),
            roles=tuple(self.roles[i] for i in rows) if self.roles else (),
            mask=None if self.mask is None else self.mask[index.to(self.mask.device)],
            extra={name: x[index.to(x.device)] for name, x in self.extra.items()},
        )

    def expand(self, rows: int) -> "Text":
        """One row repeated `rows` times; as it is if it has that many already."""
        if len(self) == rows:
            return self
        if len(self) != 1:
            raise InputError(f"prompts: {len(self)} prompts for {rows} pictures; give one, or one each")
        return self.take([0] * rows)

    def named(self, row: Row) -> "Text":
        """The same text with every row called `row`."""
        return replace(self, roles=(row,) * len(self))

    @staticmethod
    def cat(texts: Sequence["Text"]) -> "Text":
        """All rows one below the other; shorter ones are filled up with masked tokens.

        The texts come from one prior. Unequal ones need a mask.
        """
        if len(texts) == 1:
            return texts[0]
        longest = max(text.tokens.shape[1] for text in texts)
        texts = [text._padded(longest) for text in texts]
        first = texts[0]
        some = any(text.roles for text in texts)
        return Text(
            tokens=torch.cat([text.tokens for text in texts]),
            prompts=sum((text.prompts for text in texts), ()),
            pooled=None if first.pooled is None else torch.cat([_given(text.pooled) for text in texts]),
            ids=None if first.ids is None else torch.cat([_given(text.ids) for text in texts]),
            offsets=sum((text.offsets for text in texts), ()),
            roles=sum((text.roles or (None,) * len(text) for text in texts), ()) if some else (),
            mask=None if first.mask is None else torch.cat([_given(text.mask) for text in texts]),
            extra={name: torch.cat([text.extra[name] for text in texts]) for name in first.extra},
        )

    def _padded(self, length: int) -> "Text":
        """The same text with `length` tokens, the new ones masked."""
        more = length - self.tokens.shape[1]
        if not more:
            return self
        mask = self.mask
        assert mask is not None, "texts of unequal length, and no mask"
        pad = torch.nn.functional.pad
        return replace(
            self,
            tokens=pad(self.tokens, (0, 0, 0, more)),
            mask=pad(mask, (0, more)),
            ids=None if self.ids is None else pad(self.ids, (0, more)),
            offsets=tuple((*row, *(((0, 0),) * more)) for row in self.offsets),
        )

    def spelling_nothing(self, length: int) -> "Text":
        """The same rows for `length` other tokens, which spell no characters of the prompts."""
        ids = None if self.ids is None else self.ids.new_zeros(len(self), length)
        return replace(self, ids=ids, offsets=(((0, 0),) * length,) * len(self) if self.offsets else ())

    def spans(self, word: str) -> list[list[int]]:
        """For every row, the positions of the tokens that spell `word`, at each occurrence; several words are
        a phrase. Any case; whole words only, where the script sets blanks between them.

        Raises InputError where no prompt contains the word, or only beyond what the model reads.
        """
        places = [[match.span() for match in _whole(word).finditer(prompt)] for prompt in self.prompts]
        if not word.strip() or not any(places):
            raise InputError(f"word: {word!r} is in none of the prompts {list(self.prompts)}")
        found = [self._overlapping(row, spans) for row, spans in enumerate(places)]
        if not any(found):
            raise InputError(f"word: {word!r} is beyond what this model reads of {list(self.prompts)}")
        return found

    def words(self, row: int) -> list[tuple[str, list[int]]]:
        """What stands between blanks in the prompt of a row, each with the positions of its tokens: none where
        the word lies beyond what the model reads.
        """
        found = re.finditer(r"\S+", self.prompts[row])
        return [(match[0], self._overlapping(row, [match.span()])) for match in found]

    def _overlapping(self, row: int, spans: Sequence[tuple[int, int]]) -> list[int]:
        if not self.offsets:
            raise InputError("words: this model does not say which tokens spell a word; use another one")
        offsets = self.offsets[row]
        return [i for i, (a, b) in enumerate(offsets) if any(a < end and start < b for start, end in spans)]


# Thai, Lao, Burmese, Khmer, kana and Han set no blanks between words.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


def _whole(word: str) -> re.Pattern[str]:
    """Finds the word where it does not go on before or behind."""
    letters, word = r"\s+".join(re.escape(part) for part in word.split()), word.strip()
    before = "" if _UNSPACED.match(word[:1]) else r"(?<!\w)"
    behind = "" if _UNSPACED.match(word[-1:]) else r"(?!\w)"
    return re.compile(before + letters + behind, re.IGNORECASE)


def _given(x: Tensor | None) -> Tensor:
    assert x is not None, "texts of different priors"
    return x
