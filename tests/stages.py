"""Tiny super-resolution stages for tests."""

from pathlib import Path

import torch
from torch import nn

from scumble.networks.sr3 import SR3Config, SR3Network, save

TINY = SR3Config(widths=(8, 8), blocks=1, level_width=16)


def random_stage(folder: Path) -> Path:
    """Write a stage whose weights are random in every layer, so that all it hears matters; returns its folder."""
    torch.manual_seed(0)
    network = SR3Network(TINY)
    for p in network.parameters():
        nn.init.normal_(p, std=0.1)
    save(folder, network, noised=0.3)
    return folder
