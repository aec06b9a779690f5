"""The libraries' progress bars and reports, switched off while components load."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def quiet() -> Generator[None]:
    """No progress bars and no reports on unused weights while components load; settings come back."""
    from diffusers.utils import logging as of_diffusers
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging as of_transformers

    logs = (of_diffusers, of_transformers)
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    hub_bars = not are_progress_bars_disabled()
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, (verbosity, bars) in zip(logs, before, strict=True):
            log.set_verbosity(verbosity)
            if bars and hub_bars:
                log.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()
