"""CLIP's vocabulary, which a single-file checkpoint lacks: 1.5 MB that all Stable Diffusions share."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from scumble.core.errors import MachineError
from scumble.priors._folder import TOKENIZERS
from scumble.priors._single_file import SingleFile
from scumble.priors._told import told

logger = logging.getLogger("scumble")

CLIP = "openai/clip-vit-large-patch14"  # its authors' own; Stable Diffusion 2's OpenCLIP uses the same
SOURCES = {CLIP: "", "stable-diffusion-v1-5/stable-diffusion-v1-5": "tokenizer/"}
FILES = TOKENIZERS[1]


def read_tokenizer(file: SingleFile) -> Any:
    """The file's CLIPTokenizer. Raises MachineError where there is no vocabulary and no network."""
    from transformers import CLIPTokenizer

    folder = vocabulary(file)
    own = folder == _beside(file) and (folder / "tokenizer_config.json").is_file()
    settings = {} if own else file.json(file.path / "tokenizer/tokenizer_config.json")
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True, **settings)


def vocabulary(file: SingleFile) -> Path:
    """A folder with the vocabulary: tokenizer/ beside the file, else the hub's cache, else fetched into it."""
    from huggingface_hub import constants, errors, hf_hub_download, try_to_load_from_cache

    beside = _beside(file)
    if any(all((beside / name).is_file() for name in names) for names in TOKENIZERS):
        return beside
    for source, folder in SOURCES.items():
        cached = [try_to_load_from_cache(source, folder + name) for name in FILES]
        if all(isinstance(path, str) for path in cached):
            return Path(str(cached[0])).parent
    absent = MachineError(
        f"model '{file.name}': a single file has no vocabulary, and CLIP's is not in the cache; go online "
        f"once (1.5 MB), or copy the folder tokenizer/ of any Stable Diffusion to {beside}."
    )
    if file.offline or constants.HF_HUB_OFFLINE:
        raise absent
    logger.warning("downloading the vocabulary of CLIP (1.5 MB, by OpenAI, MIT) from %s, once", CLIP)
    with told(CLIP):
        try:
            paths = [Path(hf_hub_download(CLIP, name)) for name in FILES]
        except errors.LocalEntryNotFoundError as error:  # the hub is out of reach
            raise absent from error
    return paths[0].parent


def _beside(file: SingleFile) -> Path:
    return file.file.parent / "tokenizer"
