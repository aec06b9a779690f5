"""What can be added to a checkpoint when it is loaded: LoRAs, another codec, embeddings, fewer text layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch

from scumble.core.errors import InputError
from scumble.priors._added import AddedFile
from scumble.priors._families import VAE
from scumble.priors._folder import Folder
from scumble.priors._foreign import foreign
from scumble.priors._lora import LoRA

ANONYMOUS = ("emb_params", "clip_l")  # tensors that are called after their file
# The tensors of an embedding for SDXL's two text encoders, as A1111 and ComfyUI, and as diffusers' trainer name them.
PAIRS = (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1"))
# A codec's layers of attention as diffusers called them until 0.14, and calls them.
ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
ENCODERS = ("text_encoder", "text_encoder_2")
EMBEDDED, SKIPPED = (
    ("latent", "sdxl"),
    ("latent", "sdxl", "sd3"),
)  # the families that read embeddings, and clip_skip


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

    def check(self, folder: Folder, memory: Sequence[str] = ()) -> None:
        """Raises InputError for an add-on that the family, or a memory setting, cannot take."""
        if self.embeddings and "text" in memory:
            wrong = "an embedding lives in the text encoder, which --memory text reads from the disk again, without it"
            raise folder.error(wrong, "leave --embedding or --memory text out")
        family, several = folder.family(), "text_encoder_2" in folder.parts
        if self.vae and folder.kin.parts["vae"] != VAE:
            kind = folder.kin.parts["vae"].partition(":")[2]
            raise folder.error(f"{folder.kin.title} takes no other codec than its {kind}", "leave --vae out")
        why = "its text encoder is no CLIP"
        if self.embeddings and family not in EMBEDDED:
            if several:
                why = "T5 reads its prompts, too, and embeddings are trained for CLIPs"
            raise folder.error(f"{folder.kin.title} reads no embedding: {why}", "leave --embedding out")
        if self.clip_skip and family not in SKIPPED:
            if several:
                why = "its CLIP gives one pooled vector, of the last layer"
            raise folder.error(f"{folder.kin.title} takes no clip_skip: {why}", "leave --clip-skip out")
        if self.clip_skip and family != "latent":
            layers = min(int(folder.config(part)["num_hidden_layers"]) for part in ENCODERS)
            if self.clip_skip > layers - 2:
                wrong = f"clip_skip {self.clip_skip} of {layers} layers of its text encoders leaves none"
                raise folder.error(wrong, f"take at most {layers - 2}")

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
            ids = add_embedding(each, parts)
            vectors[ids[0]] = ids
        self._skip(parts["text_encoder"], folder)
        return vectors

    def apply_to_text(self, part: str, encoder: Any, folder: Folder) -> None:
        """`apply`, to a text encoder that is loaded again. Embeddings are none of it: see `check`."""
        parts = {**dict.fromkeys((*folder.kin.optional, *folder.parts)), part: encoder}
        for lora in self.loras:
            lora.merge(parts, folder.kin.title, alone=True)
        if part == "text_encoder":
            self._skip(encoder, folder)

    def _skip(self, encoder: Any, folder: Folder) -> None:
        """Takes the last layers away. Raises InputError where none would be left."""
        if (
            not self.clip_skip or folder.family() != "latent"
        ):  # others read an earlier layer and keep the last
            return
        layers = encoder.encoder.layers
        if self.clip_skip >= len(layers):
            wrong = f"clip_skip {self.clip_skip} of {len(layers)} layers of its text encoder leaves none"
            raise folder.error(wrong, "take a smaller one")
        del layers[len(layers) - self.clip_skip :]  # the last norm still follows, as in diffusers


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
        weights = dict(_renamed(name, weight) for name, weight in weights.items())
        module.load_state_dict({name: w for name, w in weights.items() if name in wanted})
    except Exception as error:  # the converter raises anything for names it does not expect
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        wrong = f"it does not fit the model's codec ({lines[-1] if lines else type(error).__name__})"
        raise file.error(wrong, "take a VAE that was made for this kind of model") from error
    return module.to(like.device, like.dtype).eval().requires_grad_(False)


def _renamed(name: str, weight: Any) -> tuple[str, Any]:
    """A codec's tensor as diffusers calls it today: older files have other names in attention, and convolutions."""
    before, attention, rest = name.partition(".attentions.")
    block, _, rest = rest.partition(".")
    layer, _, what = rest.partition(".")
    if not attention or layer not in ATTENTION:
        return name, weight
    return f"{before}{attention}{block}.{ATTENTION[layer]}.{what}", weight.reshape(weight.shape[:2])


