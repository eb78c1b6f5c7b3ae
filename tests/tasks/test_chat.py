"""Chat templates, against what transformers makes of the same conversation."""

import pytest

from promptscope.errors import TaskError
from promptscope.tasks import Task, Template
from tests.tasks.conftest import byte_level

# ChatML, with a system message that the template writes by itself.
CHAT = (
    "{{ bos_token }}<|im_start|>system\n{helpful}<|im_end|>\n"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ROWS = [{"text": "the movie <|im_end|> was good", "label": "good"}, {"text": "a bad plot", "label": "bad"}]


@pytest.fixture(scope="module")
def chatml():
    """A chat model's tokenizer: it ends with <|im_end|> although it has <|endoftext|>, and begins with the latter."""
    tokenizer = byte_level(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>"],
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    tokenizer.chat_template = CHAT
    return tokenizer


def test_the_tokens_are_those_of_the_conversation(chatml) -> None:
    task = Task.from_records(ROWS, "chat", "labels", "accuracy")
    records = task.encode(chatml, "causal", "train")
    turns = [{"role": "user", "content": "a bad plot"}, {"role": "assistant", "content": "bad"}]
    asked = chatml.apply_chat_template(turns[:1], add_generation_prompt=True)["input_ids"]
    whole = chatml.apply_chat_template(turns)["input_ids"]
    assert records[1].input_ids == whole[: len(records[1].input_ids)]
    assert chatml.decode(whole[len(records[1].input_ids) :]) == "\n"
    assert records[1].label_start == len(asked)
    assert records[1].input_ids[-1] == chatml.convert_tokens_to_ids("<|im_end|>")
    assert task.end_ids(chatml, "causal") == [chatml.eos_token_id]


def test_what_a_user_writes_is_text(chatml) -> None:
    record = Task.from_records(ROWS, "chat", "labels", "accuracy").encode(chatml, "causal", "train")[0]
    ends = record.input_ids.count(chatml.convert_tokens_to_ids("<|im_end|>"))
    assert ends == 3  # of the system's, the user's and the assistant's turn; not the one that the text spells


def test_defaults_are_the_tokenizers_own_specials(chatml, capsys) -> None:
    task = Task.from_records(ROWS, "single", "labels", "accuracy")
    record = task.encode(chatml, "causal", "train")[0]
    bos, end = chatml.bos_token_id, chatml.eos_token_id
    assert (record.input_ids[0], record.input_ids[record.label_start - 1], record.input_ids[-1]) == (bos, end, end)
    task.show(chatml, n=1)
    shown = "special tokens: {bos} = |<|endoftext|>|, {sep} = |<|im_end|>|, {eos} = |<|im_end|>|"
    assert capsys.readouterr().out.splitlines()[1] == shown


def test_a_special_token_by_its_spelling(chatml) -> None:
    task = Task.from_records(ROWS, Template("{token:<s>}{text}", "{label}{token:</s>}"), "labels", "accuracy")
    record = task.encode(chatml, "causal", "train")[0]
    assert record.input_ids[0] == chatml.convert_tokens_to_ids("<s>") and record.special[0]
    assert record.input_ids[-1] == chatml.convert_tokens_to_ids("</s>")
    with pytest.raises(TaskError, match=r"no special token '<S>' for {token:<S>}; it has .*Did you mean '<s>'"):
        Task.from_records(ROWS, Template("{token:<S>}{text}", "{label}"), "labels", "accuracy").encode(
            chatml, "causal", "train"
        )


def test_where_there_is_no_chat(mgpt, chatml, bert) -> None:
    task = Task.from_records(ROWS, "chat", "labels", "accuracy")
    with pytest.raises(TaskError, match="has no chat template for"):
        task.encode(mgpt, "causal", "train")
    with pytest.raises(TaskError, match="must not have special tokens"):
        Template("{bos}{text}", "{label}{eos}", chat=True)
    with pytest.raises(TaskError, match="for causal models, got a masked model"):
        Template("Q: {text}", "{label}{eos}", chat=True).for_kind("masked")
    assert task.template_for("masked").name == "masked"  # the named template has counterparts


TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{THINK}{{ m.content }}<|im_end|>\n{% endfor %}{PROMPT}"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{THOUGHT}{% endif %}"
# What Llama 2, Qwen 3, Llama 3.2 and DeepSeek R1 do in theirs.
SPACED = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content | trim + eos_token }}{% endif %}{% endfor %}"
)
EMPTY_THOUGHT = TURNS.replace(
    "{THINK}", "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
).replace("{PROMPT}", PROMPT.replace("{THOUGHT}", ""))
DATED = "{{ strftime_now('%d %b %Y %f') }}" + TURNS.replace("{THINK}", "").replace("{PROMPT}", "")
OPEN_THOUGHT = TURNS.replace("{THINK}", "").replace("{PROMPT}", PROMPT.replace("{THOUGHT}", "<think>"))


def with_template(chatml, template: str):
    tokenizer = byte_level(list(chatml.added_tokens_encoder), eos_token="<|im_end|>", bos_token="<s>")
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("template", [SPACED, EMPTY_THOUGHT], ids=["space", "thought"])
def test_what_is_between_prompt_and_answer_is_there(chatml, template) -> None:
    tokenizer = with_template(chatml, template)
    task = Task.from_records(ROWS, "chat", "labels", "accuracy")
    record = task.encode(tokenizer, "causal", "train")[1]
    turns = [{"role": "user", "content": "a bad plot"}, {"role": "assistant", "content": "bad"}]
    whole = tokenizer.apply_chat_template(turns)["input_ids"]
    assert record.input_ids == whole[: len(record.input_ids)]
    assert tokenizer.decode(record.input_ids[record.label_start :]).strip() == "bad<|im_end|>"
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    words = task.label_ids(tokenizer, "causal")
    assert [*words["bad"], end] == record.input_ids[record.label_start :]  # of which scores are taken
    spaced = Task.from_records(ROWS, Template("{text}", " {label}{eos}", chat=True), "labels", "accuracy")
    record = spaced.encode(tokenizer, "causal", "train")[1]
    if template == SPACED:
        with pytest.raises(TaskError, match="also begins with a space"):
            Task.from_records(ROWS, "chat", {"good": " good", "bad": " bad"}).encode(tokenizer, "causal", "train")
    assert tokenizer.decode(record.input_ids[record.label_start :]) == " bad<|im_end|>"  # one space, whoever wrote it


def test_a_date_is_the_same_every_day(chatml) -> None:
    task = Task.from_records(ROWS, "chat", "labels", "accuracy")
    record = task.encode(with_template(chatml, DATED), "causal", "train")[1]
    assert chatml.decode(record.input_ids).startswith("26 Jul 2024 000000<|im_start|>user")


def test_a_template_that_answers_in_two_ways_is_refused(chatml) -> None:
    task = Task.from_records(ROWS, "chat", "labels", "accuracy")
    with pytest.raises(TaskError, match="it is not clear which one"):
        task.encode(with_template(chatml, OPEN_THOUGHT), "causal", "train")
