"""Edits of maps, queries, keys and values on tensors small enough to follow."""

import pytest
import torch
from torch import Tensor

from scumble.attention.blend import LocalBlend, places
from scumble.attention.inject import Borrow, Edits, Inject, Window
from scumble.attention.maps import Record, resized
from scumble.attention.words import Alignment, align, read_regions
from scumble.core.control import Now, Row, Site
from scumble.core.errors import InputError
from scumble.core.noise import Noise

from .letters import LIMIT, text

SOURCE: Row = ("source", "text")
TARGET: Row = ("target", "text")
ROWS: tuple[Row, ...] = (("source", "null"), ("target", "null"), ("target", "null"), SOURCE, TARGET, TARGET)
SITE = Site("cross", "up", 0, 2, 0)
ALWAYS = Window.of([3, 2, 1], 0, 1)


def moment(t: float = 3, rows: tuple[Row, ...] = ROWS, latent: tuple[int, int] = (4, 6)) -> Now:
    times = torch.full((len(rows),), t, dtype=torch.float64)
    return Now(times, times, rows, latent)


def random(*shape: int, seed: int = 1) -> Tensor:
    return Noise(seed, shape[0]).like(torch.empty(shape, dtype=torch.float64))


def maps(rows: int = len(ROWS), tokens: int = LIMIT) -> Tensor:
    """Of two heads on the 2 x 3 places of a 4 x 6 latent at stride 2."""
    return random(rows, 2, 6, tokens).softmax(-1)


def inject(kind: str, source: str, *targets: str, window: Window = ALWAYS) -> Inject:
    made = align(kind, text(source), text(*targets))  # pyright: ignore[reportArgumentType]
    return Inject((TARGET, SOURCE), made, torch.ones(len(targets), LIMIT), window)


def test_windows_hold_shares_of_the_steps() -> None:
    times = [9, 8, 7, 6, 5]
    held = {
        share: [t for t in times if Window.of(times, *share).at(t)]
        for share in ((0, 0.4), (0.2, 0.8), (0.3, 0.3))
    }
    assert held == {(0, 0.4): [9, 8], (0.2, 0.8): [8, 7, 6], (0.3, 0.3): []}
    hundred = list(range(100, 0, -1))
    assert sum(float(Window.of(hundred, 0, 0.29).at(t)) for t in hundred) == 29  # 0.29 * 100 is 28.999...


def test_equal_prompts_give_the_sources_maps_bit_for_bit() -> None:
    before = maps()
    for kind in ("replace", "refine", "reweight"):
        after = inject(kind, "a cat", "a cat", "a cat")(SITE, before, moment())
        assert torch.equal(after[4:], before[[3, 3]])
        assert torch.equal(after[:4], before[:4])  # the source, and all nulls, keep theirs


def test_each_target_follows_its_own_source_where_there_are_as_many() -> None:
    rows = (SOURCE, SOURCE, TARGET, TARGET)
    before = maps(4)
    edit = Inject(
        (TARGET, SOURCE), align("refine", text("a", "b"), text("a", "b")), torch.ones(2, LIMIT), ALWAYS
    )
    assert torch.equal(edit(SITE, before, moment(rows=rows))[2:], before[:2])


def test_new_words_keep_their_own_maps_and_nothing_is_renormalised() -> None:
    before = maps()
    after = inject("refine", "a c", "a b c", "a c")(SITE, before, moment())
    assert torch.equal(after[4, ..., 2], before[4, ..., 2])
    assert torch.equal(after[4, ..., 3], before[3, ..., 2])
    assert not torch.allclose(after[4].sum(-1), torch.ones(()).double())


def test_factors_scale_columns_and_windows_leave_them() -> None:
    before = maps()
    factors = torch.ones(2, LIMIT)
    factors[1, 2] = -2
    window = ALWAYS.replaced(
        torch.eye(LIMIT)[[5, 5]], Window.of([3, 2, 1], 0.4, 1)
    )  # token 5 waits for t = 2
    edit = Inject((TARGET, SOURCE), align("reweight", text("a c"), text("a c", "a c")), factors, window)
    after = edit(SITE, before, moment())
    torch.testing.assert_close(after[5, ..., 2], -2 * before[3, ..., 2])
    assert torch.equal(after[4, ..., 2], before[3, ..., 2])
    assert torch.equal(after[5, ..., 5], before[5, ..., 5])
    assert torch.equal(edit(SITE, before, moment(2))[4:, ..., 5], before[[3, 3]][..., 5])


