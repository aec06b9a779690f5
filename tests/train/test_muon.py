"""Muon's steps, and a denoiser trained by a recipe in a file with its text encoder held."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from scumble.core.errors import InputError
from scumble.train.codec import CodecRecipe, new_codec
from scumble.train.denoiser import TextToNoise, train_denoiser
from scumble.train.denoiser_recipe import DenoiserRecipe, read_recipe
from scumble.train.muon import Muon, new_optimiser, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (4, 24), (24, 4)])
def test_the_singular_values_of_a_step_are_about_one(shape: tuple[int, int]):
    """The published iteration ends between 0.68 and 1.13, not at 1 (Jordan et al. 2024)."""
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    found = torch.linalg.svdvals(orthogonal(matrices))
    assert found.min() > 0.5
    assert found.max() < 1.3
    for before, after in zip(matrices, orthogonal(matrices), strict=True):
        u, _, v = torch.linalg.svd(before, full_matrices=False)
        assert torch.nn.functional.cosine_similarity(after.flatten(), (u @ v).flatten(), dim=0) > 0.97


def test_its_matrices_step_like_torchs():
    """torch.optim.Muon, which takes matrices only, with the step's size of Liu et al."""
    drawn = torch.Generator().manual_seed(1)
    ours, theirs = (nn.Parameter(torch.ones(6, 10)) for _ in range(2))
    mine = Muon([ours], [], 1e-2, weight_decay=0.1)
    other = torch.optim.Muon([theirs], lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        ours.grad = torch.randn(6, 10, generator=drawn)
        theirs.grad = ours.grad.clone()
        mine.step()
        other.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)
    assert (ours - 1).abs().max() > 1e-2


def test_its_rest_steps_like_adamw():
    drawn = torch.Generator().manual_seed(2)
    ours, theirs = (nn.Parameter(torch.ones(7)) for _ in range(2))
    mine = Muon([], [ours], 1e-2, weight_decay=0.1)
    other = torch.optim.AdamW([theirs], lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(4):
        ours.grad = torch.randn(7, generator=drawn)
        theirs.grad = ours.grad.clone()
        mine.step()
        other.step()
    torch.testing.assert_close(ours, theirs)


def test_what_meets_the_data_and_tables_of_words_are_no_matrices():
    model = TextToNoise(DenoiserRecipe(channels=(16, 16, 16), heads=(1, 1, 1)))
    optimiser = new_optimiser("muon", list(model.named_parameters()), rate=1e-3, decay=0.0)
    matrices = {id(p) for p in optimiser.param_groups[0]["params"]}
    kinds = {name: id(p) in matrices for name, p in model.named_parameters()}
    assert kinds["unet.mid_block.resnets.0.conv1.weight"]
    assert not kinds["unet.conv_in.weight"]
    assert not kinds["unet.conv_out.weight"]
    assert not any(kinds[name] for name in kinds if "token_embedding" in name or name.endswith("bias"))
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(kinds)


@pytest.mark.slow
def test_a_recipe_in_a_file_holds_the_text_encoder(tmp_path: Path):
    said = {"channels": [16, 16, 16], "heads": [1, 1, 1], "batch": 2, "bank": 4, "first": 4, "held": True}
    said |= {"warm_up": 1, "cool_down": 1e-9}
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"world": 2, "denoiser": {"minutes": 3.0, "optimiser": "muon", **said}}))
    recipe = read_recipe(path)
    assert (recipe.minutes, recipe.channels, recipe.optimiser) == (90, (16, 16, 16), "muon")
    start = TextToNoise(DenoiserRecipe(**{**vars(recipe), "minutes": 1e-6}))
    before = {name: p.clone() for name, p in start.named_parameters()}
    torch.manual_seed(0)
    codec = new_codec(CodecRecipe(channels=(8, 8, 8, 8))).eval()
    trained = train_denoiser(
        codec, DenoiserRecipe(**{**vars(recipe), "minutes": 1e-3}), tmp_path / "log", start
    )
    moved = {name for name, p in trained.named_parameters() if not torch.equal(p, before[name])}
    assert moved
    assert all(name.startswith("unet.") for name in moved)
    row = json.loads((tmp_path / "log" / "denoiser.jsonl").read_text().splitlines()[0])
    assert "labels" not in row


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"optimizer": "muon"}', r"no 'optimizer' \(did you mean 'optimiser'\?\)"),
        ('{"optimiser": "sgd"}', "it is 'adamw' or 'muon'"),
        ('{"warm_up": 0}', "the first is 1 step or more"),
        ('{"cool_down": 0}', "the second a share above 0"),
        ('{"channel_weights": [1, 2]}', "2 weights for 8 latent channels"),
        ('{"low": "a"}', "recipe.json: low: 'a' is not a number"),
        ('{"batch": "x"}', "batch: 'x' is not a whole number"),
        ('{"batch": 0}', "batch: 0 is out of its range; choose 1 to"),
        ('{"channels": 5}', "channels: 5 is not a list"),
        ('{"channels": [8, 8]}', "they need as many values each"),
        ('{"seed": -2000}', "seed: -2000 is out of its range; choose 0 to"),
        ("[1]", "not a recipe"),
        ("{", "not a recipe"),
        (None, "not a recipe"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str | None, words: str):
    path = tmp_path / "recipe.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_recipe(path)
