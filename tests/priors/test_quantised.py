"""Matrices in 8 and 4 bits, and the memory that weights take before they are loaded."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from scumble.core import machine
from scumble.core.errors import InputError, MachineError
from scumble.priors._estimate import SETTINGS, amount, at_once, estimate, lines
from scumble.priors._folder import Folder
from scumble.priors._quantised import BLOCK, BYTES, QuantisedLinear, levels, quantise
from scumble.priors._single_file import SingleFile
from scumble.priors.load import load_prior

from .families import MAKERS, flux, save


def linear(bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(128, 24, bias=bias).requires_grad_(False)


@pytest.mark.parametrize("bits", [8, 4])
def test_no_number_is_off_by_more_than_half_a_step(bits: int) -> None:
    exact, found = linear().weight, QuantisedLinear(linear(), bits).weight
    scale = exact.unflatten(-1, (-1, BLOCK)).abs().amax(-1, keepdim=True)
    error = (exact - found).unflatten(-1, (-1, BLOCK)).abs() / scale
    assert float(error.max()) <= float(levels(bits).diff().max()) / 2 + 1e-6
    assert float(error.max()) > 0


def test_four_bits_have_the_published_levels() -> None:
    """Dettmers et al. 2023, appendix E."""
    published = (
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
        -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
        0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    )  # fmt: skip
    torch.testing.assert_close(levels(4), torch.tensor(published), rtol=0, atol=1e-6)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("bias", [True, False])
def test_product_and_gradient_are_those_of_the_matrix(bits: int, bias: bool) -> None:
    layer = QuantisedLinear(linear(bias), bits)
    x = torch.randn(2, 5, 128, generator=torch.Generator().manual_seed(1))
    gradients: list[Tensor] = []
    for product in (layer, lambda x: nn.functional.linear(x, layer.weight, layer.bias)):
        each = x.clone().requires_grad_()
        out = product(each)
        out.square().sum().backward()
        assert each.grad is not None
        gradients += [out.detach(), each.grad]
    torch.testing.assert_close(gradients[:2], gradients[2:])


@pytest.mark.parametrize("bits", [8, 4])
def test_a_row_of_zeros_stays_zero(bits: int) -> None:
    layer = linear()
    layer.weight[3] = 0
    assert not bool(QuantisedLinear(layer, bits).weight[3].any())


@pytest.mark.parametrize("bits", [8, 4])
def test_the_bytes_are_what_is_promised(bits: int) -> None:
    layer = QuantisedLinear(linear(), bits)
    size = layer.codes.nbytes + layer.scales.nbytes
    assert size == 128 * 24 * BYTES[bits]


def test_first_and_last_layers_stay() -> None:
    torch.manual_seed(0)
    block = nn.ModuleDict(
        {"in": nn.Linear(64, 64), "blocks": nn.ModuleList([nn.ModuleDict({"a": nn.Linear(64, 8)})])}
    )
    quantise(block, 8)
    assert isinstance(block["in"], nn.Linear)
    assert isinstance(block.get_submodule("blocks.0.a"), QuantisedLinear)


# Models


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FLUX of width 64, which is a block."""
    return save(flux(num_attention_heads=4), tmp_path_factory.mktemp("wide") / "flux")


def load(folder: Path, **options: Any) -> Any:
    return load_prior(str(folder), device="cpu", **options)


@torch.no_grad()
def predicted(prior: Any) -> Tensor:
    z = torch.randn(1, 16, 16, 24, generator=torch.Generator().manual_seed(0))
    return prior.predict(z, prior.schedule.time(500, 1), prior.embed(["a cat"])).x0


@pytest.mark.parametrize(("name", "error"), [("8bit", 0.01), ("4bit", 0.15)])
def test_a_quantised_model(name: str, error: float, wide: Path) -> None:
    exact, ours = predicted(load(wide)), load(wide, memory=name)
    found = predicted(ours)
    assert 0 < float((found - exact).norm() / exact.norm()) < error
    assert torch.equal(predicted(load(wide, memory=(name, "offload"))), found)
    assert ours.loaded["memory"] == [name]
    assert "gradient" in ours.card.capabilities
    with pytest.raises(InputError, match="the weights of .* are quantised"), ours.tuning():
        pass


def test_a_lora_is_added_before(wide: Path, tmp_path: Path) -> None:
    layer = "transformer.single_transformer_blocks.0.proj_mlp"
    g = torch.Generator().manual_seed(2)
    tensors = {
        f"{layer}.lora_A.weight": torch.randn(2, 64, generator=g),
        f"{layer}.lora_B.weight": torch.randn(256, 2, generator=g),
    }
    save_file(tensors, tmp_path / "a.safetensors")
    lora = [str(tmp_path / "a.safetensors")]
    exact, found = predicted(load(wide, lora=lora)), predicted(load(wide, lora=lora, memory="8bit"))
    assert float((found - exact).norm() / exact.norm()) < 0.01
    assert float((predicted(load(wide)) - exact).norm() / exact.norm()) > 0.02


@pytest.mark.parametrize("pair", [("8bit", "4bit"), ("4bit", "sequential"), ("8bit", "sequential")])
def test_settings_that_exclude_each_other(pair: tuple[str, str], wide: Path) -> None:
    with pytest.raises(InputError, match="exclude each other"):
        load(wide, memory=pair)


