"""PatchNCE by its definition, and what CDS asks of a prior."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.methods.cds import CDS
from scumble.scores.cds import SAME_PLACE, CDSScore, patch_nce

from .common import finite, normal, picture


def features(b: int = 2, seed: int = 0) -> torch.Tensor:
    return normalize(normal(b, 3, 4, 5, seed=seed).flatten(2), dim=1)


def test_patch_nce_is_its_definition() -> None:
    """-log exp(f_i g_i / T) / (exp(f_i g_i / T) + sum over j of exp(f_i g_j / T)), j = i counting as -10."""
    f, g, T = features(), features(seed=7), 0.5
    at = torch.stack([torch.tensor([3, 0, 11, 19]), torch.tensor([5, 2, 1, 7])])
    ours = patch_nce(f, g, at, T)
    for b in range(2):
        expected = []
        for i in at[b]:
            like = {int(j): float(f[b, :, i] @ g[b, :, j]) for j in at[b]}
            others = sum(math.exp((SAME_PLACE if j == int(i) else s) / T) for j, s in like.items())
            expected.append(math.log(math.exp(like[int(i)] / T) + others) - like[int(i)] / T)
        assert float(ours[b]) == pytest.approx(sum(expected) / 4)


def test_every_picture_has_its_own_loss() -> None:
    f, g, at = features(), features(seed=7), Noise(0, 2).orders(20, 2)[:, :6]
    together = patch_nce(f, g, at, 0.07)
    for i in range(2):
        rows = slice(i, i + 1)
        torch.testing.assert_close(together[rows], patch_nce(f[rows], g[rows], at[rows], 0.07))


def test_the_loss_is_least_where_places_agree_and_its_gradient_leads_there() -> None:
    f, at = features(), torch.arange(20).expand(2, -1)
    alike, apart = patch_nce(f, f, at, 0.07), patch_nce(f, f.roll(1, dims=2), at, 0.07)
    assert bool((alike < apart).all())
    g = features(seed=7).requires_grad_()
    loss = patch_nce(f, g, at, 0.07).sum()
    (grad,) = torch.autograd.grad(loss, g)
    assert float(patch_nce(f, normalize(g - 0.05 * grad, dim=1), at, 0.07).sum()) < float(loss)


def test_cds_needs_attention() -> None:
    prior, x = finite(), picture(1, 4, 4)
    texts = {"source": prior.embed(["red"]), "target": prior.embed(["blue"]), "null": prior.embed([""])}
    score = CDSScore(prior, contrast=1.0, reference=x, guidance=1.0, **texts)
    with pytest.raises(InputError, match="no attention sites; use one with attention"):
        score(x, torch.tensor([300]), Noise(0))


@pytest.mark.parametrize("sizes", ["", "0", "1,", "1;2", "two"])
def test_patch_sizes_are_numbers(sizes: str) -> None:
    with pytest.raises(InputError, match="patch_sizes: .*such as '1,2'"):
        CDS(patch_sizes=sizes)
