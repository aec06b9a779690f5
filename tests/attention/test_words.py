"""Words of real prompts: which tokens answer to each other, and what users may write about words."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scumble.attention.words import (
    Region,
    align,
    factors,
    read_factors,
    read_regions,
    read_windows,
)
from scumble.core.errors import InputError

from .letters import LIMIT, text

PROMPTS = st.lists(st.sampled_from(["a", "cat", "tiger", "on", "of"]), max_size=5).map(" ".join)


def partners(kind: str, source: str, target: str, published: bool = False) -> list[list[int] | None]:
    """For every target token the source tokens whose maps it gets; None where it keeps its own."""
    made = align(kind, text(source), text(target), published=published)  # pyright: ignore[reportArgumentType]
    return [
        None if own else column.nonzero()[:, 0].tolist()
        for own, column in zip(made.own[0].tolist(), made.matrix[0].T, strict=True)
    ]


def test_a_changed_word_takes_the_maps_of_the_one_in_its_place() -> None:
    assert partners("replace", "a cat on", "a dog on") == [[i] for i in range(LIMIT)]


def test_words_behind_one_that_grew_stay_with_their_own() -> None:
    # start a c a t o n end  ->  start a t i g e r o n end
    found = partners("replace", "a cat on", "a tiger on")
    assert found[:10] == [[0], [1], *[[2, 3, 4]] * 5, [5], [6], [7]]
    assert found[10:] == [[i - 2] for i in range(10, LIMIT)]
    made = align("replace", text("a cat on"), text("a tiger on"))
    assert torch.equal(made.matrix[0, 2:5, 2:7], torch.full((3, 5), 1 / 5))
    published = partners("replace", "a cat on", "a tiger on", published=True)
    assert published[:7] == found[:7]
    assert published[7:] == [[i] for i in range(7, LIMIT)]  # "on" looks where "end" and padding look


def test_words_behind_one_that_shrank_stay_with_their_own() -> None:
    found = partners("replace", "a tiger on", "a cat on")
    assert found[:8] == [[0], [1], *[[2, 3, 4, 5, 6]] * 3, [7], [8], [9]]
    assert found[8:] == [[i + 2] for i in range(8, LIMIT - 2)] + [[LIMIT - 1]] * 2
    published = partners("replace", "a tiger on", "a cat on", published=True)
    assert published[-2:] == [[], []]  # the published matrix has no map left for these


def test_blanks_do_not_count_and_case_does_not_matter() -> None:
    assert partners("replace", " a  cat", "A cat ") == [[i] for i in range(LIMIT)]


def test_replacing_needs_as_many_words() -> None:
    with pytest.raises(InputError, match=r"as many words as the source has, 2, not 3.*edit='refine'"):
        align("replace", text("a cat"), text("a red cat"))


def test_a_changed_word_that_was_cut_off_is_refused() -> None:
    full = "a " * 21 + "b"
    assert len(partners("replace", full, full)) == LIMIT
    with pytest.raises(InputError, match="'b' and 'c' do not both fit"):
        align("replace", text(full), text("ab " + "a " * 20 + "c"))
    same = partners("replace", "a " * 22 + "b", "a " * 22 + "c")  # beyond the limit in both
    assert same == [[i] for i in range(LIMIT)]


def test_words_that_are_new_keep_their_own_maps() -> None:
    found = partners("refine", "a cat", "a red cat")
    assert found[:9] == [[0], [1], None, None, None, [2], [3], [4], [5]]
    assert found[9:] == [[i - 3] for i in range(9, LIMIT)]
    published = partners("refine", "a cat", "a red cat", published=True)
    assert published[9:] == [[i] for i in range(9, LIMIT)]


def test_words_that_are_gone_leave_no_map_behind() -> None:
    found = partners("refine", "a red cat", "a cat")
    assert found[:6] == [[0], [1], [5], [6], [7], [8]]
    assert found[6:] == [[min(i + 3, LIMIT - 1)] for i in range(6, LIMIT)]
    published = partners("refine", "a red cat", "a cat", published=True)
    assert published[6:9] == [[6], [7], [8]]  # padding looks where "at" and "end" look


@given(PROMPTS, PROMPTS)
@settings(max_examples=60, deadline=None)
def test_refining_gives_every_token_one_map_in_order(source: str, target: str) -> None:
    made = align("refine", text(source), text(target))
    assert torch.equal(made.matrix[0].sum(0) + made.own[0], torch.ones(LIMIT))
    aligned = [column.argmax().item() for column in made.matrix[0].T if column.any()]
    assert aligned == sorted(aligned)


@given(PROMPTS)
@settings(max_examples=30, deadline=None)
def test_equal_prompts_are_aligned_token_by_token(prompt: str) -> None:
    for kind in ("replace", "refine", "reweight"):
        for published in (False, True):
            made = align(kind, text(prompt), text(prompt), published=published)
            assert torch.equal(made.matrix[0], torch.eye(LIMIT))
            assert not made.own.any()


def test_targets_share_a_source_or_have_one_each() -> None:
    source, target = text("a cat", "a dog"), text("a red cat", "a red dog")
    both = align("refine", source, target)
    for k in range(2):
        alone = align("refine", source.take([k]), target.take([k]))
        assert torch.equal(both.matrix[k], alone.matrix[0])
    shared = align("refine", source.take([0]), target)
    assert torch.equal(shared.matrix[1], align("refine", source.take([0]), target.take([1])).matrix[0])


def test_factors_fall_on_every_occurrence_in_the_prompts_that_have_the_word() -> None:
    weights = factors(text("cat, a cat", "a dog"), {"cat": 2.0, "dog": -1.0})
    assert weights[0].tolist() == [1, 2, 2, 2, 1, 1, 2, 2, 2, *[1] * (LIMIT - 9)]
    assert weights[1, 2:5].tolist() == [-1] * 3
    with pytest.raises(InputError, match="'tiger' is in none of the prompts"):
        factors(text("a cat"), {"tiger": 2.0})


def test_factors_are_read() -> None:
    assert read_factors("reweight", "striped=2, red cat = -0.5") == {"striped": 2.0, "red cat": -0.5}
    assert read_factors("reweight", " ") == {}


@pytest.mark.parametrize("written", ["striped", "striped=", "=2", "striped=two", "striped=inf", "a=1,,b=2"])
def test_factors_that_are_none_are_refused(written: str) -> None:
    with pytest.raises(InputError, match=r"^reweight: "):
        read_factors("reweight", written)


def test_windows_are_read() -> None:
    assert read_windows("windows", "tiger=0.4, cat=0.2:0.6") == {"tiger": (0.0, 0.4), "cat": (0.2, 0.6)}


@pytest.mark.parametrize("written", ["tiger", "tiger=1.5", "tiger=0.6:0.2", "tiger=a:b", "tiger=0.1:"])
def test_windows_that_are_none_are_refused(written: str) -> None:
    with pytest.raises(InputError, match=r"^windows: "):
        read_windows("windows", written)


def test_regions_are_read() -> None:
    assert read_regions("blend", "cat -grass | striped cat, -sky") == [
        Region(("cat",), ("grass",)),
        Region(("striped", "cat"), ("sky",)),
    ]


@pytest.mark.parametrize("written", ["", "cat | ", "-grass", "cat || dog"])
def test_regions_without_a_word_are_refused(written: str) -> None:
    with pytest.raises(InputError, match=r"^blend: .* names no word for the (source|target)"):
        read_regions("blend", written)
