"""One golden case: what its JSON says, its tensors, and the comparison that its own tolerances allow."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

ROUNDED = {"update_loop_guidance7_5": 5e-4, "finetune_full_chain": 3e-5, "finetune_full_chain.losses": 1e-4}
"""Bounds relative to the largest value, where another processor or number of threads missed the case's own.

This gradient of PDS is a difference of latents divided by a small sigma, and most digits cancel: it is off by 1.7e-5 of
0.9 here, with and without AVX-512, and was off by 3.0e-4 on another processor. No other gradient came nearer to its
own bound than a sixth of it. DiffusionCLIP's gradient through its whole chain is off by 4.4e-5 of 3.1 without AVX-512.
Its losses after Adam's first step are off by 7.7e-5 of 2.8 in one thread, and by less than 7e-6 in two: that step moves
every weight by the same length, so where a gradient is as small as its rounding, the rounding decides the direction.
"""
ROOT = Path(os.environ.get("SCUMBLE_GOLDENS") or Path(__file__).parents[1] / "goldens")


def find() -> list[Path]:
    """Every case under the folder of goldens, by the rule <method>/<case>.json beside <case>.safetensors."""
    return sorted(p for p in ROOT.glob("*/*.json") if p.with_suffix(".safetensors").is_file())


class Case:
    def __init__(self, path: Path):
        self.path = path
        self.json: dict[str, Any] = json.loads(path.read_text())
        self.method: str = self.json["method"]
        self.hyper: dict[str, Any] = self.json["hyper_parameters"]
        self.tensors = load_file(path.with_suffix(".safetensors"))
        self._seen: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> Tensor:
        """A tensor to work with."""
        self._seen.add(name)
        return self.tensors[name]

    def get(self, name: str) -> Tensor | None:
        """A tensor that not every case has."""
        if name not in self.tensors:
            return None
        return self[name]

    def unused(self, *names: str) -> None:
        """Recorded, but nothing the authors' code makes use of."""
        self._seen.update(names)

    def prompts(self, *names: str) -> list[str]:
        """The prompts under the first of these names; none of them means the null prompt."""
        given: Mapping[str, Any] = self.json["prompts"]
        texts = next((given[name] for name in names if name in given), "")
        return [texts] if isinstance(texts, str) else list(texts)

    def close(self, name: str, ours: Tensor, atol: float | None = None) -> None:
        """Fails where ours is further from the recorded tensor than the case allows."""
        if name in self.json.get("pruned", ()):  # left out here to save room
            return
        recorded = self[name].double()
        ours = ours.detach().double()
        assert ours.shape == recorded.shape, f"{name}: {tuple(ours.shape)}, recorded {tuple(recorded.shape)}"
        allowed = self.tolerance(name) if atol is None else atol
        difference = float((ours - recorded).abs().max())
        assert difference <= allowed, f"{name}: off by {difference:.2e}, allowed {allowed:.2e}"

    def tolerance(self, name: str) -> float:
        """The case's suggested bound for a tensor, else ten times the difference it has measured."""
        stated = self.json["tolerance"]
        for suggested in ("suggested_atol_per_tensor", "suggested_atol_per_tensor_when_run_in_float32"):
            if name in stated.get(suggested, {}):
                return stated[suggested][name]
        verified = self.json.get("verified", {})
        measured = [
            stated.get("rederivation_float32_max_abs_diff"),
            verified.get("float32_max_abs_difference"),
        ]
        found = [10 * m[name] for m in measured if isinstance(m, Mapping) and name in m]
        found += [10 * stated[key] for key in (name, f"{name}_max_abs") if key in stated]
        assert found, f"{self.path.name} states no tolerance for {name}"
        return max(found)

    def rounded(self, name: str) -> float:
        """The case's own bound for a tensor, or the one relative to its size in `ROUNDED` where that is larger."""
        case = self.path.stem
        share = ROUNDED.get(f"{case}.{name}", ROUNDED.get(case, 0.0))
        return max(self.tolerance(name), share * float(self[name].abs().max()))

    def all_compared(self) -> None:
        """Fails where a check has passed over something the authors' code put out."""
        outputs = {name for name, about in self.json["tensors"].items() if about.get("role") != "input"}
        missed = outputs & set(self.tensors) - self._seen
        assert not missed, f"nothing was compared with {sorted(missed)}"


def same(ours: Tensor, recorded: Tensor, what: str) -> None:
    """For what must be equal to the last bit: grids, token ids."""
    assert torch.equal(ours.to(recorded.dtype), recorded), f"{what}: {ours} != {recorded}"
