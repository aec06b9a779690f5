"""The estimate of activations, beside the bytes that are alive while tiny networks and the built-in model run."""

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scumble.core.prior import Prior
from scumble.priors._activations import activations
from scumble.priors._find import builtin
from scumble.priors._folder import Folder
from scumble.priors.load import load_prior

from .families import MAKERS, save


class Peak(TorchDispatchMode):
    """The most bytes that tensors made inside held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            storage = x.untyped_storage() if isinstance(x, torch.Tensor) else None
            if storage is None or id(storage) in self._known:
                continue
            self._known.add(id(storage))
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._gone, id(storage), storage.nbytes())
        return out

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


@torch.no_grad()
def ratios(prior: Prior, folder: Folder, size: tuple[int, int]) -> dict[str, float]:
    """The estimate of a row over what each further one was measured to take."""
    configs = {part: folder.config(part) for part in folder.parts}
    said = activations(folder.family(), configs, size)
    peaks: dict[str, list[int]] = {"network": [], "codec": []}
    for rows in (1, 1, 3):  # the first call makes what stays
        text = prior.embed(["a"] * rows, size=size)
        z = prior.encode(torch.zeros(rows, 3, *size))
        with Peak() as network:
            prior.predict(z, prior.schedule.time(500, rows), text)
        with Peak() as codec:
            prior.decode(z)
        peaks["network"].append(network.most)
        peaks["codec"].append(codec.most)
    return {part: 4 * said[part] * 2 / (three - one) for part, (_, one, three) in peaks.items()}


@pytest.mark.parametrize("name", ["sdxl", "flux"])
def test_the_estimate_of_tiny_networks(name: str, tmp_path: Path) -> None:
    folder = save(MAKERS[name](), tmp_path / name)
    found = ratios(load_prior(str(folder), device="cpu"), Folder.open(folder), (64, 96))
    assert all(0.5 < each < 2 for each in found.values()), found


def test_the_estimate_of_the_built_in_model() -> None:
    found = ratios(
        load_prior("scenes", device="cpu"), Folder(builtin("scenes"), "scenes", "scenes"), (128, 128)
    )
    assert all(0.7 < each < 1.4 for each in found.values()), found
