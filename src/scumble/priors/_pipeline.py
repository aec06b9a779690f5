"""The configs of a loaded pipeline's parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plain(config: Any) -> Mapping[str, Any]:
    """A module's config: diffusers' is a mapping, transformers' is not."""
    return config.to_dict() if hasattr(config, "to_dict") else config


def config(scheduler: Any) -> dict[str, Any]:
    """A live scheduler's config; only one that came from a file says its class."""
    return {**scheduler.config, "_class_name": type(scheduler).__name__}
