"""Which rewards count, how much, and rewards out of a user's own file."""

import sys
from textwrap import dedent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rewards import DEFAULT_WEIGHTS, REWARDS, find_reward, parse_weights
from tests.helpers import run_script
from vqa.errors import UserError

FOUR = {"format": 0.2, "answer": 0.4, "consistency": 0.2, "counterfactual": 0.2}


def test_default_weights():
    assert DEFAULT_WEIGHTS == FOUR and set(FOUR) <= set(REWARDS)
    assert parse_weights() == parse_weights(None, list(FOUR)) == FOUR
    parse_weights()["format"] = 1.0
    assert parse_weights() == FOUR


@pytest.mark.parametrize(
    "text",
    ["weights: '0.2,0.4,0.2,0.2'", "weights: 0.2, 0.4, .2, 2e-1", "weights: [0.2, 0.4, 0.2, 0.2]"]
    + [
        "weights: ['0.2', '0.4', '0.2', '0.2']",
        "weights: [format=.2, answer=.4, consistency=.2, counterfactual=.2]",
    ]
    + ["weights: {format: 0.2, answer: 0.4, consistency: 0.2, counterfactual: 0.2}"]
    + ["weights: format=0.2,answer=0.4, consistency = 0.2,counterfactual=0.2"],
)
def test_forms_of_weights_in_yaml(text):
    assert parse_weights(yaml.safe_load(text)["weights"]) == FOUR


def test_named_weights_choose_the_rewards_and_keep_their_order():
    config = yaml.safe_load("weights:\n  grounding: 1\n  my_rewards.py:brevity: 0.5\n  format: 0")
    assert list(parse_weights(config["weights"]).items()) == [
        ("grounding", 1.0),
        ("my_rewards.py:brevity", 0.5),
        ("format", 0.0),
    ]
    assert parse_weights(yaml.safe_load("weights: 0.5")["weights"], ["answer"]) == {"answer": 0.5}
    assert parse_weights("1,2", ["answer", "grounding"]) == {"answer": 1.0, "grounding": 2.0}
    assert parse_weights({"answer": 1, "format": 2}, ["format", "answer"]) == {"answer": 1.0, "format": 2.0}


@pytest.mark.parametrize(
    ("given", "names", "message"),
    [
        ("0.2,0.4", None, r"2 for 4 rewards \(format, answer, consistency, counterfactual\)"),
        ("0.2,0.4,0.2,0.2,0.1", None, "5 for 4 rewards"),
        ([], None, "0 for 4 rewards"),
        (0.5, None, "1 for 4 rewards"),
        ("", None, "1 for 4 rewards"),
        (None, ["answer", "mine.py:f"], "give one for each of answer, mine.py:f"),
        ("a,1,1,1", None, "format: expected a number of at least 0, not 'a'"),
        ("1,1,-1,1", None, "consistency: expected a number of at least 0, not '-1'"),
        ("nan,1,1,1", None, "format: expected a number"),
        ([1, float("inf"), 1, 1], None, "answer: expected a number"),
        ([1, True, 1, 1], None, "answer: expected a number of at least 0, not True"),
        ([1, None, 1, 1], None, "answer: expected a number of at least 0, not None"),
        ({"answer": {}}, None, "answer: expected a number"),
        ({}, None, "all are 0"),
        ("0,0,0,0", None, "all are 0"),
        ("format=1,2", None, "either all have a name"),
        ("answer=1,answer=2", None, "answer is there twice"),
        ("1,2", ["answer", "answer"], "answer is there twice"),
        ({"format": 1}, ["answer"], "for format, but the rewards are answer"),
    ],
)
def test_faulty_weights_are_one_line(given, names, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_weights(given, names)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("weights: ")


@given(st.lists(st.floats(0, 1e9), min_size=4, max_size=4).filter(any))
def test_text_and_list_agree(numbers):
    assert parse_weights(",".join(map(repr, numbers))) == parse_weights(numbers)
    assert list(parse_weights(numbers).values()) == numbers


# A user's own file


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes my_rewards.py into the current folder, a new one."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "my_rewards.py") -> None:
        (tmp_path / name).write_text(dedent(text), encoding="utf-8")

    yield write
    for name in [name for name in sys.modules if name.startswith("own_rewards_")]:
        del sys.modules[name]


def test_a_reward_of_ones_own_is_one_line(own):
    own(
        """
        from dataclasses import dataclass

        @dataclass
        class Shorter:
            most: int
            def __call__(self, completions, **columns):
                return [float(len(text) < self.most) for text in completions]

        brevity = Shorter(5)

        def constant(completions, **columns):
            return [None] * len(completions)
        """
    )
    weights = parse_weights({"answer": 0.5, "my_rewards.py:brevity": 0.5})
    functions = [find_reward(name) for name in weights]
    assert functions[0] is REWARDS["answer"]
    assert functions[1](completions=["abc", "abcdef"], prompts=[], trainer_state=None) == [1.0, 0.0]
    assert find_reward("./my_rewards.py:constant")(completions=["a"]) == [None]
    assert find_reward("my_rewards.py:brevity") is functions[1]  # the file is run once


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        (
            "",
            "fromat",
            r"reward 'fromat': unknown; known: format, answer, .*, or your own as FILE.py:FUNCTION",
        ),
        ("", "my_rewards:f", "unknown"),
        ("", "other.py:f", r"other\.py: no such file"),
        ("", "my_rewards.py:", "has no ''"),
        ("def g(**columns): ...\ndef h(): ...", "my_rewards.py:f", "has no 'f'; its functions: g, h"),
        ("x = 1", "my_rewards.py:f", "its functions: none"),
        ("f = 1", "my_rewards.py:f", "not a function, but int"),
        ("class f: ...", "my_rewards.py:f", "not a function, but type"),
        ("def f(completions): ...", "my_rewards.py:f", r"takes no \*\*kwargs"),
        ("x = 1\ndef f(:", "my_rewards.py:f", r"my_rewards\.py:2: cannot be run: SyntaxError"),
        ("x = 1\n\nimport no_such_module", "my_rewards.py:f", r"my_rewards\.py:3: .*ModuleNotFoundError"),
        ("def g():\n    return 1 / 0\ng()", "my_rewards.py:f", r"my_rewards\.py:2: .*ZeroDivisionError"),
        ("raise ValueError('a\\nb')", "my_rewards.py:f", "my_rewards.py:1: cannot be run: ValueError: a b"),
    ],
)
def test_a_faulty_file_is_one_line(own, text, name, message):
    own(text)
    with pytest.raises(UserError, match=message) as caught:
        find_reward(name)
    assert "\n" not in str(caught.value)


def test_a_file_hides_no_module_of_its_name(own):
    own("def f(completions, **columns): return []", "json.py")
    find_reward("json.py:f")
    assert "dumps" in vars(sys.modules["json"])


def test_rewards_are_found_from_any_folder(tmp_path):
    """As installed: the current folder does not help."""
    code = f"import os; os.chdir({str(tmp_path)!r}); import rewards; print(*rewards.REWARDS)"
    done = run_script("-c", code)
    assert done.stdout.split() == list(REWARDS), done.stderr
