"""CLIP's vocabulary, which a single-file checkpoint lacks and which all Stable Diffusions share: it is packaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scumble.priors._folder import TOKENIZERS
from scumble.priors._single_file import CONFIGS, SingleFile

MERGES = CONFIGS / "clip/merges.txt"  # the byte pairs, in order; see LICENSE beside it


def read_tokenizer(file: SingleFile, name: str = "tokenizer") -> Any:
    """The file's CLIPTokenizer: of the folder of that name beside it where there is one, else the packaged one.

    Its padding and length are always those of the file's kind: Stable Diffusion 1 and 2 share CLIP's pieces and
    pad differently, which moves the embeddings. Raises InputError for a vocabulary larger than the file's.
    """
    from transformers import CLIPTokenizer

    clip: Any = CLIPTokenizer
    settings = file.json(file.path / name / "tokenizer_config.json")
    settings = {key: settings[key] for key in ("model_max_length", "pad_token") if key in settings}
    beside = file.file.parent / name
    if any(all((beside / each).is_file() for each in names) for names in TOKENIZERS):
        tokenizer = clip.from_pretrained(beside, local_files_only=True, **settings)
    else:
        tokenizer = clip(**packaged(MERGES), **settings)
    known: int = file.config(name.replace("tokenizer", "text_encoder")).get("vocab_size", 49408)
    if len(tokenizer) > known:
        wrong = f"the {name}/ next to it has {len(tokenizer)} tokens, and its text encoder knows {known}"
        raise file.error(wrong, "move that folder away; it belongs to another model")
    return tokenizer


def packaged(merges: Path) -> dict[str, Any]:
    """CLIP's `vocab` and `merges` from its list of merges: every byte, every byte that ends a word, then each
    merge is a piece, in this order (Radford et al. 2021).
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]  # stand for themselves
    others = [256 + i for i in range(256 - len(printable))]
    letters = [chr(code) for code in [*printable, *others]]
    pairs = [tuple(line.split()) for line in merges.read_text(encoding="utf-8").splitlines()]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *(first + last for first, last in pairs)]
    ends = ["<|startoftext|>", "<|endoftext|>"]
    return {"vocab": {piece: i for i, piece in enumerate([*pieces, *ends])}, "merges": pairs}
