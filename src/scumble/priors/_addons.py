"""What can be added to a checkpoint when it is loaded: LoRAs, another codec, embeddings, fewer text layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from scumble.core.errors import InputError
from scumble.priors._added import AddedFile
from scumble.priors._folder import Folder
from scumble.priors._foreign import foreign
from scumble.priors._lora import LoRA

ANONYMOUS = ("emb_params", "clip_l")  # tensors that are called after their file


@dataclass(frozen=True)
class Addons:
    """In the order in which they are applied."""

    loras: Sequence[LoRA] = ()
    vae: AddedFile | None = None
    embeddings: Sequence[AddedFile] = ()
    clip_skip: int = 0

    @classmethod
    def parse(cls, lora: Sequence[str], vae: str | None, embedding: Sequence[str], clip_skip: int) -> Self:
        """Raises InputError for files that are not there and numbers below 0."""
        lora, embedding = ((each,) if isinstance(each, str) else each for each in (lora, embedding))
        if clip_skip < 0:
            raise InputError(f"clip_skip: {clip_skip}; give 0 (none) or more layers to leave out")
        return cls(
            [LoRA.parse(spec) for spec in lora],
            AddedFile.named("vae", str(vae)) if vae else None,
            [AddedFile.named("embedding", str(path)) for path in embedding],
            clip_skip,
        )

    def __bool__(self) -> bool:
        return bool(self.loras or self.vae or self.embeddings or self.clip_skip)

    @property
    def digests(self) -> list[str]:
        """A line for each, for the hash of the model."""
        files = [self.vae, *self.embeddings] if self.vae else self.embeddings
        lines = [f"{lora.sha256} {lora.weight}" for lora in self.loras]
        lines += [
            f"{each.what} {each.file.stem if each.what == 'embedding' else ''} {each.sha256}"
            for each in files
            if each
        ]
        return [*lines, *([f"clip skip {self.clip_skip}"] if self.clip_skip else [])]

    @property
    def passport(self) -> dict[str, Any]:
        """How `Prior.loaded` describes them: LoRAs always, the others only if there are any."""
        said: dict[str, Any] = {"lora": [each.passport for each in self.loras]}
        if self.vae:
            said["vae"] = self.vae.passport
        if self.embeddings:
            said["embedding"] = [each.passport for each in self.embeddings]
        return said | ({"clip_skip": self.clip_skip} if self.clip_skip else {})

    def check(self, folder: Folder) -> None:
        """Raises InputError for an add-on that is read for Stable Diffusion 1.x / 2.x alone."""
        if folder.family() == "latent":
            return
        for name, given in {"embedding": self.embeddings, "clip_skip": self.clip_skip}.items():
            if given:
                raise folder.error(
                    f"{name} is not read for {folder.kin.title} yet (its text is read by several encoders)",
                    f"leave --{name.replace('_', '-')} out",
                )

    def apply(self, parts: dict[str, Any], folder: Folder) -> dict[int, list[int]]:
        """Change the components in place; the ids of each embedding's word and of all its vectors come back.

        Raises InputError for a file that is of another kind, or made for another model.
        """
        for lora in self.loras:
            lora.merge(parts, folder.kin.title)
        if self.vae:
            parts["vae"] = load_codec(self.vae, parts["vae"])
        vectors: dict[int, list[int]] = {}
        for each in self.embeddings:
            ids = add_embedding(each, parts["tokenizer"], parts["text_encoder"])
            vectors[ids[0]] = ids
        if not self.clip_skip:
            return vectors
        layers = parts["text_encoder"].encoder.layers
        if self.clip_skip >= len(layers):
            wrong = f"clip_skip {self.clip_skip} of {len(layers)} layers of its text encoder leaves none"
            raise folder.error(wrong, "take a smaller one")
        del layers[len(layers) - self.clip_skip :]  # the last norm still follows, as in diffusers
        return vectors


def load_codec(file: AddedFile, like: Any) -> Any:
    """An AutoencoderKL with the file's weights, in diffusers' or the original names; everything else as in `like`."""
    from diffusers.loaders import single_file_utils
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    convert: Any = single_file_utils
    stored, _ = file.read()
    names = {name.removeprefix("first_stage_model.") for name in stored}
    if not any(name.startswith("encoder.conv_in.") for name in names):
        what = foreign(names) or "it is no VAE"
        raise file.error(
            f"a VAE was expected, but {what.partition(';')[0]}", "name the VAE that belongs to the checkpoint"
        )
    codec: Any = AutoencoderKL
    module: Any = codec.from_config(dict(like.config))
    wanted = set(module.state_dict())
    try:
        original = not any(name.startswith("encoder.down_blocks.") for name in names)
        weights: dict[str, Any] = (
            convert.convert_ldm_vae_checkpoint(stored, module.config) if original else stored
        )
        module.load_state_dict({name: w for name, w in weights.items() if name in wanted})
    except Exception as error:  # the converter raises anything for names it does not expect
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        wrong = f"it does not fit the model's codec ({lines[-1] if lines else type(error).__name__})"
        raise file.error(wrong, "take a VAE that was made for this kind of model") from error
    return module.to(like.device, like.dtype).eval().requires_grad_(False)


@torch.no_grad()
def add_embedding(file: AddedFile, tokenizer: Any, encoder: Any) -> list[int]:
    """Adds the word of a textual inversion (Gal et al. 2022) to tokenizer and encoder. Its name is that of the tensor
    or of the file. Returns the ids of its vectors. Raises InputError for a word that exists already.
    """
    stored, _ = file.read()
    name = next((each for each in ANONYMOUS if each in stored), next(iter(stored), ""))
    vectors = stored.get(name)
    if vectors is None or vectors.ndim > 2 or (len(stored) > 1 and name not in ANONYMOUS):
        what = foreign(stored) or "it is none"
        raise file.error(
            f"a textual inversion was expected, but {what.partition(';')[0]}", "name its .safetensors file"
        )
    vectors, table = vectors.reshape(-1, vectors.shape[-1]), encoder.get_input_embeddings().weight
    if vectors.shape[1] != table.shape[1]:
        wrong = f"its vectors have {vectors.shape[1]} numbers, and the model's have {table.shape[1]}"
        raise file.error(wrong, "it was made for another kind of model")
    word = file.file.stem if name in ANONYMOUS else name
    words = [word, *(f"{word}_{i}" for i in range(1, len(vectors)))]
    if not word.strip() or any(each in tokenizer.get_vocab() for each in words):
        raise file.error(f"the model knows the word {word!r} already", "rename the file")
    tokenizer.add_tokens(words)
    ids: list[int] = tokenizer.convert_tokens_to_ids(words)
    encoder.resize_token_embeddings(max(len(tokenizer), len(table)), mean_resizing=False)
    table = encoder.get_input_embeddings().weight
    table[ids] = vectors.to(table)
    table.requires_grad_(False)
    return ids
