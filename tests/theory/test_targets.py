"""One picture with K targets: every method asks about the source once, and each target gets its own edit."""

from typing import Any

import pytest
import torch

from scumble.core.request import EditRequest
from scumble.methods import get

from .common import finite, picture

RUNS: dict[str, dict[str, Any]] = {
    "pds": {"steps": 3, "guidance": 7.5},
    "ids": {"steps": 3},
    "nfsd": {"steps": 3, "bad": "green"},
    "sbp": {"steps": 4, "good": "", "bad": ""},
    "edit_friendly": {"steps": 6, "guidance": 4.0},
    "flowedit": {"steps": 6, "guidance": 4.0, "n_min": 1, "n_avg": 2},
}
SHARED = {"pds", "ids", "edit_friendly", "flowedit"}  # these ask about the source too


@pytest.mark.parametrize("name", RUNS)
def test_each_target_is_edited_as_it_would_be_alone(name: str) -> None:
    prior, x, method = finite(), picture(1, 4, 4, seed=9), get(name)(**RUNS[name])
    targets = ["blue", "red", "green dot"]
    together = method(prior, EditRequest(image=x, source="red", target=targets, seed=4))
    for k, target in enumerate(targets):
        alone = method(prior, EditRequest(image=x, source="red", target=target, seed=4))
        torch.testing.assert_close(together.latent[k : k + 1], alone.latent)
        if name in SHARED:
            assert together.evaluations < alone.evaluations
