"""Part 7: the prompt decoded into text, and whether these texts have its effect."""

from promptscope.account.part import Findings
from promptscope.account.subject import Subject
from promptscope.account.wording import p_words, percent
from promptscope.causal.faithfulness import faithfulness_on
from promptscope.errors import PromptscopeError
from promptscope.prompts import SoftPrompt
from promptscope.readings import Nulls, class_rate, read_logit_lens, read_nearest_tokens, read_patchscope

_RANDOM = 19


def readings_part(subject: Subject) -> Findings:
    """Decode by nearest tokens, logit lens and Patchscopes; compare with random prompts; score the texts as prompts."""
    found, model, prompt = Findings(), subject.model, subject.prompt
    if not isinstance(prompt, SoftPrompt):
        found.omit(
            "A deep prompt consists of keys and values: it has neither embeddings nor a residual "
            "stream that could be decoded into words."
        )
        return found
    words = tuple(subject.task.verbalizer.words.values()) if subject.task.verbalizer is not None else ()
    decoded: dict[str, list[int] | str] = {}
    nearest = read_nearest_tokens(model, prompt, n=3, nulls=Nulls(_RANDOM))
    own = nearest.table[nearest.table["kind"] == "prompt"]
    found.tables["nearest"] = own[["position", "rank", "token", "distance", "percentile"]].reset_index(drop=True)
    null = nearest.against_null()
    found.tables["nearest_null"] = null
    decoded["nearest tokens"] = own[own["rank"] == 1].sort_values("position")["token_id"].astype(int).tolist()
    first = null.set_index("quantity").loc["distance"]
    near = "nearer to the vocabulary than" if first["p_value"] < 0.05 else "no nearer to the vocabulary than"
    found.say(
        f"The prompt's vectors are {near} random vectors of the same norms "
        f"({p_words(float(first['p_value']))}, {_RANDOM} draws)."
    )
    if model.family.kind == "causal":
        _lens(subject, found, decoded, words)
        _patchscope(subject, found, decoded, words)
    else:
        found.omit(
            f"Logit lens and Patchscopes: they need a causal model; in a {model.family.kind} model "
            "the activations at prompt positions depend on the text."
        )
    s = subject.settings
    table = faithfulness_on(model, prompt, subject.small, decoded, s.batch_size, s.n_random, s.seed)
    found.tables["faithfulness"] = table
    of = table.set_index("reading")
    for name in decoded:
        beyond = of.loc[name, "kl"] < of.loc["random tokens", "kl"]
        share = of.loc[name, "share"]
        faithful = beyond and of.loc[name, "kl"] < 0.5 * of.loc["no prompt", "kl"]
        verdict = "a faithful reading" if faithful else "not a faithful reading"
        found.say(
            f"Used as a hard prompt, the text of the {name} has {percent(share)} of the effect and an "
            f"output KL of {of.loc[name, 'kl']:.2f} nats (random tokens "
            f"{of.loc['random tokens', 'kl']:.2f}, no prompt {of.loc['no prompt', 'kl']:.2f}): "
            f"{verdict}."
        )
    return found


def _lens(subject: Subject, found: Findings, decoded: dict, words: tuple[str, ...]) -> None:
    lens = read_logit_lens(
        subject.model, subject.prompt, n=1, label_words=words, nulls=Nulls(_RANDOM), layers=subject.layers()
    )
    own = lens.top[(lens.top["kind"] == "prompt") & (lens.top["layer"] == lens.top["layer"].max())].sort_values(
        "position"
    )
    found.tables["lens"] = own[["position", "token", "probability"]].reset_index(drop=True)
    found.tables["lens_null"] = lens.against_null()
    decoded["logit lens"] = own["token_id"].astype(int).tolist()


def _patchscope(subject: Subject, found: Findings, decoded: dict, words: tuple[str, ...]) -> None:
    try:
        scores = {"class words": class_rate(words)} if words else {}
        reading = read_patchscope(
            subject.model,
            subject.prompt,
            scores=scores,
            nulls=Nulls(3),
            source_layers=subject.layers()[:4],
            target_layers=[0, 1] if subject.model.shape.n_layers > 2 else [0],
            max_new_tokens=8,
        )
    except PromptscopeError as error:
        found.omit(f"Patchscopes: {error}.")
        return
    texts = reading.texts[reading.texts["kind"] == "prompt"]
    found.tables["patchscope"] = texts[["source", "target", "text"]].reset_index(drop=True)
    if scores:
        found.tables["patchscope_null"] = reading.against_null()
    said = texts["text"][texts["text"].str.strip() != ""]
    if said.empty:
        found.omit("Patchscopes: the model's description of the prompt is empty everywhere.")
        return
    text = str(said.value_counts().index[0])
    tokens = subject.model.tokenizer(text, add_special_tokens=False)["input_ids"]
    if tokens:
        decoded["Patchscopes descriptions"] = list(tokens)
    nulls = set(reading.texts[reading.texts["kind"] == "random"]["text"])
    where = "get it too" if text in nulls else "do not get it"
    found.say(f"The description that Patchscopes gives most often is {text!r}; random prompts {where}.")
