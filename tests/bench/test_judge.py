"""The scores of results that are known: the truth, the source, and what differs from them in one respect."""

from itertools import islice

import numpy as np
import pytest

from scumble.core.pixels import SAME, psnr, rms
from scumble.measuring.judge import BEST_CODEC, MARGIN, SUCCESS, Known, judge
from scumble.scenes import KINDS, edits, generator, random_edit

SIDE = 64
DRAWN = list(islice(edits("test", 3), len(KINDS)))


@pytest.mark.parametrize("edit", DRAWN, ids=KINDS)
def test_the_truth_is_right(edit):
    known = Known.of(edit, SIDE)
    for truth in known.truths:
        judged = judge(known, truth, known.source)
        assert judged.found
        if edit.kind == "noop":
            assert (judged.left, judged.success, judged.joint) == (None, None, None)
            assert judged.changed == 0
            continue
        assert (judged.left, judged.done, judged.success) == (0, True, True)
        if edit.kind == "look":  # every pixel may change: there is nothing to keep
            assert (judged.preserved, judged.joint, judged.leaked) == (None, None, None)
        else:
            assert (judged.preserved, judged.joint, judged.leaked) == (SAME, True, 0)


@pytest.mark.parametrize("edit", DRAWN, ids=KINDS)
def test_the_source_is_not(edit):
    known = Known.of(edit, SIDE)
    judged = judge(known, known.source, known.source)
    if edit.kind == "noop":
        assert judged.found
        return
    assert not judged.found
    assert judged.left == pytest.approx(1)
    assert (judged.done, judged.success) == (False, False)
    assert not judged.joint
    assert judged.leaked is None


def test_preservation_counts_only_what_had_to_stay():
    known = Known.of(random_edit(generator("validation", 0), "recolour"), SIDE)
    (truth,), (mask,) = known.truths, known.masks
    result = truth.copy()
    result[~mask] = np.clip(result[~mask].astype(int) + np.where(result[~mask] > 127, -10, 10), 0, 255)
    judged = judge(known, result)
    assert judged.preserved == pytest.approx(20 * np.log10(255 / 10))
    diluted = psnr(np.where(mask[..., None], 0, result), np.where(mask[..., None], 0, known.source))
    assert diluted > judged.preserved  # a picture with its mask blacked out would look better kept
    worse = result.copy()
    worse[mask] = 255 - worse[mask]
    assert judge(known, worse).preserved == judged.preserved
    assert judged.left == 0
    change = np.square(truth.astype(float) - known.source).sum()
    assert judged.leaked == pytest.approx((~mask).sum() * 300 / (change + (~mask).sum() * 300))


def test_half_done_is_not_done():
    known = Known.of(random_edit(generator("validation", 1), "background"), SIDE)
    (truth,) = known.truths
    for share, done in ((0.49, True), (0.51, False)):
        blend = truth + share * (known.source.astype(float) - truth)
        judged = judge(known, np.rint(blend).astype(np.uint8))
        assert judged.left == pytest.approx(share**2, abs=0.01)
        assert judged.done == done == (judged.left <= SUCCESS)


def test_an_added_object_may_stand_at_any_free_place():
    edit = next(
        e for e in (random_edit(generator("test", i), "add") for i in range(99)) if len(e.targets) > 2
    )
    known = Known.of(edit, SIDE)
    for truth in known.truths:
        assert judge(known, truth).success


def test_the_joint_score_allows_what_the_codec_loses_and_a_little_more():
    known = Known.of(random_edit(generator("validation", 2), "recolour"), SIDE)
    (truth,), (mask,) = known.truths, known.masks

    def off(picture, db):
        """The picture with its kept part so far from the source's."""
        step = round(255 / 10 ** (db / 20))
        moved = picture.astype(int) + np.where(picture > 127, -step, step)
        return np.where(mask[..., None], picture, moved).astype(np.uint8)

    codec = off(known.source, 30)
    assert judge(known, off(truth, 30 - MARGIN + 1), codec).joint
    assert not judge(known, off(truth, 30 - MARGIN - 1), codec).joint
    assert judge(known, off(truth, BEST_CODEC - MARGIN + 1), known.source).joint
    assert not judge(known, off(truth, BEST_CODEC - MARGIN - 2), known.source).joint


def test_what_cannot_be_told_is_none():
    source = np.full((16, 16, 3), 100, np.uint8)
    bare = judge(Known(source=source), source + 5)
    assert (bare.found, bare.left, bare.preserved, bare.codec, bare.leaked, bare.changed) == (None,) * 5 + (
        5,
    )
    assert (bare.done, bare.success, bare.joint) == (None, None, None)
    mask = np.zeros((16, 16), bool)
    mask[:8] = True
    masked = judge(Known(source=source, masks=(mask,)), source + 5, source)
    assert masked.preserved == pytest.approx(20 * np.log10(255 / 5))
    assert (masked.codec, masked.leaked) == (SAME, 0.5)


def test_distances():
    a = np.zeros((2, 2, 3), np.uint8)
    assert (psnr(a, a), rms(a, a)) == (SAME, 0)
    assert rms(a, a + 255) == 255
    assert psnr(a, a + 255) == 0
    assert (
        psnr(np.zeros(10**6, np.uint8), np.eye(1, 10**6, dtype=np.uint8)[0]) == SAME
    )  # nearly equal: the same