# Estimates


@pytest.mark.parametrize("name", MAKERS)
def test_the_estimate_is_what_loading_takes(name: str, tmp_path: Path) -> None:
    folder = Folder.open(save(MAKERS[name](), tmp_path / name))
    halves = (torch.bfloat16, *([torch.float16] if name in ("sd3", "sdxl", "pixart") else []))
    for dtype in (torch.float32, *halves):
        prior = load(folder.path, dtype=str(dtype))
        parts = {folder.kin.network: prior._network, "vae": prior._vae, **prior._texts}
        for part, size in estimate(folder, dtype).items():
            held = {weight.data_ptr(): weight.nbytes for weight in parts[part].state_dict().values()}
            places = parts[part].state_dict().get("pos_embed.pos_embed")
            wide = 0 if places is None else places.numel() * (places.element_size() - dtype.itemsize)
            assert sum(held.values()) - wide == size  # SD3 keeps its table of places in float32
    whole = estimate(folder, torch.bfloat16)
    assert at_once(whole, ()) == sum(whole.values())
    assert at_once(whole, ("offload",)) == max(whole.values())
    assert at_once(whole, ("sequential",)) == 0


def test_the_estimate_of_a_published_model() -> None:
    """FLUX.1 by the shapes of its transformer and T5: the figures of docs/models.md."""
    from scumble.priors import _estimate

    numbers = {"transformer": 11.901e9, "text_encoder_2": 4.762e9}
    for part, number in numbers.items():
        inner, rest = _estimate._matrices({"blocks.0.a.weight": (int(number), 1)})
        assert rest == 0
        expected = {"transformer": (22.2, 11.8, 6.2), "text_encoder_2": (8.9, 4.7, 2.5)}[part]
        found = [inner * size / 2**30 for size in (2, BYTES[8], BYTES[4])]
        assert found == pytest.approx(expected, abs=0.06)


def test_a_file_is_estimated_by_its_own_parts(tmp_path: Path, wide: Path) -> None:
    from .test_original_names import original

    pipe = flux(num_attention_heads=4)
    for part in ("vae", "text_encoder", "text_encoder_2", "tokenizer_2"):
        (tmp_path / part).symlink_to(wide / part)
    save_file(original(pipe.transformer), tmp_path / "a.safetensors")
    found = estimate(SingleFile.read(tmp_path / "a.safetensors"), torch.bfloat16)
    assert found == estimate(Folder.open(wide), torch.bfloat16)


def test_what_does_not_fit_is_said_before_it_is_loaded(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scumble.priors import _estimate

    folder, device = Folder.open(wide), torch.device("cuda")
    sizes = {each: at_once(estimate(folder, torch.bfloat16, each), each) for each in ((), *SETTINGS)}
    for setting in SETTINGS:
        room = int(sizes[setting] / 0.8) + 1
        monkeypatch.setattr(machine, "free", lambda device="cpu", room=room: room)
        first = next(each for each in SETTINGS if sizes[each] < 0.8 * room)
        if sizes[()] > room:
            flags = " ".join(f"--memory {name}" for name in first)
            with pytest.raises(
                MachineError, match=f"take .* GiB on cuda, and .* GiB are free; try {flags}, or"
            ):
                _estimate.check_room(folder, torch.bfloat16, device)
    monkeypatch.setattr(machine, "free", lambda device="cpu": sizes[()])
    _estimate.check_room(folder, torch.bfloat16, device)
    monkeypatch.setattr(machine, "free", lambda device="cpu": 1)
    _estimate.check_room(folder, torch.bfloat16, torch.device("cpu"))
    with pytest.raises(MachineError, match="try --memory sequential, which is slow"):
        _estimate.check_room(folder, torch.bfloat16, device, ("offload",))


def test_the_lines_that_a_user_reads(wide: Path) -> None:
    said = dict(lines(Folder.open(wide), torch.bfloat16))
    sizes = estimate(Folder.open(wide), torch.bfloat16)
    assert said["weights"].startswith(f"{amount(sum(sizes.values()))} in bfloat16 (transformer ")
    assert f"vae {amount(sizes['vae'])}, text_encoder {amount(sizes['text_encoder'])}," in said["weights"]
    smallest = at_once(estimate(Folder.open(wide), torch.bfloat16, ("4bit", "offload")), ("offload",))
    assert f"--memory 4bit --memory offload {amount(smallest)}, of the weights" in said["with less"]
    assert [amount(size) for size in (22.16 * 2**30, 200 * 2**20, 35.4 * 2**20, 2**19)] == [
        *("22.2 GiB", "0.2 GiB", "35 MiB", "0.5 MiB")
    ]


@pytest.mark.parametrize("name", MAKERS)
def test_the_estimate_by_configs_is_that_by_files(name: str, tmp_path: Path) -> None:
    folder = Folder.open(save(MAKERS[name](), tmp_path / name))
    by_files = estimate(folder, torch.bfloat16, ("8bit",))
    for part in folder.parts:
        for file in (folder.path / part).glob("*.safetensors"):
            file.unlink()
    assert estimate(folder, torch.bfloat16, ("8bit",)) == by_files
