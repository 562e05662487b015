"""Which rewards count, how much, and rewards out of a user's own file."""

import sys
from textwrap import dedent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rewards import DEFAULT_WEIGHTS, REWARDS, find_reward, parse_weights
from rewards.configured import configured_rewards
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


# Options

SAID = '{"caption": "a lung", "reasoning": [], "boxes": [], "answer": "yes"}'


def test_options_reach_the_reward_they_are_for():
    options = {"format": {"partial_credit": True}, "answer": {"tolerance": 0.5}}
    found = configured_rewards(["answer", "format", "grounding"], find_reward, options)
    assert list(found) == ["answer", "format", "grounding"] and found["grounding"] is REWARDS["grounding"]
    assert found["format"](completions=[SAID.replace("yes", "3"), '{"caption": "a lung"}']) == [1.0, 0.25]
    columns = {"question_type": ["size_numeric"], "answers": [["4 mm"]], "prompts": [None]}
    near = SAID.replace("yes", "3 mm")
    assert found["answer"](completions=[near], **columns) == [1.0]
    assert REWARDS["answer"](completions=[near], **columns) == [0.0]
    for none in (None, {}):
        assert configured_rewards(["format"], find_reward, none) == {"format": REWARDS["format"]}


def test_options_as_they_stand_in_yaml():
    options = yaml.safe_load("reward_options:\n  abstention:\n    wrong: -2")["reward_options"]
    with pytest.raises(UserError, match="abstention has no option 'wrong'; it has "):
        configured_rewards(["abstention"], find_reward, options)


def test_consistency_gets_the_encoder_of_the_run():
    found = configured_rewards(["consistency"], find_reward, None, lambda asked, told: [0.25] * len(asked))
    assert found["consistency"](completions=[SAID], question=["What organ is it?"]) == [0.25]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("partial_credit", "expected a mapping of rewards to their options, not 'partial_credit'"),
        ([1], r"expected a mapping of rewards to their options, not \[1\]"),
        ({"fromat": {}}, r"fromat is not among the rewards \(format, answer, abstention\)"),
        ({"grounding": {}}, "grounding is not among the rewards"),
        ({"format": True}, "format: expected a mapping of options, not True"),
        ({"format": None}, "format: expected a mapping of options, not None"),
        ({"format": {"partial": True}}, "format has no option 'partial'; it has partial_credit"),
        ({"answer": {"tolerence": 1}}, "answer has no option 'tolerence'; it has tolerance"),
        ({"abstention": {"hallucination_cost": "high"}}, "abstention: '<=' not supported"),
        ({"abstention": {"hallucination_cost": 2}}, "hallucination_cost is from 0 to 1, not 2"),
        # What the trainer hands down is no option.
        ({"format": {"meta": "{}"}}, "format has no option 'meta'"),
        ({"format": {"box_format": "pixels"}}, "format has no option 'box_format'"),
        ({"format": {"completions": []}}, "format has no option 'completions'"),
        ({"answer": {"columns": 1}}, "answer has no option 'columns'"),
    ],
)
def test_faulty_options_are_one_line(options, message):
    with pytest.raises(UserError, match=message) as caught:
        configured_rewards(["format", "answer", "abstention"], find_reward, options)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("reward")


def test_options_of_ones_own_file(own):
    own(
        """
        from vqa.errors import UserError

        def brevity(completions, *, limit, unit="characters", **columns):
            if limit < 1:
                raise UserError(f"brevity: limit {limit}: 1 or more")
            return [float(len(text) <= limit) for text in completions]

        def plain(completions, **columns):
            return [1.0] * len(completions)
        """
    )
    name = "my_rewards.py:brevity"
    found = configured_rewards([name], find_reward, {name: {"limit": 3}})
    assert found[name](prompts=[], completions=["abc", "abcd"], trainer_state=None) == [1.0, 0.0]
    with pytest.raises(UserError, match="limit 0: 1 or more"):
        configured_rewards([name], find_reward, {name: {"limit": 0}})
    with pytest.raises(UserError, match=f"reward_options: {name}: '<' not supported"):
        configured_rewards([name], find_reward, {name: {"limit": "few"}})
    with pytest.raises(UserError, match=f"reward_options: {name}: .*missing .* 'limit'"):
        configured_rewards([name], find_reward, {name: {}})
    with pytest.raises(UserError, match="no option 'length'; it has limit, unit"):
        configured_rewards([name], find_reward, {name: {"length": 3}})
    with pytest.raises(UserError, match="no option 'limit'; it has none"):
        configured_rewards(["my_rewards.py:plain"], find_reward, {"my_rewards.py:plain": {"limit": 3}})


def test_a_file_hides_no_module_of_its_name(own):
    own("def f(completions, **columns): return []", "json.py")
    find_reward("json.py:f")
    assert "dumps" in vars(sys.modules["json"])


def test_rewards_are_found_from_any_folder(tmp_path):
    """As installed: the current folder does not help."""
    code = f"import os; os.chdir({str(tmp_path)!r}); import rewards; print(*rewards.REWARDS)"
    done = run_script("-c", code)
    assert done.stdout.split() == list(REWARDS), done.stderr