@torch.no_grad()
def add_embedding(file: AddedFile, parts: Mapping[str, Any]) -> list[int]:
    """Adds the word of a textual inversion (Gal et al. 2022) to the tokenizers and CLIPs. Its name is that of the
    tensor or of the file. Returns the ids of its vectors, which both tokenizers share. Raises InputError for a word
    that exists already, and for vectors of another number of CLIPs or another width.
    """
    stored, _ = file.read()
    encoders = [part for part in ENCODERS if part in parts]
    word, tables = _embedding(file, stored, len(encoders))
    found: list[list[int]] = []
    for part, vectors in zip(encoders, tables, strict=True):
        tokenizer, encoder = parts[part.replace("text_encoder", "tokenizer")], parts[part]
        table = encoder.get_input_embeddings().weight
        if vectors.shape[1] != table.shape[1]:
            wrong = f"its vectors have {vectors.shape[1]} numbers, and the model's have {table.shape[1]}"
            raise file.error(wrong, "it was made for another kind of model")
        words = [word, *(f"{word}_{i}" for i in range(1, len(vectors)))]
        if not word.strip() or any(each in tokenizer.get_vocab() for each in words):
            raise file.error(f"the model knows the word {word!r} already", "rename the file")
        tokenizer.add_tokens(words)
        ids: list[int] = tokenizer.convert_tokens_to_ids(words)
        encoder.resize_token_embeddings(max(len(tokenizer), len(table)), mean_resizing=False)
        table = encoder.get_input_embeddings().weight
        table[ids] = vectors.to(table)
        table.requires_grad_(False)
        _pool_at_the_end(encoder, tokenizer)
        found.append(ids)
    if any(ids != found[0] for ids in found):
        raise file.error("the model's two tokenizers number words differently", "leave the embedding out")
    return found[0]


def _pool_at_the_end(encoder: Any, tokenizer: Any) -> None:
    """Published configs name 2 as the id of the end, for which transformers pools at the largest id of a row: it is the
    end's no more where words were added behind it.
    """
    for module in encoder.modules():
        if getattr(module, "eos_token_id", None) == 2:
            module.eos_token_id = tokenizer.eos_token_id


def _embedding(file: AddedFile, stored: Mapping[str, Any], encoders: int) -> tuple[str, list[Any]]:
    """The word of a textual inversion, and its vectors (n, width) for each text encoder."""
    pair = next((names for names in PAIRS if set(names) <= set(stored)), None)
    if pair and encoders == 1:
        raise file.error("it was made for SDXL's two text encoders, and the model has one", "leave it out")
    if pair:
        tables = [stored[name].reshape(-1, stored[name].shape[-1]) for name in pair]
        if len(tables[0]) != len(tables[1]):
            raise file.error("it has other numbers of vectors for its two text encoders", "download it again")
        return file.file.stem, tables
    name = next((each for each in ANONYMOUS if each in stored), next(iter(stored), ""))
    vectors = stored.get(name)
    if vectors is None or vectors.ndim > 2 or (len(stored) > 1 and name not in ANONYMOUS):
        what = foreign(stored) or "it is none"
        raise file.error(
            f"a textual inversion was expected, but {what.partition(';')[0]}", "name its .safetensors file"
        )
    if encoders > 1:
        wrong = "it was made for one text encoder, and the model has two (clip_l and clip_g)"
        raise file.error(wrong, "take an embedding for SDXL")
    return file.file.stem if name in ANONYMOUS else name, [vectors.reshape(-1, vectors.shape[-1])]
