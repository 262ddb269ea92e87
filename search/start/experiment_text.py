"""The commented experiment file of a plan. Pure."""

import json
from pathlib import Path

from search.start.plan import Chosen, Plan
from search.start.survey import Findings
from search.terminal.formatting import count_text, duration_text

_RULE = """\
# {command}
#
{time}
{warning}#
# Written by '{writer}' for {photos} of {classes} ({layout}),
# {side} px on the shorter side, {cpus} and {gpus}. Change what you like; '{check}' checks it.
"""

_TIME = """\
# Running time: about {low} to {high} from photos to submission on this machine, estimated and not measured:
# {search} of search (at most {hours:g} h), then {final} of final training."""
_RUN_TIME = """\
# Running time: {hours:g} h from photos to submission, which --hours divides among search, final trainings, ensemble
# and scoring. Without --hours, only the number of trials ends the search, which may take far longer."""

_FIRST_HEAD, _FIRST_AUGMENT = "{dropout: 0.2, l2: 0.00001}", "{policy: light}"
_FINAL_SCHEDULE = "schedule: {kind: cosine, warmup_epochs: 1}"
_PINNED_NOTE = "# The baseline's values: too few photos chose the winner's.\n"


def experiment_text(found: Findings, plan: Plan, *, name: str, file: Path) -> str:
    """The file's text. It loads with `search.experiment.experiment.load`."""
    opening = _RULE.format(
        command=_command(found, plan, name=name, file=file),
        time=_time(plan),
        warning=_wrapped(plan.warning),
        writer=f"carsearch init --preset {plan.preset}" if plan.run_hours is None else "carsearch run DATA --hours",
        photos=f"{found.photos:,} photos",
        classes=f"{found.classes:,} classes",
        layout=found.layout,
        # Its estimate would be that of all trials, as without --hours.
        check="carsearch check --here" if plan.run_hours is None else "carsearch check",
        side=found.side_px,
        cpus=count_text(found.cpus, "CPU core"),
        gpus=count_text(found.gpus, "GPU"),
    )
    return f"{opening}\n{_data(found, plan, name)}\n{_train(plan)}\n{_search(found, plan)}\n{_final(plan)}"


def _command(found: Findings, plan: Plan, *, name: str, file: Path) -> str:
    if plan.run_hours is not None:
        return f"carsearch run {file} --hours {plan.run_hours:g} --or-resume"
    submit = f" && carsearch submit results/{name}" if found.to_predict else ""
    return f"carsearch run {file} && carsearch retrain results/{name}{submit}"


def _time(plan: Plan) -> str:
    if plan.run_hours is not None:
        return _RUN_TIME.format(hours=plan.run_hours)
    low, high = plan.total_s
    return _TIME.format(
        low=duration_text(low),
        high=duration_text(high),
        search=duration_text(plan.search_s),
        hours=plan.search_hours,
        final=duration_text(plan.final_s),
    )


def _wrapped(warning: str) -> str:
    """The warning as comment lines of at most 120 characters."""
    lines, line = [], "# Note:"
    for word in warning.split():
        if len(line) + len(word) >= 120:
            lines.append(line)
            line = "#"
        line += f" {word}"
    return "\n".join([*lines, line, ""]) if warning else ""


def _text(value: str) -> str:
    """A text as YAML reads it back, also one with a colon or a quote."""
    return json.dumps(value, ensure_ascii=False)


def _data(found: Findings, plan: Plan, name: str) -> str:
    nested = "\n  nested: true  # each folder with photos is a class, such as Audi/A4" if found.nested else ""
    return f"""\
name: {_text(name)}  # the study's folder: results/{name}
data:
  root: {_text(str(found.root))}{nested}
  # Photos that choose among trials and are never trained on. Copies of a photo stay on one side.
  validation: {{fraction: {plan.validation_fraction:g}, seed: 0}}
"""


