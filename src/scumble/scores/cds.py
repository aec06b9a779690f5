"""Contrastive Denoising Score (Nam et al. 2024, arXiv:2311.18608): DDS that keeps the source's structure.

The self-attention features of the network's decoder represent the layout. A contrastive loss (PatchNCE, Park et al.
2020) keeps the edit's features at every place closer to the source's features at the same place than to those at other
places.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scumble.core.control import SOURCE, TARGET, Now, Row, Site
from scumble.core.noise import Noise
from scumble.core.prior import Prior
from scumble.core.types import Latent, Time
from scumble.scores.branches import Branches, Sides

SAME_PLACE = -10.0  # a place's likeness to itself, where it is looked up among the others: none


class CDSScore:
    """D + contrast d/dx sum over layers and patch sizes of PatchNCE(source features, target features).

    D is the DDS score, with guidance on both branches. The features are those of the rows with a prompt, not of the
    null rows. In every layer and size, `patches` places are drawn per picture. Costs four evaluations in two calls,
    one of them with a graph, and one backward pass. The prior needs attention.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        contrast: float,
        patches: int = 256,
        sizes: Sequence[int] = (1, 2),
        temperature: float = 0.07,
        **sides: Unpack[Sides],
    ):
        self.branches = Branches(prior, **sides)
        self._contrast, self._patches, self._temperature = contrast, patches, temperature
        self._sizes = tuple(sizes)

    def __call__(self, x: Latent, t: Time, noise: Noise) -> Latent:
        return self.under(noise.like(x), x, t, noise)

    def under(self, eps: Latent, x: Latent, t: Time, noise: Noise) -> Latent:
        """The score where source and edit are noised with eps; `noise` draws the places to compare."""
        branches, guided = self.branches, self.branches.guided
        schedule, n = branches.prior.schedule, len(branches.reference)
        at_t = {"source": schedule.mix(branches.reference, eps[:n], t[:n]), "target": schedule.mix(x, eps, t)}
        of_source, of_target = Features(SOURCE), Features(TARGET)
        with branches.prior.control(of_source):
            p = guided.ask(at_t, t, rows=[row for row in guided.rows if row != TARGET])
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            with branches.prior.control(of_target):
                p |= guided.ask({"target": schedule.mix(leaf, eps, t)}, t, rows=[TARGET])
            (structure,) = torch.autograd.grad(self._loss(of_source, of_target, x, noise), leaf)
        target, source = (
            guided.branches[role].combine(p, schedule, at) for role, at in (("target", t), ("source", t[:n]))
        )
        delta = target.eps.detach() - source.eps
        return delta + self._contrast * structure

    def _loss(self, of_source: "Features", of_target: "Features", x: Latent, noise: Noise) -> Tensor:
        """Every picture's own, added up."""
        total = x.new_zeros(len(x))
        for site, target in of_target.seen.items():
            height, width = (-(-side // site.stride) for side in x.shape[-2:])
            for size in self._sizes:
                if size > min(height, width):
                    continue
                f, g = (_pooled(h.to(x.dtype), height, width, size) for h in (of_source.seen[site], target))
                at = noise.orders(g.shape[-1], len(x))[:, : self._patches].to(x.device)
                total = total + patch_nce(f.expand_as(g), g, at, self._temperature)
        return total.sum()


def _pooled(h: Float[Tensor, "b n c"], height: int, width: int, size: int) -> Float[Tensor, "b c m"]:
    """Pools the features of all tokens to patches of size x size tokens, each of unit length."""
    grid = h.transpose(1, 2).reshape(len(h), -1, height, width)
    return torch.nn.functional.normalize(torch.nn.functional.avg_pool2d(grid, size), dim=1).flatten(2)


class Features:
    """Keeps the outputs of the decoder's self-attention layers for one named row; of a transformer, which has no
    decoder, the picture's of all layers with two streams, or of all layers if there is one stream alone.
    """

    def __init__(self, row: Row):
        self.row = row
        self.seen: dict[Site, Tensor] = {}

    def wants(self, site: Site) -> bool:
        return site.kind == "self_out" and site.block in ("up", "double", "single")

    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor, now: Now) -> Tensor:
        raise AssertionError("no attention is wanted")

    def feature(self, site: Site, h: Tensor, now: Now) -> Tensor:
        self.seen[site] = h[[i for i, row in enumerate(now.rows) if row == self.row]]
        return h


def patch_nce(
    f: Float[Tensor, "b c n"],
    g: Float[Tensor, "b c n"],
    at: Int[Tensor, "b m"],
    temperature: float,
) -> Float[Tensor, " b"]:
    """The mean cross entropy of identifying f_i by g_i among all g_j, over the places `at`, per picture.

    f and g have unit length; f is the source's and constant.
    """
    index = at[:, None].expand(-1, f.shape[1], -1)
    f, g = f.detach().gather(2, index), g.gather(2, index)
    alike = (f * g).sum(1)
    others = (f.transpose(1, 2) @ g).masked_fill(
        torch.eye(at.shape[1], dtype=torch.bool, device=f.device), SAME_PLACE
    )
    logits = torch.cat([alike[..., None], others], dim=2) / temperature
    first = torch.zeros_like(at)
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), first, reduction="none").mean(1)