def test_rows_that_nobody_named_keep_theirs() -> None:
    before = maps(2)
    assert inject("refine", "a", "b")(SITE, before, moment(rows=(SOURCE, SOURCE))) is before
    follow = Borrow(lambda site: True, "qk", [(TARGET, SOURCE)], ALWAYS)
    assert torch.equal(follow(before, moment(rows=(SOURCE, SOURCE))), before)


def test_an_edit_keeps_the_graph() -> None:
    before = maps().requires_grad_()
    (grad,) = torch.autograd.grad(
        inject("refine", "a c", "a b c", "a c")(SITE, before, moment())[4].sum(), before
    )
    assert grad[3].any()
    assert grad[4].any()


def test_borrowed_queries_and_keys_give_the_sources_maps() -> None:
    q, k, v = (random(6, 2, 6, 4, seed=seed) for seed in (1, 2, 3))
    site = Site("self", "up", 0, 2, 0)
    control = Edits(borrow=[Borrow(lambda site: site.kind == "self", "qk", [(TARGET, SOURCE)], ALWAYS)])
    assert control.wants(site)
    assert not control.wants(SITE)
    heads = control.attend(site, q, k, v, moment())
    attention = (q @ k.transpose(-1, -2) / 2).softmax(-1)
    torch.testing.assert_close(heads[4:], attention[[3, 3]] @ v[4:])
    torch.testing.assert_close(heads[:4], attention[:4] @ v[:4])
    later = control.attend(site, q, k, v, moment(0))  # the window is shut
    torch.testing.assert_close(later, attention @ v)


def test_features_are_borrowed_too() -> None:
    h = random(6, 3, 2, 2)
    control = Edits(
        features=[Borrow(lambda site: True, "", [(("target", "null"), SOURCE), (TARGET, SOURCE)], ALWAYS)]
    )
    assert torch.equal(control.feature(SITE, h, moment()), h[[0, 3, 3, 3, 3, 3]])


def test_maps_are_recorded_as_edited_and_nothing_else_changes() -> None:
    q, k, v = random(6, 2, 6, 4), random(6, 2, LIMIT, 4, seed=2), random(6, 2, LIMIT, 4, seed=3)
    record, edit = Record((SOURCE, TARGET)), inject("replace", "a cat", "a dog", "a cat")
    control = Edits(maps=[edit, record])
    assert control.wants(SITE)
    heads = control.attend(SITE, q, k, v, moment())
    edited = edit(SITE, (q @ k.transpose(-1, -2) / 2).softmax(-1), moment())
    torch.testing.assert_close(heads, edited @ v)
    kept = record.maps(TARGET, text("a dog", "a cat"))
    expected = edited[4:].mean(1).transpose(1, 2).reshape(2, LIMIT, 2, 3).float()
    torch.testing.assert_close(kept.strides[2], expected)
    torch.testing.assert_close(kept["dog"][0, 0], expected[0, 2:5].sum(0))
    assert not kept["dog"][1].any()
    with pytest.raises(InputError, match="'tiger' is in none"):
        kept["tiger"]


def test_a_record_averages_heads_sites_and_calls_and_joins_strides() -> None:
    record = Record((SOURCE,))
    fine = Site("cross", "down", 0, 1, 0)
    first, second = (torch.full((1, heads, 24, LIMIT), value) for heads, value in ((2, 1.0), (4, 4.0)))
    for site, given in ((fine, first), (fine, second), (SITE, torch.full((1, 1, 6, LIMIT), 5.0))):
        assert record.wants(site)
        record(site, given, moment(rows=(SOURCE,)))
    torch.testing.assert_close(record.at(SOURCE, 1), torch.full((1, LIMIT, 4, 6), 3.0))
    torch.testing.assert_close(record.maps(SOURCE, text("a"))["a"], torch.full((1, 1, 4, 6), 4.0))


