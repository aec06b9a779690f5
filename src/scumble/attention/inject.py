"""What attention controls do: rows follow other rows, in their maps or in queries, keys and values.

Only the sites that an edit wants are changed. If none needs the maps, attention stays fused.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from scumble.attention.words import Alignment
from scumble.core.control import Now, Row, Site, listed, wanted
from scumble.core.errors import InputError
from scumble.core.grids import portion

Sites = Callable[[Site], bool]
Follow = tuple[Row, Row]
"""(the rows that follow, the rows they follow: one each, or one that all share)."""


@dataclass(frozen=True, eq=False)
class Window:
    """Open at the times from `first` down to `last`, inclusive; per token if they are tensors (K, L)."""

    first: Tensor
    last: Tensor

    @classmethod
    def of(cls, times: Sequence[float], start: float, end: float) -> "Window":
        """The shares [start, end) of descending times: those at int(start n) .. int(end n) - 1."""
        n = len(times)
        chosen = times[portion(n, start) : portion(n, end)]
        ends = (chosen[0], chosen[-1]) if chosen else (-math.inf, math.inf)
        return cls(*(torch.tensor(t, dtype=torch.float64) for t in ends))

    def at(self, t: float) -> Tensor:
        """1 where it is open at time t, else 0."""
        return ((self.last <= t) & (t <= self.first)).float()

    def replaced(self, where: Tensor, other: "Window") -> "Window":
        """The other window at the tokens `where` (K, L)."""
        return Window(
            torch.where(where > 0, other.first, self.first), torch.where(where > 0, other.last, self.last)
        )


def _time(now: Now) -> float:
    return float(now.t[0])


@runtime_checkable
class MapEdit(Protocol):
    """Reads or changes the maps (rows, heads, query tokens, key tokens) of the sites it wants."""

    def wants(self, site: Site) -> bool: ...

    def open(self, now: Now) -> bool:
        """Whether there is anything to do at this moment."""
        ...

    def __call__(self, site: Site, maps: Tensor, now: Now) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Inject:
    """Cross attention of targets from their sources (Hertz et al. 2022, eq. in section 3.2):

    M <- g E + (1 - g) M,  E[n] = factor[n] (sum_w S[w] matrix[w, n] + own[n] M[n]); not renormalised.

    `factors` (K, L); `window` per token.
    """

    follow: Follow
    alignment: Alignment
    factors: Tensor
    window: Window

    def wants(self, site: Site) -> bool:
        return site.kind == "cross"

    def open(self, now: Now) -> bool:
        return bool(self.window.at(_time(now)).any())

    def __call__(self, site: Site, maps: Tensor, now: Now) -> Tensor:
        targets, sources = _rows(self.follow, now)
        if not targets:
            return maps

        def per_head(x: Tensor) -> Tensor:  # (K, L) -> (K, 1, 1, L)
            return x.to(maps)[:, None, None]

        theirs, matrix = maps[targets], self.alignment.matrix.to(maps)[:, None]
        edited = per_head(self.factors) * (maps[sources] @ matrix + per_head(self.alignment.own) * theirs)
        gate = per_head(self.window.at(_time(now)).expand(self.factors.shape))
        changed = torch.where(gate > 0, edited, theirs)
        return maps.index_copy(0, torch.tensor(targets, device=maps.device), changed)


@dataclass(frozen=True, eq=False)
class Borrow:
    """At the sites, rows use `what` of q, k, v from the rows that they follow.

    With q and k, self-attention has the maps of the followed rows, without computing maps. In joint attention the
    picture's tokens alone are used so: with the text's, the edit drifts to the source (arXiv:2508.07519). `called`:
    the name in the error for a network without such a site; unnamed, the network may have none.
    """

    sites: Sites
    what: str
    follows: Sequence[Follow]
    window: Window
    called: str = ""

    def wants(self, site: Site) -> bool:
        return self.sites(site)

    def open(self, now: Now) -> bool:
        return bool(self.window.at(_time(now)))

    def __call__(self, x: Tensor, now: Now) -> Tensor:
        """x (rows, ...) with the rows that follow replaced."""
        taken = list(range(len(x)))
        for follow in self.follows:
            for target, source in zip(*_rows(follow, now), strict=True):
                taken[target] = source
        return x[taken]

    def joint(self, x: Tensor, now: Now) -> Tensor:
        """x (rows, heads, tokens, d) of a joint layer, the text's tokens as they were."""
        assert now.text is not None
        taken = self(x, now)
        taken[:, :, now.text] = x[:, :, now.text]
        return taken


class Edits:
    """An attention control made of edits: queries, keys and values are replaced first, then maps are edited."""

    def __init__(
        self, *, maps: Sequence[MapEdit] = (), borrow: Sequence[Borrow] = (), features: Sequence[Borrow] = ()
    ):
        self._maps, self._borrow, self._features = maps, borrow, features

    def wants(self, site: Site) -> bool:
        return any(edit.wants(site) for edit in (*self._maps, *self._borrow, *self._features))

    def check(self, sites: Collection[Site]) -> None:
        """Raises InputError where the network has no site that a named edit wants, or none that any edit wants."""
        for edit in (*self._borrow, *self._features):
            if edit.called and not any(edit.wants(site) for site in sites):
                raise InputError(f"{edit.called}: not in this network, which has {listed(sites)}")
        wanted(self, sites)

    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor, now: Now) -> Tensor:
        named = {"q": q, "k": k, "v": v}
        for edit in self._borrow:
            if edit.wants(site) and edit.open(now):
                replaced = edit.joint if site.kind == "joint" else edit
                named |= {name: replaced(named[name], now) for name in edit.what}
        q, k, v = named["q"], named["k"], named["v"].to(q.dtype)
        edits = [edit for edit in self._maps if edit.wants(site) and edit.open(now)]
        if site.kind == "joint":
            for edit in edits:  # none changes maps here
                edit(site, _to_text(q, k, site, now), now)
        if site.kind == "joint":
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen(now))
        if not edits:
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)
        maps = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        for edit in edits:
            maps = edit(site, maps, now)
        return maps @ v

    def feature(self, site: Site, h: Tensor, now: Now) -> Tensor:
        for edit in self._features:
            if edit.wants(site) and edit.open(now):
                h = edit(h, now)
        return h


def seen(now: Now) -> Tensor | None:
    """`now.mask` as a fused kernel takes it, (rows, 1, 1, tokens)."""
    return None if now.mask is None else now.mask[:, None, None]


def _to_text(q: Tensor, k: Tensor, site: Site, now: Now) -> Tensor:
    """What the picture's tokens give to the text's (rows, heads, picture, text) in a joint layer; head by head, because
    the maps of all tokens are large. Tokens that pad the picture are left out.
    """
    assert now.text is not None
    ours = torch.ones(q.shape[2], dtype=torch.bool, device=q.device)
    ours[now.text] = False
    ours = ours.nonzero()[: math.prod(site.grid(now.latent)), 0]
    heads: list[Tensor] = []
    for head in range(q.shape[1]):
        logits = q[:, head, ours] @ k[:, head].transpose(-1, -2) / math.sqrt(q.shape[-1])
        if now.mask is not None:
            logits = logits.masked_fill(~now.mask[:, None], -math.inf)
        heads.append(logits.softmax(-1)[..., now.text])
    return torch.stack(heads, 1)


def _rows(follow: Follow, now: Now) -> tuple[list[int], list[int]]:
    """The numbers of the rows that follow, and of the row that each of them follows."""
    targets, sources = (now.find(row) for row in follow)
    return targets, sources * len(targets) if len(sources) == 1 else sources[: len(targets)]
