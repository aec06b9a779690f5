"""Texts of unequal length, stacked."""

import pytest
import torch

from scumble.core.text import Text


def text(length: int, *, masked: bool = True, prompt: str = "a cat") -> Text:
    mask = torch.ones(1, length, dtype=torch.bool) if masked else None
    offsets = (tuple((i, i + 1) for i in range(length)),)
    return Text(torch.ones(1, length, 2), (prompt,), ids=torch.ones(1, length), offsets=offsets, mask=mask)


def test_the_shorter_text_is_filled_up_with_masked_tokens() -> None:
    both = Text.cat([text(3), text(5)])
    assert both.tokens.shape == (2, 5, 2)
    assert both.mask is not None
    assert both.mask.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert both.tokens[0, 3:].abs().sum() == 0
    assert both.offsets[0][3:] == ((0, 0), (0, 0))
    assert both.spans("cat") == [[2], [2, 3, 4]], "what is filled up spells no word"
    again = both.take([1, 0]).mask
    assert again is not None
    assert again.tolist() == both.mask.flip(0).tolist()


def test_texts_of_a_network_without_a_mask_have_one_length() -> None:
    with pytest.raises(AssertionError, match="unequal length"):
        Text.cat([text(3, masked=False), text(5, masked=False)])