def test_a_record_settles_on_the_coarsest_stride_allowed() -> None:
    record = Record((SOURCE,), blocks=("down", "up"))
    sites = [Site("cross", "up", 0, stride, 0) for stride in (1, 2, 4)] + [Site("cross", "mid", 0, 8, 0)]
    assert record.settle(sites, 3) == 2
    assert record.wants(Site("cross", "up", 0, 2, 0))
    assert not record.wants(Site("cross", "up", 0, 1, 0))
    with pytest.raises(InputError, match="no maps at a stride of 0 or less; it has them at 1, 2, 4"):
        record.settle(sites, 0)


def test_maps_are_resized() -> None:
    ramp = torch.arange(4.0).reshape(1, 1, 2, 2)
    assert resized(ramp, (2, 2)) is ramp
    assert resized(ramp, (4, 6)).shape == (1, 1, 4, 6)


# LocalBlend: one source and one target on 4 x 4 latents, whose maps (8 x 8 latent at stride 2) hold one spot each.


def blend(
    source: tuple[int, int], target: tuple[int, int], said: str = "a|b", start: float = 0.0
) -> LocalBlend:
    seen = torch.zeros(2, 1, 16, LIMIT)
    for row, (y, x) in enumerate((source, target)):
        seen[row, 0, 4 * y + x, 1] = 1.0  # the first word
        seen[row, 0, 5, 2] = 1.0  # the second word, at (1, 1)
    record = Record((SOURCE, TARGET))
    record(SITE, seen, moment(rows=(SOURCE, TARGET), latent=(8, 8)))
    words, without = places(read_regions("blend", said), text("a c"), text("b c"))
    window = Window.of([3, 2, 1], start, 1)
    return LocalBlend(record, SOURCE, TARGET, record.settle([SITE], 2), words, without, 0.3, 0.3, window)


def spots(mask: Tensor) -> set[tuple[int, int]]:
    return {(y, x) for y, x in mask[0].nonzero().tolist()}


def test_a_blend_keeps_the_source_but_at_either_words_place() -> None:
    local = blend((0, 0), (3, 3))
    mask = local.mask((4, 4))
    around_source = {(y, x) for y in (0, 1) for x in (0, 1)}  # 3 x 3 around each spot
    around_target = {(y, x) for y in (2, 3) for x in (2, 3)}
    assert spots(mask[0]) == around_source
    assert spots(mask[1]) == around_source | around_target
    x = random(2, 4, 8, 8)
    blended = local(x, 3)
    inside = local.mask((8, 8))[1].expand(4, 8, 8) > 0
    assert torch.equal(blended[0], x[0])
    assert torch.equal(blended[1][inside], x[1][inside])
    assert torch.equal(blended[1][~inside], x[0][~inside])


def test_a_blend_takes_places_off_again_and_waits_for_its_start() -> None:
    mask = blend((0, 0), (3, 3), "a -c | b -c").mask((4, 4))
    assert (1, 1) not in spots(mask[1])  # taken off without growing
    assert (0, 0) in spots(mask[1])
    late, x = blend((0, 0), (3, 3), start=0.4), random(2, 4, 8, 8)
    assert late(x, 3) is x
    assert not torch.equal(late(x, 2), x)


def test_one_region_may_serve_all_prompts_and_words_must_be_there() -> None:
    source, target = text("a c"), text("b c", "b d")
    words, without = places(read_regions("blend", "a b"), source, target)
    assert words[:, :4].tolist() == [[0, 1, 0, 0]] * 3
    assert not without.any()
    words, _ = places(read_regions("blend", "a | c | d"), source, target)
    assert words[:, :4].tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    with pytest.raises(InputError, match="'b' is in none of the prompts"):
        places(read_regions("blend", "b | b"), source, target)
    with pytest.raises(InputError, match="3 regions for 2 targets"):
        places(read_regions("blend", "a | b | c | d"), source, target)


def test_a_word_without_a_map_has_no_place() -> None:
    local = blend((0, 0), (3, 3))
    local.words[:] = 0
    assert not local.mask((4, 4)).any()


def test_an_alignment_may_live_elsewhere_and_in_another_precision() -> None:
    made = align("replace", text("a cat"), text("a tiger"))
    assert isinstance(made, Alignment)
    half = maps(2).to(torch.bfloat16)
    edit = Inject((TARGET, SOURCE), made, torch.ones(1, LIMIT), ALWAYS)
    assert edit(SITE, half, moment(rows=(SOURCE, TARGET))).dtype == torch.bfloat16
