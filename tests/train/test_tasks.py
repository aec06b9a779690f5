"""Templates of tasks against captions."""

import pytest

from scumble.core.errors import InputError
from scumble.networks.editor import Task
from scumble.train.tasks import Match, Matcher

WORDS = {"colour": ["red", "blue", "dark red"], "shape": ["circle", "star"]}


def matcher(*tasks: tuple[str, str]) -> Matcher:
    return Matcher([Task(name=f"t{k}", source=a, target=b) for k, (a, b) in enumerate(tasks)], WORDS)


def test_what_is_found_is_replaced_and_the_rest_stays() -> None:
    found = matcher(("cat", "lion"), ("{colour} {shape}", "blue {shape}"), ("{shape}", "star"))
    assert found("A photo of a cat on the grass") == [Match(0, "A photo of a lion on the grass")]
    assert found("a large dark red circle on the left") == [
        Match(1, "a large blue circle on the left"),
        Match(2, "a large dark red star on the left"),
    ]


def test_only_whole_words_are_found() -> None:
    assert matcher(("cat", "lion"))("a category of catnip") == []


def test_a_caption_that_shows_the_target_already_fits_nothing() -> None:
    assert matcher(("{shape}", "star"))("a red STAR") == []


def test_a_slot_without_words_is_any_word() -> None:
    assert matcher(("a {thing} on", "a dog on"))("a cat, a bird on a tree") == [
        Match(0, "a cat, a dog on a tree")
    ]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            ("{shape}", "{colour} star"),
            r"task t0: the target uses \{colour\}, which the source does not have",
        ),
        (("{shap}", "{shape}"), r"uses \{shape\} \(did you mean 'shap'\?\)"),
        (("  ", "x"), "its source template is empty"),
        (("{a} {a}", "x"), "a slot appears twice"),
    ],
)
def test_bad_templates_are_named(task: tuple[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        matcher(task)
