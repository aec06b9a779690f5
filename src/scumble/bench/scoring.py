"""The scores in a row: those of its picture, or of a refused edit without a picture."""

from __future__ import annotations

from dataclasses import asdict

from scumble.measuring.judge import Judged, Known, judge

VERDICTS = ("found", "done", "success", "joint")


def scores(judged: Judged, back: float | None, apart: float | None) -> dict[str, object]:
    """The scores of `Judged`, and

    back: PSNR to the source of the result edited back, dB. apart: RMS difference to the first seed's result, 8-bit
    steps.
    """
    verdicts = {"done": judged.done, "success": judged.success, "joint": judged.joint}
    found = {**asdict(judged), **verdicts, "back": back, "apart": apart}
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in found.items()}


def unmade(known: Known, kind: str) -> dict[str, object]:
    """The scores of a refused edit: it fails every score that it could have passed, and nothing is measured.

    A no-op asks for nothing, so it does not fail. The unchanged source cannot replace the missing picture: it
    preserves everything, and would be a perfect no-op.
    """
    could = scores(judge(known, known.source, known.source), None, None)
    fails = {name for name in VERDICTS if could[name] is not None and kind != "noop"}
    return {name: False if name in fails else None for name in could}
