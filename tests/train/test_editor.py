"""Training editors: recipes, data, exact resume, several processes, what is written, and what is refused."""

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import scumble
from scumble.core.atomic import claimed
from scumble.core.errors import InputError, MachineError
from scumble.core.noise import Noise
from scumble.editing import loading
from scumble.editing.apply import LoadedEditor, recipes
from scumble.editing.recipe import Recipe
from scumble.networks.editor import Editor, EditorConfig, Task, probe_picture, warmed
from scumble.train import editor as training
from scumble.train.editor import EditorRun, train_editor
from scumble.train.editor_data import examples
from scumble.train.editor_loss import draw, guidance, identity, rate
from scumble.train.editor_recipe import EditorRecipe, Loss, Training, read

RECIPE = """
name: small
words: {{colour: [red, blue, green], shape: [circle, star]}}
tasks:
  - {{name: blue, source: "{{colour}} {{shape}}", target: "blue {{shape}}"}}
  - {{name: star, source: "{{shape}}", target: star}}
data: {{folder: pictures, held_out: 2}}
network: {{widths: [8, 8], attention: [false, true], head: 8, groups: 4}}
loss: {{warm_up: 4, identity_steps: 4}}
training: {{steps: {steps}, batch: 2, log_every: 1, save_every: 100, grid_every: 100, rate_warm_up: 2}}
"""


