"""Which forward passes the probes need, and which of their captures the store already has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from promptscope.errors import ProbeError, nearest
from promptscope.files import content_hash
from promptscope.models import HookedModel
from promptscope.probes.base import Probe
from promptscope.probes.joint import JointCapture
from promptscope.probes.write import Transplant, Write
from promptscope.prompts import Prompt
from promptscope.store import ActivationStore, Capture, Entry, PairedCapture
from promptscope.tasks import IGNORED, Encoded

OUTPUT = "logits"
"""The site of a capture that reads the logits the model returns, after all steps that follow the unembedding."""


@dataclass(frozen=True)
class Pass:
    """One forward pass over all inputs: with a prompt, or without one and text from a first position on."""

    prompt: str | None
    offset: int = 0
    edit: str = ""


@dataclass(frozen=True, eq=False)
class Request:
    """One entry to fill: the capture, its hook points, its pass, and the pass that it is compared with."""

    capture: Capture
    entry: Entry
    hooks: tuple[str, ...]
    layers: tuple[int, ...]
    of: Pass
    beside: Pass | None = None  # of a paired capture: the pass without the prompt
    further: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of a joint capture: its further hook points


@dataclass(frozen=True, eq=False)
class Edit:
    """Writes that a pass is run with, their hook points, and the runs that some of them take activations from."""

    writes: tuple[Write, ...]
    hooks: tuple[tuple[str, ...], ...]
    donors: tuple[Pass | None, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """The requests of some probes over one list of inputs, and where each probe finds its entries."""

    examples: Sequence[Encoded]
    requests: tuple[Request, ...]
    plain: Mapping[tuple[str, str, str | None], Entry]  # (probe, capture, prompt whose positions it shares)
    prompted: Mapping[tuple[str, str, str], Entry]  # (probe, capture, prompt)
    written: Mapping[tuple[str, str, str | None, str], Entry] = field(default_factory=dict)  # (..., prompt, edit)
    edits: Mapping[str, Edit] = field(default_factory=dict)  # by key, what a pass changes


def inputs_of(
    probes: Sequence[Probe], prompts: Mapping[str, Prompt], examples: Mapping[bool, Sequence[Encoded]]
) -> dict[str, Sequence[Encoded]]:
    """Return the inputs of each probe, by its name; *examples* with labels (True) and without (False).

    Raises:
        ProbeError: a probe has no inputs, or cannot use them.
    """
    inputs = {probe.name: probe.inputs(examples[probe.labelled]) for probe in probes}
    for probe in probes:
        if not inputs[probe.name]:
            raise ProbeError(
                f"probe {probe.name!r} has no inputs: the split is empty, or the probe's `inputs()` returned none of it"
            )
        probe.check(inputs[probe.name], tuple(prompts))
    return inputs


def make_plans(
    model: HookedModel,
    identity: dict[str, Any],
    probes: Sequence[Probe],
    prompts: Mapping[str, Prompt],
    inputs: Mapping[str, Sequence[Encoded]],
    store: ActivationStore,
) -> dict[str, Plan]:
    """Plan the passes of the *probes* that have *inputs*: probe name -> plan. Probes with the same inputs share a plan.

    *identity* is `model.identity`; it hashes all weights, so it is computed once.
    """
    probes = [probe for probe in probes if probe.name in inputs]
    groups: dict[str, list[Probe]] = {}
    for probe in probes:
        groups.setdefault(data_hash(inputs[probe.name]), []).append(probe)
    plans: dict[str, Plan] = {}
    for data, members in groups.items():
        plan = _plan(model, identity, members, prompts, inputs[members[0].name], data, store)
        plans |= {probe.name: plan for probe in members}
    return plans


def data_hash(examples: Sequence[Encoded]) -> str:
    """Return the SHA-256 of the tokens of *examples*, and of which of them are special."""
    return content_hash(
        [
            [
                example.input_ids,
                list(map(int, example.special)),
                example.decoder_input_ids,
                example.label_start,
                *([] if example.mask_attended else ["unseen"]),
                *([] if example.token_types is None else [{"types": example.token_types}]),
                *([] if all(target == IGNORED for target in example.targets) else [example.targets]),
            ]
            for example in examples
        ]
    )


def _plan(
    model: HookedModel,
    identity: dict[str, Any],
    probes: Sequence[Probe],
    prompts: Mapping[str, Prompt],
    examples: Sequence[Encoded],
    data: str,
    store: ActivationStore,
) -> Plan:
    hashes = {name: prompt.content_hash() for name, prompt in prompts.items()}
    requests: dict[str, Request] = {}

    def request(capture: Capture, of: Pass, beside: Pass | None = None) -> Entry:
        prompt = None if of.prompt is None else hashes[of.prompt]
        offset = (beside or of).offset
        # An edit is part of the model that runs, as hooks are that somebody attached.
        running = identity | ({"edit": of.edit} if of.edit else {})
        entry = store.entry(capture, running, prompt, data, len(examples), offset)
        hooks = (OUTPUT,) if capture.site == OUTPUT else tuple(model.site(capture.site))
        layers = tuple(layer_of(hook) for hook in hooks)
        further = {
            point: tuple(model.site(point)) for point in (capture.further if isinstance(capture, JointCapture) else ())
        }
        # The first of several equal requests serves all: probes that share a capture, prompts with the same numbers.
        wanted = Request(capture, entry, hooks, layers, of, beside, further)
        return requests.setdefault(entry.folder.name, wanted).entry

    plain: dict[tuple[str, str, str | None], Entry] = {}
    prompted: dict[tuple[str, str, str], Entry] = {}
    written: dict[tuple[str, str, str | None, str], Entry] = {}
    edits: dict[str, Edit] = {}
    for probe in probes:
        named = {}
        for name, writes in probe.edits().items():
            named[name] = key = _edit_key(writes, hashes, probe.name)
            edits[key] = _edit(model, writes)
        for name, capture in probe.captures().items():
            condition = "both" if isinstance(capture, PairedCapture) else probe.condition(name)
            if condition not in ("plain", "prompted", "both"):
                raise ProbeError(
                    f"the condition of capture {name!r} must be 'plain', 'prompted' or 'both', got {condition!r}"
                )
            if condition == "plain":
                plain[probe.name, name, None] = request(capture, Pass(None))
                for edit, key in named.items():
                    written[probe.name, name, None, edit] = request(capture, Pass(None, edit=key))
                continue
            if not prompts:
                raise ProbeError(
                    f"probe {probe.name!r} needs a prompt, and none is given: pass prompts={{'v2': prompt}}"
                )
            for prompt, module in prompts.items():
                offset = _shared_offset(model, module) if probe.positions == "shared" else 0
                beside = Pass(None, offset) if isinstance(capture, PairedCapture) else None
                for edit, key in named.items():
                    written[probe.name, name, prompt, edit] = request(capture, Pass(prompt, edit=key), beside)
                if beside is not None:
                    entry = request(capture, Pass(prompt), beside)
                else:
                    entry = request(capture, Pass(prompt))
                    if condition == "both":
                        plain[probe.name, name, prompt] = request(capture, Pass(None, offset))
                prompted[probe.name, name, prompt] = entry
    return Plan(examples, tuple(requests.values()), plain, prompted, written, edits)


def _edit_key(writes: Sequence[Write], hashes: Mapping[str, str], probe: str) -> str:
    """Return the hash of the writes and of the prompts that they take activations from."""
    spec = []
    for write in writes:
        spec.append(write.spec())
        if isinstance(write, Transplant) and write.donor:
            if write.donor not in hashes:
                raise ProbeError(
                    f"probe {probe!r} takes activations from the run with the prompt {write.donor!r}, "
                    f"which is not given.{nearest(write.donor, hashes)} Prompts: "
                    f"{', '.join(hashes) or 'none'}"
                )
            spec.append({"donor": hashes[write.donor]})
    return content_hash(spec)


def _edit(model: HookedModel, writes: Sequence[Write]) -> Edit:
    donors = tuple(Pass(write.donor or None) if isinstance(write, Transplant) else None for write in writes)
    return Edit(tuple(writes), tuple(tuple(model.site(write.site)) for write in writes), donors)


def _shared_offset(model: HookedModel, prompt: Prompt) -> int:
    """Return the position of the first text token after the prompt; 0 where positions are relative."""
    return 0 if model.family.kind == "seq2seq" else prompt.slots(model).get("encoder", 0)


def layer_of(hook: str) -> int:
    """Return the layer of `blocks.3.attn.hook_pattern` (3); -1 for a hook point outside the layers."""
    return next((int(part) for part in hook.split(".") if part.isdigit()), -1)