def _train(plan: Plan) -> str:
    head, half, full = plan.epochs
    balance = (
        "\n  class_balance: weights  # the largest class has over five times the photos of the smallest"
        if plan.class_balance
        else ""
    )
    recipe = plan.recipe
    head_start, unfrozen = (", ".join(ends) for ends in (recipe.head_rate, recipe.unfrozen_rate))
    batch_norm = "" if recipe.head_batch_norm else "batch_norm: false, "
    layer_decay = (
        "\n  # For few photos: a long head stage without BatchNorm, then rates that fall towards the input."
        "\n  optimizer: {kind: adamw, weight_decay: 0.05}"
        "\n  layer_decay: {uniform: [0.65, 0.95]}"
        if recipe.first_layer_decay
        else ""
    )
    side, smaller = plan.image_size_px, plan.smaller_size_px
    size = str(side) if smaller is None else f"{{choice: [{side}, {smaller}]}}"
    return f"""\
train:
{_backbones(plan)}
  image_size: {size}  # px; the final training uses {plan.final_size_px}
  batch_size: {plan.batch_size}
  label_smoothing: {{uniform: [0.0, {recipe.most_smoothing}]}}{balance}{layer_decay}
  head: {{{batch_norm}dropout: {{uniform: [0.0, 0.5]}}, l2: {{loguniform: [1e-6, 1e-3]}}}}
  # Each photo has {plan.views} augmented views, which are computed once while the backbone is frozen.
  augment: {{policy: {{choice: [light, medium]}}, views: {plan.views}}}
  stages:
    - {{name: head, unfreeze: 0.0, epochs: {head}, learning_rate: {{loguniform: [{head_start}]}}}}
    - name: half  # accuracy drops after unfreezing before it overtakes: hence the warm-up
      unfreeze: 0.5
      epochs: {half}
      learning_rate: {{loguniform: [{unfrozen}]}}
      schedule: {{kind: cosine, warmup_epochs: 0.5}}
    - name: full
      unfreeze: 1.0
      epochs: {full}
      learning_rate: {{loguniform: [{unfrozen}]}}
      schedule: {{kind: cosine, warmup_epochs: 0.5}}
"""


def _backbones(plan: Plan) -> str:
    if len(plan.backbones) == 1:
        return "\n".join(f"  {line}" for line in _backbone_lines(plan.backbones[0]))
    options = []
    for one in plan.backbones:
        options.append(f"      {_option(one)}:")
        options += [f"        {line}" for line in _backbone_lines(one)]
    return "\n".join(["  backbone:", "    choice:  # 'carsearch backbones' lists all", *options])


def _backbone_lines(one: Chosen) -> list[str]:
    alpha = [] if one.alpha == 1.0 else [f"alpha: {one.alpha:g}"]
    return [f"backbone: {one.backbone}", *alpha, f"weights: {_text(one.weights)}"]


def _option(one: Chosen) -> str:
    """A name for the choice, such as MobileNetV2_100."""
    return f"{one.backbone}_{round(100 * one.alpha)}"


def _search(found: Findings, plan: Plan) -> str:
    per_trial = "" if plan.cpus_per_trial is None else f"cpus_per_trial: {plan.cpus_per_trial}"
    first = f"\n    backbone: {_option(plan.backbones[0])}" if len(plan.backbones) > 1 else ""
    size = f"\n    image_size: {plan.image_size_px}" if plan.smaller_size_px is not None else ""
    recipe = plan.recipe
    layer_decay = f"\n    layer_decay: {recipe.first_layer_decay}" if recipe.first_layer_decay else ""
    devices = (
        "one GPU for each trial" if found.gpus else f"{count_text(plan.cpus_per_trial or 1, 'core')} for each trial"
    )
    limits = (
        f"trials: {plan.trials}  # at most: 'carsearch run --hours' usually ends the search before"
        if plan.search_hours is None
        else f"trials: {plan.trials}\n  budget: {{hours: {plan.search_hours:g}}}  # whichever ends first"
    )
    return f"""\
search:
  {limits}
  scheduler: {{kind: adaptive, reduction_factor: 3}}
  resources: {{{per_trial}}}  # {devices}
  baseline:  # trial 0{first}{size}
    label_smoothing: {recipe.first_smoothing}{layer_decay}
    head: {_FIRST_HEAD}
    augment: {_FIRST_AUGMENT}
    stages:
      head: {{learning_rate: {recipe.first_head_rate}}}
      half: {{learning_rate: {recipe.first_unfrozen_rate}}}
      full: {{learning_rate: {recipe.first_unfrozen_rate}}}
"""


def _final(plan: Plan) -> str:
    folds = f"\n  folds: {plan.folds}  # as many trainings, averaged" if plan.folds > 1 else ""
    return f"""\
{_PINNED_NOTE if plan.recipe.is_pinned else ""}\
retrain:  # changes for the final training, which is longer and larger{folds}
  image_size: {plan.final_size_px}
{_pinned(plan) if plan.recipe.is_pinned else _longer(plan)}
tta: {{views: [plain, flip]}}  # used only if they are expected to help
"""


def _longer(plan: Plan) -> str:
    return f"""\
  augment: {{views: 0}}  # a new view in every epoch
  stages:
    full: {{epochs: {plan.final_epochs}, {_FINAL_SCHEDULE}}}
"""


def _pinned(plan: Plan) -> str:
    recipe = plan.recipe
    layer_decay = f"\n  layer_decay: {recipe.first_layer_decay}" if recipe.first_layer_decay else ""
    rate = f"learning_rate: {recipe.first_unfrozen_rate}"
    return f"""\
  label_smoothing: {recipe.first_smoothing}{layer_decay}
  head: {_FIRST_HEAD}
  augment: {_FIRST_AUGMENT}
  stages:
    head: {{learning_rate: {recipe.first_head_rate}}}
    half: {{{rate}}}
    full: {{epochs: {plan.final_epochs}, {rate}, {_FINAL_SCHEDULE}}}
"""
