"""The hook points of a model, found by tests on its bridge: they exist, fire once, have their shape, and act."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from promptscope.errors import ModelError
from promptscope.models.attached import Bridge, Hook, attach
from promptscope.models.families import Attention, Family, HookPoint, Kind
from promptscope.models.measuring import near
from promptscope.models.point_names import (
    ATTENTIONS,
    CONTRIBUTIONS,
    INSIDE_NORM,
    NECESSARY,
    contribution_points,
    layer_points,
    top_points,
)

Run = Callable[[dict[str, Tensor]], Tensor]
"""Run the bridge on a batch (`input_ids`, `decoder_input_ids` for encoder-decoders) and return its logits."""


def kind_of(model: PreTrainedModel) -> Kind:
    """Return the kind of a language model: `"causal"`, `"masked"` or `"seq2seq"` (encoder-decoder)."""
    if model.config.is_encoder_decoder:
        return "seq2seq"
    return "masked" if type(model).__name__.endswith("ForMaskedLM") else "causal"


@dataclass
class _Seen:
    """Observations of one pass by hook point: its value, how often it fired, and the gradient of a zero added to it."""

    values: dict[str, Tensor] = field(default_factory=dict)
    zeros: dict[str, Tensor] = field(default_factory=dict)
    fired: Counter[str] = field(default_factory=Counter)

    def watch(self, name: str, x: Any, hook: object) -> Tensor | None:
        """Record the value of a hook point and add a zero to it, whose gradient shows whether writing has an effect."""
        self.fired[name] += 1
        if not isinstance(x, Tensor):
            return None
        self.values[name] = x.detach()
        self.zeros[name] = torch.zeros_like(x, requires_grad=True)
        return x + self.zeros[name]


def derived_family(bridge: Bridge, twin: PreTrainedModel, run: Run, widths: dict[str, int]) -> Family:
    """Return the family of a model: every hook point of `point_names` that passes the tests in all layers.

    *widths* are the sizes of the dimensions named in shapes (`d_model`, `d_embed`, `head`, `kv_head`, `d_head`,
    `d_vocab`); *run* runs the bridge on a batch.

    Raises:
        ModelError: a necessary hook point (the residual stream, say) fails a test, or a layer has no attention.
    """
    kind = kind_of(twin)
    attentions = ATTENTIONS[kind]
    stacks = tuple(dict.fromkeys(attention.stack for attention in attentions.values()))
    lost = [stack for stack in stacks if not hasattr(bridge, stack)]
    if lost:
        raise ModelError(
            f"the bridge of {type(twin).__name__} has no list of layers called {lost[0]!r}: it cannot be hooked, load "
            "another model"
        )
    layers = {stack: len(getattr(bridge, stack)) for stack in stacks}
    _check_attention(bridge, twin, attentions, layers)
    look = _Look(bridge, run, widths, layers, _batch(kind, widths))
    before, after = top_points(kind)
    points = [*before, *layer_points(kind), *after]
    more = [point for stack in stacks for point in contribution_points(stack, CONTRIBUTIONS | INSIDE_NORM)]
    look.at([*points, *more])
    kept = [point for point in points if look.keeps(point)]
    for point in points:
        if look.problem(point) is not None and point.name in NECESSARY and not _other_embedding(point, kept):
            why = look.missing.get(point.site, "does not exist")
            raise ModelError(
                f"the hook point {point.site} {why}: prompts and probes need it, so that {type(twin).__name__} is not "
                "supported, load another model"
            )
    added = {stack: look.contributions(stack, attentions) for stack in stacks}
    kept = [point for point in kept if not (point.name.startswith("hook_resid_mid") and look.norms_around(point.stack))]
    kept = [look.measured(point, added) for point in kept]
    body = [point for point in kept if point.stack]
    body += [point for stack in stacks for point in added[stack]]
    ordered = [point for stack in stacks for point in body if point.stack == stack]
    top = [point for point in kept if not point.stack and point.name in {one.name for one in before}]
    end = [point for point in kept if not point.stack and point not in top]
    missing = {site: why for site, why in look.missing.items() if site not in {point.site for point in ordered}}
    return Family(
        twin.config.model_type, kind, type(twin).__name__, attentions, (*top, *ordered, *end), missing=missing
    )


def _check_attention(
    bridge: Bridge, twin: PreTrainedModel, attentions: dict[str, Attention], layers: dict[str, int]
) -> None:
    """Raise ModelError for a model with layers without attention (recurrent, convolutional, hybrid)."""
    known = list(bridge.hook_dict)
    for attention in attentions.values():
        n = layers[attention.stack]
        where = (attention.stack, attention.module)
        without = [i for i in range(n) if not any(x.startswith(f"{where[0]}.{i}.{where[1]}.hook_") for x in known)]
        first = f"{where[0]}.0."
        elsewhere = {x.split(".")[2] for x in known if x.startswith(first) and x.endswith(".hook_pattern")} - {where[1]}
        if without and elsewhere:
            raise ModelError(
                f"{len(without)} of the {n} layers of {attention.stack} of {type(twin).__name__} have no attention "
                f"called {attention.module} of their own, only {', '.join(sorted(elsewhere))}, which does several "
                "things at once: where a prompt's keys and values belong in it is not known. Load another model"
            )
        if without:
            raise ModelError(
                f"{len(without)} of the {n} layers of {type(twin).__name__} ({twin.config.model_type!r}) have "
                "no attention, so that a deep prompt has no keys and values there: recurrent, convolutional and "
                "hybrid models are not supported. ps.supported_architectures() lists the classes to choose from"
            )


def _other_embedding(point: HookPoint, kept: Sequence[HookPoint]) -> bool:
    names = ("embed.hook_out", "encoder_embed.hook_out")
    return point.name in names and any(one.name in names for one in kept)


def _batch(kind: Kind, widths: dict[str, int]) -> dict[str, Tensor]:
    """Make a batch whose number of texts and length differ from every width, so that axes can be told apart."""
    taken = set(widths.values())
    sizes: list[int] = []
    for least in (2, 4, 5):
        sizes.append(next(n for n in range(least, 99) if n not in taken and n not in sizes))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(widths["d_vocab"], (sizes[0], sizes[2]), generator=generator)
    return {"input_ids": ids} | ({"decoder_input_ids": ids[:, : sizes[1]]} if kind == "seq2seq" else {})


class _Look:
    """Tests hook points in one pass: existence, number of calls, shape, and the effect of writing."""

    def __init__(
        self, bridge: Bridge, run: Run, widths: dict[str, int], layers: dict[str, int], batch: dict[str, Tensor]
    ) -> None:
        self.bridge, self.run, self.layers, self.batch = bridge, run, layers, batch
        self.known = bridge.hook_dict
        n, t = batch["input_ids"].shape
        self.sizes = widths | {"batch": n, "pos": t}
        if "decoder_input_ids" in batch:
            self.sizes["dec_pos"] = batch["decoder_input_ids"].shape[1]
        self.missing: dict[str, str] = {}
        self.normed: set[str] = set()
        self.seen = _Seen()

    def names(self, point: HookPoint) -> list[str]:
        """Return the full names of a hook point, one for each layer."""
        if point.stack is None:
            return [point.name]
        return [f"{point.stack}.{i}.{point.name}" for i in range(self.layers[point.stack])]

    def at(self, points: Sequence[HookPoint]) -> None:
        """Observe all of *points* in one pass; those at which writing raises an error are recorded as missing."""
        there = []
        for point in points:
            found = [name for name in self.names(point) if name in self.known]
            if len(found) == len(self.names(point)):
                there.append(point)
            elif found:
                self.missing[point.site] = f"exists in {len(found)} of {len(self.names(point))} layers only"
        try:
            self.seen = self._pass(there)
        except Exception:  # of a hook point that raises when it is written to: which one, each alone shows
            fine = []
            for point in there:
                try:
                    self._pass([point])
                    fine.append(point)
                except Exception as error:
                    self.missing[point.site] = f"raises when it is written to ({type(error).__name__}: {error})"
            self.seen = self._pass(fine)

    def _pass(self, points: Sequence[HookPoint]) -> _Seen:
        seen = _Seen()
        # Aliases are one point under several names, which would be written once for each.
        names = {name: id(self.known[name]) for point in points for name in self.names(point)}
        first = {number: name for name, number in reversed(names.items())}
        with (
            torch.enable_grad(),
            attach(self.bridge, last=[(name, partial(seen.watch, name)) for name in first.values()]),
        ):
            logits = self.run(self.batch)
            generator = torch.Generator().manual_seed(0)
            direction = torch.randn(logits.shape, generator=generator).to(logits)
            (logits * direction).sum().backward()
        for name, number in names.items():
            one = first[number]
            seen.fired[name] = seen.fired[one]
            for kept in (seen.values, seen.zeros):
                if one in kept:
                    kept[name] = kept[one]
        return seen

    def keeps(self, point: HookPoint) -> bool:
        """Return whether a hook point passes the tests in all layers; if it exists and fails, record the reason."""
        why = self.problem(point)
        if why is not None and any(name in self.known for name in self.names(point)):
            self.missing.setdefault(point.site, why)
        return why is None

    def problem(self, point: HookPoint) -> str | None:
        """Return the test that a hook point fails, in words, or None if it passes all."""
        names = self.names(point)
        if point.site in self.missing:
            return self.missing[point.site]
        if not all(name in self.known for name in names):
            return "does not exist"
        wrong = {self.seen.fired[name] for name in names} - {1}
        if wrong:
            return "never fires" if wrong == {0} else f"fires {max(wrong)} times in a pass"
        if point.name.startswith("mlp.hook_p") and self._is_whole_block(names):
            return "is the input or output of the whole block (experts), not of neurons"
        for name in names:
            if name not in self.seen.values:
                return "holds no tensor"
            if not self._fits(point, self.seen.values[name]):
                dims = ", ".join(str(self.sizes.get(dim, dim)) for dim in point.shape.split())
                return f"has the shape {tuple(self.seen.values[name].shape)}, not ({point.shape}) = ({dims})"
            grad = self.seen.zeros[name].grad
            if grad is None or not bool(grad.abs().max() > 0):
                return "does not act: a written value is dropped"
        return None

    def _fits(self, point: HookPoint, x: Tensor) -> bool:
        dims = point.shape.split()
        if x.ndim != len(dims):
            return point.name == "pos_embed.hook_out" and x.shape == tuple(self.sizes[dim] for dim in dims[1:])
        sizes = {"d_mlp": x.shape[-1]} | self.sizes
        if point.name == "pos_embed.hook_out":  # the same for every row: some models compute them once
            sizes["batch"] = x.shape[0]
        return x.shape == tuple(sizes[dim] for dim in dims)

    def _is_whole_block(self, names: Sequence[str]) -> bool:
        return any(
            self.known[name] is self.known.get(name.rpartition(".")[0] + end)
            for name in names
            for end in (".hook_in", ".hook_out")
        )

    def measured(self, point: HookPoint, added: dict[str, list[HookPoint]]) -> HookPoint:
        """Return *point* as measured: whether writing acts fully, and whether a pattern's rows sum to one."""
        if point.name.endswith("hook_pattern"):
            values = [self.seen.values[name] for name in self.names(point)]
            if any(float((x.float().sum(-1) - 1).abs().max()) > 1e-2 for x in values):
                return replace(point, meaning="attention pattern: each row and the sink sum to one")
        if point.name == "hook_resid_mid" and not self._skips(point):
            writable = next((one.name for one in added[str(point.stack)] if "attn" in one.name), "hook_resid_post")
            said = f"a write reaches the FFN but not the skip connection, so write at {writable} instead"
            return replace(point, meaning=f"{point.meaning}; {said}", acts=False)
        return point

    @torch.no_grad()
    def _skips(self, point: HookPoint) -> bool:
        """Return whether a shift of the residual stream after attention reaches the output by the skip connection."""
        mid, post = f"{point.stack}.0.hook_resid_mid", f"{point.stack}.0.hook_resid_post"
        ends: list[Tensor] = []
        shift = 1e3 * self.seen.values[mid].std()
        for by in (0.0, 1.0):
            hooks: list[Hook] = [
                (mid, lambda x, hook, by=by: x + by * shift),
                (post, lambda x, hook: ends.append(x.detach())),
            ]
            with attach(self.bridge, last=hooks):
                self.run(self.batch)
        # The FFN reads its input through a norm, so that a large shift moves it by much less than itself.
        moved = (ends[1] - ends[0]) / shift
        return bool((moved.float().mean() - 1).abs() < 0.2)

    def contributions(self, stack: str, attentions: dict[str, Attention]) -> list[HookPoint]:
        """Return the points of what a layer adds to the residual stream or, if it norms the sum, of the parts."""
        modules = [attention.module for attention in attentions.values() if attention.stack == stack]
        chosen: list[str] = []
        for module in modules:
            alias = {"attn": "hook_attn_out", "self_attn": "hook_attn_out", "cross_attn": "hook_cross_attn_out"}[module]
            chosen += [self._first(stack, alias, f"{module}.hook_out")]
        chosen += [self._first(stack, "hook_mlp_out", "mlp.hook_out")]
        if all(chosen) and self._adds_up(stack, chosen):
            return contribution_points(stack, {name: CONTRIBUTIONS[name] for name in chosen})
        said = "holds more than what is added to the residual stream: the layer puts a norm around the sum"
        self.normed.add(stack)
        for name in CONTRIBUTIONS:
            if f"{stack}.0.{name}" in self.known:
                self.missing[f"{stack}.{{i}}.{name}"] = said
        inside = dict(INSIDE_NORM)
        if self.known.get(f"{stack}.0.hook_mlp_out") is self.known.get(f"{stack}.0.mlp.out.hook_out"):
            # Where the alias is the FFN's last linear layer it is what is added, and has the usual name.
            inside = {"hook_mlp_out" if name == "mlp.out.hook_out" else name: what for name, what in inside.items()}
            self.missing.pop(f"{stack}.{{i}}.hook_mlp_out", None)
        return [
            point
            for point in contribution_points(stack, inside)
            if any(point.name.startswith(module) for module in (*modules, "ln1", "mlp", "hook_mlp"))
            and self.keeps(point)
            and (point.name != "ln1.hook_out" or self._norms_sum(stack))
        ]

    def norms_around(self, stack: str | None) -> bool:
        """Return whether the layers of *stack* apply a norm to the residual sum (post-norm)."""
        if stack in self.normed:
            for name in ("hook_resid_mid", "hook_resid_mid2"):
                self.missing[f"{stack}.{{i}}.{name}"] = "is no residual stream: the layer puts a norm around the sum"
        return stack in self.normed

    def _first(self, stack: str, *names: str) -> str:
        """Return the first of *names* that is a hook point of *stack*, or an empty string."""
        for name in names:
            if self.problem(contribution_points(stack, {name: ""})[0]) is None:
                return name
        return ""

    def _adds_up(self, stack: str, names: Sequence[str]) -> bool:
        """Return whether the output of every layer is the sum of its input and the activations *names*."""
        values = self.seen.values
        for i in range(self.layers[stack]):
            before, after = (values.get(f"{stack}.{i}.hook_resid_{end}") for end in ("pre", "post"))
            if before is None or after is None:
                return False
            total = before + sum(values[f"{stack}.{i}.{name}"] for name in names)
            if not near(total, after):
                return False
        return True

    def _norms_sum(self, stack: str) -> bool:
        """Return whether the first norm of a layer is applied to the sum of its input and the attention output."""
        names = [f"{stack}.0.{name}" for name in ("hook_resid_pre", "attn.o.hook_out", "ln1.hook_in")]
        if not all(name in self.known for name in names):
            return False
        kept: dict[str, Tensor] = {}
        hooks: list[Hook] = [(name, lambda x, hook, name=name: kept.update({name: x.detach()})) for name in names]
        with torch.no_grad(), attach(self.bridge, last=hooks):
            self.run(self.batch)
        return all(name in kept for name in names) and near(kept[names[0]] + kept[names[1]], kept[names[2]])