@pytest.fixture(scope="module")
def prior(model: scumble.Prior) -> scumble.Prior:
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe and six captioned pictures, one of which fits no task."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    said = ["a red circle", "a green circle", "a red star", "a green star", "a blue circle", "a cat"]
    rows: list[str] = []
    for k, text in enumerate(said):
        Image.new("RGB", (64, 64), (40 * k, 255 - 30 * k, 90)).save(pictures / f"{k}.png")
        rows.append(json.dumps({"file_name": f"{k}.png", "text": text}))
    (pictures / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    write(tmp_path)
    return tmp_path


def write(folder: Path, steps: int = 6) -> EditorRecipe:
    (folder / "recipe.yaml").write_text(RECIPE.format(steps=steps))
    return read(folder / "recipe.yaml")


def losses(log: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (log / "editor.jsonl").read_text().splitlines()]


# Recipes and schedules -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tasks: 3", "tasks: 3 is not a list"),
        ("name: x", "tasks: none"),
        ("task: []", r"recipe: there is no 'task' \(did you mean 'tasks'\?\)"),
        ("tasks: [{name: a, source: b}]", "tasks 1: target is missing"),
        ("tasks: [{name: a, source: b, target: c}]", "data: nothing given"),
        (
            "tasks: [{name: a, source: b, target: c}]\ndata: {folder: a, parquet: b}",
            "folder and parquet given",
        ),
        (
            "tasks: [{name: a, source: b, target: c}]\ntraining: {stesp: 3}",
            r"no 'stesp' \(did you mean 'steps'",
        ),
        (
            "tasks: [{name: a, source: b, target: c}]\ntraining: {steps: many}",
            "training: steps: 'many' is not a whole",
        ),
        ("loss: {guidance: [1]}", r"loss: guidance: \[1\] needs 2 values"),
        ("tasks: [{name: a, source: b, target: c}]\nreverse: {a: z}", "reverse: there is no task 'z'"),
        (
            "tasks: [{name: a, source: b, target: c}]\ndata: {folder: a}\nloss: {score: ddz}",
            "score: 'ddz' must be",
        ),
        *(
            (f"tasks: [{{name: a, source: b, target: c}}]\ndata: {{folder: x}}\n{said}", message)
            for said, message in [
                ("training: {seed: -1}", "training: seed: -1 is out of its range; choose 0 to"),
                (f"training: {{seed: {2**70}}}", "training: seed: .* is out of its range"),
                ("training: {rate: .nan}", "training: rate: nan is out of its range"),
                ("training: {decay: -1}", "training: decay: -1.0 is out of its range"),
                ("training: {precision: fp16}", "training: precision: 'fp16' must be one of auto, float32"),
                ("loss: {guidance: [1, .nan]}", "loss: guidance: nan is out of its range"),
                ("size: -8", "size: -8 is out of its range"),
                ("network: {head: 0}", "network: head: 0 is out of its range"),
                ("network: {groups: 0}", "network: groups: 0 is out of its range"),
                ("network: {text: true}\nloss: {cycle: 1}\nreverse: {a: a}", "reads prompts .* leave one"),
            ]
        ),
        (
            "tasks: [{name: a, source: b, target: c}]\ndata: {folder: x, held_out: -5}",
            "data: held_out: -5 is out of its range",
        ),
        (
            "tasks: [{name: a, source: b, target: c}]\ndata: {scenes: {objects: 7}}",
            "data: scenes: objects: 7 is out of its range; choose 1 to 3",
        ),
        (
            "tasks: [{name: a, source: 'b {1a}', target: c}]\ndata: {folder: x}",
            "task a: the slot {1a} begins with a digit; give it another name",
        ),
        ("- 3", "recipe: .* is not a list of keys and values"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_recipe_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        read(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_recipes_are_read(path: Path) -> None:
    recipe = read(path)
    assert recipe.tasks
    assert recipe.name == path.stem or recipe.name == f"{path.stem}-editor"


def test_guidance_rises_and_the_identity_term_falls() -> None:
    loss = Loss(guidance=(1, 5), warm_up=100, identity=(3, 1), identity_steps=100)
    assert [guidance(loss, k) for k in (0, 50, 100, 500)] == [1, 3, 5, 5]
    assert [identity(loss, k) for k in (0, 50, 100, 500)] == pytest.approx([3, 2, 1, 1])
    recipe = EditorRecipe(
        tasks=(Task(name="a", source="b", target="c"),),
        data=replace(EditorRecipe.__dataclass_fields__["data"].default_factory(), folder="x"),  # type: ignore[misc]
        training=Training(steps=100, rate=1.0, rate_warm_up=10, cool_down=0.2),
    )
    assert [rate(recipe, k) for k in (0, 9, 50, 80, 90, 99)] == pytest.approx([0.1, 1, 1, 1, 0.5, 0.05])


# The network ---------------------------------------------------------------------------------------------


def small(prior: Any, tasks: int = 2, **config: Any) -> Editor:
    shape = {"widths": (8, 8), "attention": (False, True), "head": 8, "groups": 4}
    with torch.no_grad():
        probe = prior.encode(probe_picture())
    named = tuple(Task(name=f"t{k}", source="a", target="b") for k in range(tasks))
    return Editor(
        EditorConfig(channels=probe.shape[1], **(shape | config)), named, probe=probe, about={"prior": "tiny"}
    )


def test_an_untrained_editor_changes_nothing_and_odd_sides_fit(prior: Any) -> None:
    editor = small(prior)
    z = Noise(3, 2).like(torch.empty(2, editor.config.channels, 5, 7))
    assert torch.equal(editor(z, torch.tensor([0, 1])), z)


def test_strength_scales_the_change(prior: Any) -> None:
    editor = small(prior)
    torch.nn.init.normal_(editor.unet.conv_out.weight, std=0.1)
    z = Noise(3, 2).like(torch.empty(2, editor.config.channels, 8, 8))
    whole, half = (editor(z, torch.tensor([0, 1]), s) - z for s in (1.0, torch.tensor([0.5, 0.5])))
    assert float(whole.abs().sum()) > 0
    torch.testing.assert_close(half, whole / 2)
    assert not torch.equal(*editor(z[:1].expand(2, -1, -1, -1), torch.tensor([0, 1])).unbind())


def test_an_editor_is_its_folder(prior: Any, tmp_path: Path) -> None:
    editor = small(prior).half().float()
    editor.save(tmp_path / "it")
    again = Editor.from_folder(tmp_path / "it")
    assert (again.hash, again.config, again.tasks, again.about) == (
        editor.hash, editor.config, editor.tasks, editor.about,
    )  # fmt: skip
    assert not any(p.requires_grad for p in again.parameters())
    (tmp_path / "it/editor.safetensors").unlink()
    with pytest.raises(InputError, match="editor.safetensors is missing"):
        Editor.from_folder(tmp_path / "it")


def test_another_codec_is_refused(prior: Any) -> None:
    editor = small(prior)
    editor.check(prior)
    editor.probe.mul_(-1)  # type: ignore[operator]
    editor._checked.clear()
    with pytest.raises(InputError, match="made for the latents of tiny, and the codec of .* is another one"):
        editor.check(prior)


def test_it_can_start_from_the_priors_own_network(prior: Any) -> None:
    widths = [w for name, w in prior.parameters("denoiser").items() if name.endswith("conv_in.weight")]
    editor = small(prior, widths=(widths[0].shape[0],) * 2, groups=4, head=8)
    before = editor.unet.conv_in.weight.clone()
    assert warmed(editor, prior) > 0
    assert not torch.equal(before, editor.unet.conv_in.weight)
    z = Noise(3, 1).like(torch.empty(1, editor.config.channels, 8, 8))
    assert torch.equal(editor(z, torch.tensor([0])), z)  # still the identity


# Training ------------------------------------------------------------------------------------------------


def test_training_writes_an_editor_that_edits(folder: Path, prior: Any) -> None:
    recipe = read(folder / "recipe.yaml")
    out = train_editor(recipe, folder / "out", folder=folder, prior=prior)
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "config.json",
        "editor.safetensors",
        "samples.png",
    }
    rows = [json.loads(line) for line in (folder / "out.log/editor.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["guidance"] for row in rows] == [1, 2, 3, 4, 5, 5]
    assert sorted(path.name for path in (folder / "out.log/grids").iterdir()) == ["000006.png"]
    editor = Editor.from_folder(out)
    assert editor.about["unfit"] == 1
    made = scumble.edit(
        folder / "pictures/0.png",
        method="editor",
        given={"editor": editor},
        settings={"task": "star"},
        model=prior,
    )
    assert made.evaluations == 0
    assert made.picture is not None


def test_a_killed_run_gives_the_same_losses(folder: Path, prior: Any) -> None:
    recipe = read(folder / "recipe.yaml")
    train_editor(recipe, folder / "whole", folder=folder, prior=prior)

    class Killed(Exception):
        pass

    def kill(step: int) -> None:
        if step == 4:
            raise Killed

    first = replace(recipe, training=replace(recipe.training, save_every=2))
    logs = folder / "cut.log"
    logs.mkdir()
    data = examples(first, prior, folder)
    from accelerate import Accelerator

    with pytest.raises(Killed):
        EditorRun(first, prior, data, logs, Accelerator(cpu=True)).train(on_step=kill)
    torch.manual_seed(99)  # whatever the next process does first
    train_editor(first, folder / "cut", folder=folder, prior=prior)
    assert losses(logs) == losses(folder / "whole.log")
    a, b = (Editor.from_folder(folder / name).state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_interrupting_saves(folder: Path, prior: Any) -> None:
    from accelerate import Accelerator

    recipe = read(folder / "recipe.yaml")

    def stop(step: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    run = EditorRun(recipe, prior, examples(recipe, prior, folder), folder, Accelerator(cpu=True))
    with pytest.raises(KeyboardInterrupt):
        run.train(on_step=stop)
    assert EditorRun(recipe, prior, examples(recipe, prior, folder), folder, Accelerator(cpu=True)).step == 3


def test_a_run_can_be_prolonged_and_cooled_down_early(folder: Path, prior: Any) -> None:
    recipe = read(folder / "recipe.yaml")
    two, five = (replace(recipe, training=replace(recipe.training, steps=steps)) for steps in (2, 5))
    for wanted in (two, five):
        train_editor(wanted, folder / "out", folder=folder, prior=prior)
    assert len(losses(folder / "out.log")) == 5
    with pytest.raises(InputError, match="steps: 2; this run has taken 5 already"):
        train_editor(two, folder / "out", folder=folder, prior=prior)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_precision_is_the_networks_and_float32_the_priors_too(
    precision: str, folder: Path, prior: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.state import AcceleratorState

    asked: list[str] = []
    AcceleratorState._reset_state(reset_partial_state=True)  # one process has one precision

    def load(how: Any) -> Any:
        asked.append(how.dtype)
        return prior

    monkeypatch.setattr(loading, "load", load)
    recipe = read(folder / "recipe.yaml")
    recipe = replace(recipe, training=replace(recipe.training, precision=precision, steps=2))
    train_editor(recipe, folder / "out", folder=folder)
    assert asked == ["float32" if precision == "float32" else "auto"]
    assert all(math.isfinite(loss) for loss in losses(folder / "out.log"))
    AcceleratorState._reset_state(reset_partial_state=True)


def test_draws_belong_to_their_place_in_the_global_batch(folder: Path, prior: Any) -> None:
    recipe = read(folder / "recipe.yaml")
    data = examples(recipe, prior, folder)
    together, apart = (
        draw(data, recipe, 5, range(4)),
        [draw(data, recipe, 5, range(k, k + 2)) for k in (0, 2)],
    )
    assert together.target == apart[0].target + apart[1].target
    assert torch.equal(together.t, torch.cat([each.t for each in apart]))
    noise = together.noise.like(together.z)
    assert torch.equal(noise, torch.cat([each.noise.like(each.z) for each in apart]))
    assert draw(data, recipe, 6, range(4)).t.tolist() != together.t.tolist()


def test_accumulated_batches_are_one(folder: Path, prior: Any) -> None:
    """Two batches of two pictures in a step, or one of four: the same losses and weights."""
    recipe = read(folder / "recipe.yaml")
    for name, batch, accumulate in (("one", 4, 1), ("two", 2, 2)):
        said = replace(recipe.training, steps=4, batch=batch, accumulate=accumulate, precision="float32")
        train_editor(replace(recipe, training=said), folder / name, folder=folder, prior=prior)
    one, two = (torch.tensor(losses(folder / f"{name}.log")) for name in ("one", "two"))
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)
    assert one.unique().numel() > 1
    made = [torch.load(folder / f"{name}.log" / "editor.resume.pt")["model"] for name in ("one", "two")]
    for key, value in made[0].items():
        torch.testing.assert_close(made[1][key], value, rtol=1e-3, atol=2e-4, msg=key)


def test_tensorboard_gets_every_logged_step(folder: Path, prior: Any) -> None:
    events: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    recipe = read(folder / "recipe.yaml")
    said = replace(recipe.training, trackers=("tensorboard",))
    train_editor(replace(recipe, training=said), folder / "out", folder=folder, prior=prior)
    (file,) = (folder / "out.log").rglob("events.out.tfevents*")
    known = events.EventAccumulator(str(file))
    known.Reload()
    assert [event.value for event in known.Scalars("loss")] == pytest.approx(
        losses(folder / "out.log"), abs=1e-6
    )
    assert [event.step for event in known.Scalars("guidance")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("ready", "message"),
    [
        (True, r"trackers: there is no 'tensorbord' \(did you mean 'tensorboard'\?\)"),
        (False, r"trackers: tensorboard is not installed: pip install 'scumble\[train\]'"),
    ],
)
def test_a_tracker_that_cannot_track_is_named(
    ready: bool, message: str, folder: Path, prior: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    said = replace(
        read(folder / "recipe.yaml"), training=Training(trackers=("tensorbord" if ready else "tensorboard",))
    )
    with pytest.raises(InputError, match=message):
        train_editor(said, folder / "out", folder=folder, prior=prior)
    assert not (folder / "out.log").exists()


WORKER = """
import sys
from pathlib import Path
from scumble.train.editor import train_editor
from scumble.train.editor_recipe import read
folder = Path(sys.argv[1])
train_editor(read(folder / "recipe.yaml"), folder / sys.argv[2], folder=folder)
"""


@pytest.mark.slow
def test_two_processes_are_one(folder: Path, pristine: Path) -> None:
    """At the same global batch: two processes of one picture, or one of two."""
    said = RECIPE.format(steps=4).replace("name: small", f"name: small\nprior: {pristine}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, size, batch in (("one", 1, 2), ("two", 2, 1)):
        (folder / "recipe.yaml").write_text(said.replace("batch: 2", f"batch: {batch}, precision: float32"))
        started: list[Any] = []
        for rank in range(size):
            ranks = {
                "RANK": rank,
                "LOCAL_RANK": rank,
                "WORLD_SIZE": size,
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
            told = {key: str(value) for key, value in ranks.items()} if size > 1 else {}
            env = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", **told}
            started.append(subprocess.Popen([sys.executable, "-c", WORKER, str(folder), name], env=env))
        assert [process.wait(timeout=240) for process in started] == [0] * size
    torch.testing.assert_close(
        torch.tensor(losses(folder / "two.log")),
        torch.tensor(losses(folder / "one.log")),
        rtol=1e-3,
        atol=1e-5,
    )


@pytest.mark.parametrize("loss", [{"score": "sds"}, {"score": "pds"}, {"cycle": 1.0}, {"own": 1.0}])
def test_other_losses_train(loss: dict[str, Any], folder: Path, prior: Any) -> None:
    recipe = read(folder / "recipe.yaml")
    reverse = {"star": "star"} if "cycle" in loss else {}
    recipe = replace(
        recipe, loss=replace(recipe.loss, **loss), reverse=reverse, training=replace(recipe.training, steps=2)
    )
    train_editor(recipe, folder / "out", folder=folder, prior=prior)
    row = json.loads((folder / "out.log/editor.jsonl").read_text().splitlines()[-1])
    assert math.isfinite(row["loss"])
    assert set(loss) - {"score"} <= set(row)


def test_an_editor_may_read_prompts_instead_of_task_numbers(folder: Path, prior: Any) -> None:
    recipe = read(folder / "recipe.yaml")
    recipe = replace(
        recipe, network=replace(recipe.network, text=True), training=replace(recipe.training, steps=2)
    )
    editor = Editor.from_folder(train_editor(recipe, folder / "out", folder=folder, prior=prior))
    given = {"editor": editor}
    scumble.edit(folder / "pictures/0.png", method="editor", given=given, target="a blue circle", model=prior)
    with pytest.raises(
        InputError, match="target: empty; this editor is told what to do by the target prompt"
    ):
        scumble.edit(folder / "pictures/0.png", method="editor", given=given, model=prior)


def test_what_shows_the_target_already_is_not_asked_to_come_back(folder: Path, prior: Any) -> None:
    """The cycle term of such a picture would ask the reverse task to keep it."""
    from accelerate import Accelerator

    recipe = write(folder)
    recipe = replace(recipe, loss=replace(recipe.loss, cycle=1.0, own=1.0), reverse={"star": "blue"})
    run = EditorRun(recipe, prior, examples(recipe, prior, folder), folder, Accelerator(cpu=True))
    z, tasks = run.data.latents[:2].float(), torch.tensor([1, 1])
    x, on = z + 1, torch.ones(2, 1, 1, 1)
    whole, first = (
        run._cycle(z, x, tasks, asked) for asked in (on, torch.tensor([1.0, 0]).reshape(2, 1, 1, 1))
    )
    assert float(whole.detach()) == pytest.approx(2 * float(first.detach()))
    assert float(run._cycle(z, x, tasks, 0 * on).detach()) == 0


def test_a_removal_has_no_target_that_a_picture_could_show(folder: Path, prior: Any) -> None:
    said = (
        (folder / "recipe.yaml")
        .read_text()
        .replace("tasks:\n", "tasks:\n  - {name: gone, source: red, target: ''}\n")
    )
    (folder / "recipe.yaml").write_text(said)
    data = examples(read(folder / "recipe.yaml"), prior, folder)
    assert {task for owns in data.owns for task in owns} == {1, 2}
    assert [1 in owns for owns in data.owns] == ["blue" in caption for caption in data.captions]


# Bad input -----------------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_recipe_is_refused(folder: Path, prior: Any) -> None:
    recipe = read(folder / "recipe.yaml")
    train_editor(recipe, folder / "out", folder=folder, prior=prior)
    other = replace(recipe, network=replace(recipe.network, widths=(16, 16)))
    with pytest.raises(InputError, match=r"began with another recipe \(changed: network\)"):
        train_editor(other, folder / "out", folder=folder, prior=prior)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(
    folder: Path, prior: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read(folder / "recipe.yaml")
    recipe = replace(recipe, training=replace(recipe.training, save_every=2))
    true = training.score

    def score(prior: Any, loss: Any, batch: Any, texts: Any, w: float) -> Callable[..., Any]:
        return true(prior, loss, batch, texts, w if w < 4 else math.nan)

    monkeypatch.setattr(training, "score", score)
    with pytest.raises(
        InputError, match="not finite at step 4; the last good checkpoint is .*Lower the rate"
    ):
        train_editor(recipe, folder / "out", folder=folder, prior=prior)
    assert torch.load(folder / "out.log/editor.resume.pt", weights_only=True)["step"] == 2


def test_a_full_disk_keeps_the_last_checkpoint(
    folder: Path, prior: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read(folder / "recipe.yaml")
    train_editor(
        replace(recipe, training=replace(recipe.training, steps=2)),
        folder / "out",
        folder=folder,
        prior=prior,
    )

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    checkpoint = folder / "out.log/editor.resume.pt"
    before = checkpoint.read_bytes()
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(MachineError, match="could not be written"):
        longer = replace(recipe, training=replace(recipe.training, steps=2, grid_every=1))
        train_editor(longer, folder / "out", folder=folder, prior=prior)
        from accelerate import Accelerator

        EditorRun(
            longer, prior, examples(longer, prior, folder), folder / "out.log", Accelerator(cpu=True)
        ).save()
    assert checkpoint.read_bytes() == before
    assert [path.name for path in (folder / "out.log").iterdir() if "part" in path.name] == []


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / "pictures/metadata.jsonl").unlink(), "metadata.jsonl: no such file"),
        (lambda f: (f / "pictures/metadata.jsonl").write_text(""), "it is empty"),
        (lambda f: (f / "pictures/metadata.jsonl").write_text("{]\n"), "line 1 is not JSON"),
        (lambda f: (f / "pictures/0.png").write_bytes(b"x"), r"1 of 6 pictures .* \(0.png\); .* --skip-bad"),
        (
            lambda f: (f / "pictures/metadata.jsonl").write_text('{"file_name": "5.png", "text": "a cat"}\n'),
            "none of 1 captions fits .* 'a cat'",
        ),
    ],
)
def test_bad_data_is_named(
    break_it: Callable[[Path], object], message: str, folder: Path, prior: Any
) -> None:
    break_it(folder)
    with pytest.raises(InputError, match=message):
        examples(read(folder / "recipe.yaml"), prior, folder)


def test_unreadable_pictures_can_be_left_out(folder: Path, prior: Any) -> None:
    (folder / "pictures/0.png").write_bytes(b"x")
    data = examples(read(folder / "recipe.yaml"), prior, folder, skip_bad=True)
    assert (len(data.captions), data.unfit) == (4, 1)


def test_pictures_of_another_shape_are_refused(folder: Path, prior: Any) -> None:
    Image.new("RGB", (64, 32)).save(folder / "pictures/1.png")
    with pytest.raises(InputError, match=r"1.png is .* on the model's canvas and others are"):
        examples(read(folder / "recipe.yaml"), prior, folder)


@pytest.mark.filterwarnings("ignore::scumble.editing.checks.DomainWarning")
def test_a_loaded_editor_guesses_no_task(folder: Path, prior: Any) -> None:
    picture = folder / "pictures/0.png"
    one, two = (LoadedEditor(small(prior, tasks=n), prior) for n in (1, 2))
    assert one(picture).provenance["settings"]["task"]["value"] == "t0"
    assert two(picture, task="t1").provenance["settings"]["task"]["value"] == "t1"
    with pytest.raises(InputError, match="task: this editor has several; choose one of t0, t1"):
        two(picture)
    with pytest.raises(InputError, match="task: 3 is not a word; this editor has t0, t1"):
        two(picture, task=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="task: 't1' is named twice; leave one of the two out"):
        recipes(two.editor, ["t1", "t0", "t1"], 1.0, Recipe(picture))


def test_a_foreign_folder_or_file_is_refused_before_anything_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read(folder / "recipe.yaml")
    for name in ("README.md", "config.json"):
        (folder / "mine").mkdir(exist_ok=True)
        (folder / "mine" / name).write_text('{"model_type": "mine"}')
    (folder / "file").write_text("mine")
    for name in ("mine", "file"):
        with pytest.raises(InputError, match="not an empty folder; choose a new one for the trained editor"):
            train_editor(recipe, folder / name, folder=folder)
        assert not (folder / f"{name}.log").exists()
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match="has no name of its own"):
        train_editor(recipe, Path(), folder=folder)
    (folder / "other.log").write_text("mine")
    with pytest.raises(InputError, match="a file is where the logs belong"):
        train_editor(recipe, folder / "other", folder=folder)
    assert (folder / "mine/README.md").read_text() == '{"model_type": "mine"}'


def test_two_trainings_do_not_write_into_one_folder(folder: Path) -> None:
    with claimed(folder / "out"), pytest.raises(InputError, match="another run is writing this now"):
        train_editor(read(folder / "recipe.yaml"), folder / "out", folder=folder)
