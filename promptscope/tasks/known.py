"""A table of the data sets that are known by name, with their sources and the meaning of their columns.

A column is given by its name in the source; "a|b" means the first of them that exists (columns on the Hub and in local
files often differ), "a.b" is an entry of a column with dicts, and text with {braces} is filled from columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Known:
    """One known data set.

    - `fields`: the template's fields, by their columns in the source;
    - `words`: the word of each label; None if text is generated;
    - `rename`: from the source's labels to those of the task;
    - `boundary`: a score that divides two classes: rows above it get the first label of `words`, rows below it the
      second, and rows with this score are dropped (see `ties` of `load_task`);
    - `splits`: from the task's splits to the Hub's, as "split" or "config:split";
    - `held_out`: the share of a source without splits that becomes the test split;
    - `only`: (column, value) of the rows to keep in a source of several data sets;
    - `step`: the answer is a score rounded to a multiple of it ("3.8" for 3.75 and a step of 0.2, as T5 writes STS-B),
      while metrics compare with the exact score;
    - `nested`: rows hold a passage, its questions and their answers, each of which becomes a row (MultiRC's own files).
    """

    language: str
    template: str
    fields: Mapping[str, str]
    metrics: tuple[str, ...]
    words: Mapping[str, str] | None = None
    label: str = "label"
    references: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    boundary: float | None = None
    max_length: int | None = None
    hub: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    held_out: float | None = None
    only: tuple[str, str] | None = None
    step: float | None = None
    nested: bool = False

    @property
    def kind(self) -> str:
        """`"classification"` if there are label words, otherwise `"generation"`."""
        return "generation" if self.words is None else "classification"


def _same(*labels: str) -> dict[str, str]:
    return {label: label for label in labels}


_ACC, _F1 = ("accuracy",), ("macro_f1", "accuracy")
_BOTH = ("accuracy", "macro_f1")
_SENTIMENT = _same("positive", "negative")
_SENTIMENT_KO = {"positive": "긍정", "negative": "부정"}
_NLI = _same("entailment", "contradiction", "neutral")
_NLI_KO = {"entailment": "함의", "contradiction": "모순", "neutral": "중립"}
_STS = _same("similar", "dissimilar")
_STS_KO = {"similar": "유사", "dissimilar": "상이"}
_TEXT = {"text": "text|sentence|document"}
_SENTENCES = {"text1": "sentence1", "text2": "sentence2"}
_PREMISE = {"text1": "premise", "text2": "hypothesis"}
_QA = {"text1": "context", "text2": "question"}
_SCORE = "score|labels.label|label"
_ANSWERS = "answers.text|answers"
_GLUE = {"train": "train", "test": "validation"}  # the Hub's GLUE test labels are hidden
_ALL = _same("train", "validation", "test")
_YES = {"True": "yes", "False": "no"}
_TRUTH = {"0": "False", "1": "True"}


_DUPLICATE = {"not_duplicate": "not_duplicate", "duplicate": "duplicate"}


def _mrqa(subset: str) -> Known:
    """Return one of the six training sets of MRQA 2019, in which every question has an answer in its context."""
    return Known(
        "en",
        "pair",
        {"text1": "context", "text2": "question"},
        ("mrqa",),
        None,
        references="answers",
        hub="mrqa-workshop/mrqa",
        splits={"train": "train", "test": "validation"},
        only=("subset", subset),
    )


def _glue(config: str) -> dict[str, str]:
    return {ours: f"{config}:{hub}" for ours, hub in _GLUE.items()}


# fmt: off
KNOWN: dict[str, Known] = {
    # The multilingual-GPT paper: words of its Tables 4 and 5, lengths of Table 6, metrics of Table 7. Its 60
    # tokens for concept sets are left out: the sentences to write, which are never cut, are longer elsewhere.
    "stsb": Known("en", "pair", _SENTENCES, _ACC, _STS, _SCORE, boundary=3.0, max_length=180,
                  hub="nyu-mll/glue", splits=_glue("stsb")),
    "klue_sts": Known("ko", "pair", _SENTENCES, _ACC, _STS_KO, _SCORE, boundary=3.0, max_length=180,
                      hub="klue/klue", splits={"train": "sts:train", "test": "sts:validation"}),
    "kor_sts": Known("ko", "pair", _SENTENCES, _ACC, _STS_KO, _SCORE, boundary=3.0, max_length=180,
                     hub="dkoterwa/kor-sts", splits={"train": "train", "validation": "valid", "test": "test"}),
    "snli": Known("en", "pair", _PREMISE, _F1, _NLI, max_length=150, hub="stanfordnlp/snli", splits=_ALL),
    "kor_nli": Known("ko", "pair", _PREMISE, _F1, _NLI_KO, max_length=150, hub="kakaobrain/kor_nli",
                     splits={"train": "snli:train", "validation": "xnli:validation", "test": "xnli:test"}),
    "klue_nli": Known("ko", "pair", _PREMISE, _F1, _NLI_KO, max_length=150, hub="klue/klue",
                      splits={"train": "nli:train", "test": "nli:validation"}),
    "sst2": Known("en", "single", _TEXT, _ACC, _SENTIMENT, max_length=256, hub="nyu-mll/glue",
                  splits=_glue("sst2")),
    "nsmc": Known("ko", "single", _TEXT, _ACC, _SENTIMENT_KO, rename={"0": "negative", "1": "positive"}, max_length=256,
                  hub="e9t/nsmc@refs/convert/parquet", splits={"train": "train", "test": "test"}),
    "ag_news": Known("en", "single", _TEXT, _F1,
                     {"Business": "business", "Sci/Tech": "scitech", "Sports": "sports", "World": "world"},
                     max_length=80, hub="fancyzhx/ag_news", splits={"train": "train", "test": "test"}),
    "klue_ynat": Known("ko", "single", {"text": "title"}, _F1,
                       {"정치": "정치", "경제": "경제", "생활문화": "생활문화", "사회": "사회",
                        "IT과학": "IT과학", "세계": "세계", "스포츠": "스포츠"},
                       max_length=80, hub="klue/klue",
                       splits={"train": "ynat:train", "test": "ynat:validation"}),
    "squad2": Known("en", "pair", _QA, ("squad",), None, references=_ANSWERS, max_length=400,
                    hub="rajpurkar/squad_v2", splits=_GLUE),
    "korquad": Known("ko", "pair", _QA, ("korquad",), None, references=_ANSWERS, max_length=400,
                     hub="KorQuAD/squad_kor_v1", splits=_GLUE),
    "commongen": Known("en", "single", {"text": "concepts", "concepts": "concepts"}, ("coverage",), None,
                       references="references|target", hub="allenai/common_gen", splits=_GLUE),
    "kommongen": Known("ko", "single", {"text": "concepts", "concepts": "concepts"}, ("coverage",), None,
                       references="text"),
    # Other sentiment, topic and emotion sets
    "uci_sentiment": Known("en", "single", _TEXT, _ACC, _SENTIMENT),
    "imdb": Known("en", "single", _TEXT, _ACC, _SENTIMENT, rename={"neg": "negative", "pos": "positive"},
                  hub="stanfordnlp/imdb", splits={"train": "train", "test": "test"}),
    "emotion": Known("en", "single", _TEXT, _BOTH, _same("sadness", "joy", "love", "anger", "fear", "surprise"),
                     hub="dair-ai/emotion", splits=_ALL),
    "ko_chatbot": Known("ko", "single", {"text": "question"}, _BOTH,
                        {"daily": "일상", "breakup": "이별", "love": "사랑"}),
    # GLUE and relatives
    "mnli": Known("en", "pair", _PREMISE, _ACC, _NLI, hub="nyu-mll/glue",
                  splits={"train": "mnli:train", "test": "mnli:validation_matched"}),
    "cola": Known("en", "single", _TEXT, ("matthews", "accuracy"), _same("acceptable", "unacceptable"),
                  hub="nyu-mll/glue", splits=_glue("cola")),
    "mrpc": Known("en", "pair", _SENTENCES, _BOTH, _same("paraphrase", "different"),
                  rename={"equivalent": "paraphrase", "not_equivalent": "different"},
                  hub="nyu-mll/glue", splits={"train": "mrpc:train", "validation": "mrpc:validation",
                                              "test": "mrpc:test"}),
    "qnli": Known("en", "pair", {"text1": "question", "text2": "sentence"}, _ACC,
                  _same("entailment", "not_entailment"), hub="nyu-mll/glue", splits=_glue("qnli")),
    "qqp": Known("en", "pair", {"text1": "question1", "text2": "question2"}, _ACC, _DUPLICATE,
                 rename={"0": "not_duplicate", "1": "duplicate"}, hub="nyu-mll/glue", splits=_glue("qqp")),
    "rte": Known("en", "pair", {"text1": "sentence1|premise", "text2": "sentence2|hypothesis"}, _ACC,
                 _same("entailment", "not_entailment"), hub="nyu-mll/glue", splits=_glue("rte")),
    "stsb_score": Known("en", "pair", _SENTENCES, ("pearson",), None, references="score|label", step=0.2,
                        hub="nyu-mll/glue", splits=_glue("stsb")),
    "paws_wiki": Known("en", "pair", _SENTENCES, _ACC, _same("paraphrase", "different"),
                       rename={"1": "paraphrase", "0": "different"}, hub="google-research-datasets/paws",
                       splits={ours: f"labeled_final:{ours}" for ours in _ALL}),
    "scitail": Known("en", "pair", _PREMISE, _ACC, _same("entailment", "neutral"), rename={"entails": "entailment"},
                     hub="allenai/scitail", splits={ours: f"tsv_format:{ours}" for ours in _ALL}),
    "yelp_polarity": Known("en", "single", _TEXT, _ACC, _SENTIMENT, rename={"1": "negative", "2": "positive"},
                           hub="fancyzhx/yelp_polarity", splits={"train": "train", "test": "test"}),
    **{
        f"mrqa/{name}": _mrqa(subset)
        for name, subset in (("squad", "SQuAD"), ("newsqa", "NewsQA"), ("triviaqa", "TriviaQA-web"),
                             ("searchqa", "SearchQA"), ("hotpotqa", "HotpotQA"), ("nq", "NaturalQuestionsShort"))
    },
    "pawsx_ko": Known("ko", "pair", _SENTENCES, _ACC, {"paraphrase": "유사", "different": "상이"},
                      rename={"1": "paraphrase", "0": "different"}, hub="google-research-datasets/paws-x",
                      splits={ours: f"ko:{ours}" for ours in _ALL}),
    "winogrande": Known("en", "single", {"text": "{sentence} 1: {option1} 2: {option2}"}, _ACC, _same("1", "2"),
                        label="label|answer", hub="allenai/winogrande",
                        splits={"train": "winogrande_xl:train", "test": "winogrande_xl:validation"}),
    # SuperGLUE
    "superglue/boolq": Known("en", "pair", {"text1": "passage", "text2": "question"}, _ACC, _YES, rename=_TRUTH,
                             hub="aps/super_glue", splits=_glue("boolq")),
    "superglue/cb": Known("en", "pair", _PREMISE, _F1, _NLI, hub="aps/super_glue", splits=_glue("cb")),
    "superglue/copa": Known("en", "single", {"text": "{premise} {question}? 1: {choice1} 2: {choice2}"}, _ACC,
                            _same("1", "2"), rename={"0": "1", "1": "2", "choice1": "1", "choice2": "2"},
                            hub="aps/super_glue", splits=_glue("copa")),
    "superglue/multirc": Known("en", "single", {"text": "question: {question} answer: {answer} paragraph: {paragraph}"},
                               ("binary_f1", "accuracy"), _YES, rename=_TRUTH, nested=True,
                               hub="aps/super_glue", splits=_glue("multirc")),
    "superglue/rte": Known("en", "pair", _PREMISE, _ACC, _same("entailment", "not_entailment"),
                           hub="aps/super_glue", splits=_glue("rte")),
    "superglue/wic": Known("en", "single", {"text": "{word}: {sentence1} / {sentence2}"}, _ACC, _YES,
                           rename=_TRUTH,
                           hub="aps/super_glue", splits=_glue("wic")),
    "superglue/wsc": Known("en", "pair", {"text1": "text",
                                          "text2": "{span2_text|target.span2_text} = "
                                                   "{span1_text|target.span1_text}"}, _ACC, _YES,
                           rename=_TRUTH,
                           hub="aps/super_glue", splits=_glue("wsc")),
    # Function vectors (Todd et al. 2024); the prompt-geometry paper trains on six and holds 20 % out
    **{
        f"fv/{name}": Known("en", "input_label", {"text": "input"}, ("starts_with", "exact_match"), None,
                            references="output", held_out=0.2)
        for name in ("antonym", "capitalize_first_letter", "country-capital", "country-currency",
                     "landmark-country", "lowercase_first_letter", "present-past", "sentiment", "singular-plural")
    },
}
# fmt: on
