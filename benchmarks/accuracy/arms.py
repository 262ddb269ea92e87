"""The ways to a final model. Each arm is a function of the settings; all share one search and its final training.

| arm | what is trained beside the shared search | judged out-of-fold |
|---|---|---|
| folds | the final training as the file says: the mean of its folds | yes |
| refit | `retrain: {photos: all}`: one more, on all photos but the holdout | no: it has seen them |
| with_refit | nothing: the mean of `folds` and `refit` | no |
| configurations | the folds of one or two other trials of the search, averaged with those of `folds` | yes |
| beside | `carsearch retrain --beside`: another backbone's folds, weighted by `carsearch ensemble` | no |
| ensemble | nothing: `carsearch ensemble` of the search's trials, in place of the final training | no: they chose it |
| soup | branches from one head, with other last rates, and the mean of their weights | no |
| branch | nothing: the best of these branches alone, beside which the soup must be seen | no |
| rectangles | the folds with `fit: pad` and 3:4 rectangles of as many pixels | yes |
| layer_decay | the folds with rates that fall towards the input | yes |
| small_data | the folds by the recipe of docs/recipes.md for a few hundred photos | yes |
| small_staged | the same, but the backbone unfreezes in stages | yes |
| two_recipes | nothing: the mean of `folds` and `small_data` | yes |
| hours | `carsearch run --hours` of the file as it is, with a search of its own; only if asked for | no |

The holdout judges all arms without leaks: it is drawn first, no training, early stopping or choice sees it, and it is
the same for all arms of a seed. Its price is that much fewer training photos for each arm alike. Without a holdout
(`--holdout 0`) only arms with folds are judged here: each photo by the models that did not train on it. These then
stand for one member each and not for the average, and the others are judged by their submissions alone.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.accuracy.judging import Answers, answers, blended, out_of_fold
from benchmarks.accuracy.recipes import (
    BRANCH,
    FOUND,
    SMALL_DATA,
    SMALL_STAGED,
    SOUP,
    branches,
    other_configurations,
    recipe,
    recipe_side,
    rectangle,
)
from benchmarks.accuracy.result import Judged, Result
from benchmarks.accuracy.steps import Settings, carsearch, python, search, train, trained_s, whole_run
from search.final.runners_up import runner_up_of
from search.study.ensemble_scores import EnsembleScores
from search.study.finals_beside import finals_beside, is_final_whole, trial_beside
from search.study.folder import StudyFolder
from search.study.frozen import open_experiment
from search.study.study import Study


@dataclass(frozen=True, slots=True)
class Options:
    """Of arms."""

    configurations: int = 2
    """Averaged by `configurations`, the winner included."""
    branches: int = 3
    """Of the soup."""
    layer_decay: float = 0.9
    hours: float = 0.66


@dataclass(frozen=True, eq=False)
class Told:
    """What an arm leaves."""

    answers: Answers
    out_of_fold: Judged | None
    trained_s: float
    note: str = ""


def run_arm(settings: Settings, arm: str, options: Options) -> tuple[Result, Answers]:
    """Trains what is not done yet, and judges. Raises SystemExit if a command fails."""
    told = ARMS[arm](settings, options)
    judged = told.answers.judged()
    result = Result(
        settings.photos,
        settings.seed,
        arm,
        judged,
        told.out_of_fold,
        told.trained_s,
        told.answers.ms,
        told.note,
    )
    return result, told.answers


def _folds(settings: Settings, options: Options) -> Told:
    del options
    study = _final_training(settings)
    own = out_of_fold([study]) if study.out_of_fold.exists() else None
    return Told(_folds_answers(settings), own, _folds_s(settings))


def _final_training(settings: Settings) -> StudyFolder:
    """The search and its final training. What its model says is kept before `refit` replaces it."""
    study = settings.study
    if not _kept(settings).exists():
        if not settings.of_hours:
            search(settings)
            carsearch("retrain", str(study.root))
        elif not study.scores.exists():
            raise SystemExit(f"{study.root} has no final training to compare with: run the arm hours first")
        _folds_answers(settings)
        _kept(settings).write_text(json.dumps(trained_s(study)), encoding="utf-8")
    return study


def _kept(settings: Settings) -> Path:
    """Exists once the final training is over: its seconds."""
    return settings.work / "answers" / f"{settings.name}_folds.json"


def _folds_s(settings: Settings) -> float:
    return float(json.loads(_kept(settings).read_text(encoding="utf-8")))


def _folds_answers(settings: Settings) -> Answers:
    return answers(settings, settings.study, settings.study.model, "folds")


def _refit(settings: Settings, options: Options) -> Told:
    del options
    study = _final_training(settings)
    carsearch("retrain", str(study.root), "--set", "retrain.photos=all")
    added = trained_s(study) - _folds_s(settings)
    note = "its length is what the folds found, so theirs is trained too"
    return Told(answers(settings, study, study.model, "refit"), None, added, note)


def _with_refit(settings: Settings, options: Options) -> Told:
    refit = _refit(settings, options)
    return Told(blended([_folds_answers(settings), refit.answers]), None, refit.trained_s)


def _configurations(settings: Settings, options: Options) -> Told:
    study = _final_training(settings)
    others = other_configurations(study, options.configurations - 1)
    studies, said, added = [study], [_folds_answers(settings)], 0.0
    for place, (_, config) in enumerate(others, start=2):
        name = f"{settings.name}_configuration{place}"
        own = train(settings, recipe(study, name, config), name)
        said.append(answers(settings, own, own.model, f"configuration{place}"))
        studies.append(own)
        added += trained_s(own)
    note = f"{len(studies)} configurations: the winner, trials {', '.join(str(number) for number, _ in others)}"
    own = out_of_fold(studies) if study.out_of_fold.exists() else None
    return Told(blended(said), own, added, note if others else "the search left no other whole trial")


def _beside(settings: Settings, options: Options) -> Told:
    del options
    study = _final_training(settings)
    if not any(is_final_whole(one) for one in finals_beside(study)):
        if runner_up_of(study, open_experiment(study)) is None:
            return Told(_folds_answers(settings), None, 0.0, "the search left no other backbone")
        carsearch("retrain", str(study.root), "--beside")
    other = next(one for one in finals_beside(study) if is_final_whole(one))
    carsearch("ensemble", str(study.root))
    if not study.ensemble_model.exists():
        return Told(_folds_answers(settings), None, trained_s(other), "refused, so the folds stay")
    members = EnsembleScores.read(study.ensemble_scores).members
    note = f"trial {trial_beside(other)} beside the winner; shares {', '.join(f'{one.share:g}' for one in members)}"
    return Told(answers(settings, study, study.ensemble_model, "beside"), None, trained_s(other), note)


def _ensemble(settings: Settings, options: Options) -> Told:
    del options
    study = _without_final(settings)
    carsearch("ensemble", str(study.root))
    if not study.ensemble_model.exists():
        return Told(_folds_answers(settings), None, 0.0, "refused, so the folds stay")
    return Told(answers(settings, study, study.ensemble_model, "ensemble"), None, 0.0, "kept")


def _without_final(settings: Settings) -> StudyFolder:
    """A copy of the study as the search left it."""
    searched, copy = _final_training(settings), settings.folder(f"{settings.name}_trials")
    if not copy.root.exists():
        part = copy.root.with_name(f"{copy.root.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(searched.root, part, ignore=shutil.ignore_patterns("retrain*", "ensemble"))
        part.rename(copy.root)
    return copy


def _soup(settings: Settings, options: Options) -> Told:
    return _souped(settings, options, SOUP)


def _branch(settings: Settings, options: Options) -> Told:
    return _souped(settings, options, BRANCH)


def _souped(settings: Settings, options: Options, model: str) -> Told:
    name = f"{settings.name}_soup"
    file = branches(_final_training(settings), name, count=options.branches)
    carsearch("run", str(file), "--or-resume")
    own = settings.folder(name)
    if not (own.root / FOUND).exists():
        python("benchmarks.accuracy.soup", str(own.root))
    found = json.loads((own.root / FOUND).read_text(encoding="utf-8"))
    spent = Study.open(own.root, read_only=True).trained_s
    note = f"{found['souped']} of {found['branches']} branches" if model == SOUP else "the soup's best branch alone"
    said = answers(settings, own, own.root / model, model.removesuffix(".keras"))
    return Told(said, None, spent if model == SOUP else spent / found["branches"], note)


def _rectangles(settings: Settings, options: Options) -> Told:
    del options
    height, width = rectangle(recipe_side(_final_training(settings)))
    changes = (f"train.image_size=[{height}, {width}]", "train.fit=pad")
    return _changed(settings, "rectangles", *changes, note=f"{height} x {width} px")


def _layer_decay(settings: Settings, options: Options) -> Told:
    _final_training(settings)
    return _changed(settings, "layer_decay", f"train.layer_decay={options.layer_decay:g}")


def _small_data(settings: Settings, options: Options) -> Told:
    del options
    _final_training(settings)
    return _changed(settings, "small_data", *SMALL_DATA, note="the winner's backbone")


def _small_staged(settings: Settings, options: Options) -> Told:
    del options
    _final_training(settings)
    return _changed(settings, "small_staged", *SMALL_STAGED, note="the winner's backbone")


def _two_recipes(settings: Settings, options: Options) -> Told:
    other = _small_data(settings, options)
    studies = [settings.study, settings.folder(f"{settings.name}_small_data")]
    own = out_of_fold(studies) if all(study.out_of_fold.exists() for study in studies) else None
    return Told(blended([_folds_answers(settings), other.answers]), own, other.trained_s)


def _changed(settings: Settings, arm: str, *changes: str, note: str = "") -> Told:
    """The final training with some values changed."""
    name = f"{settings.name}_{arm}"
    own = train(settings, recipe(settings.study, name), name, *changes)
    judged = out_of_fold([own]) if own.out_of_fold.exists() else None
    return Told(answers(settings, own, own.model, arm), judged, trained_s(own), note or ", ".join(changes))


def _hours(settings: Settings, options: Options) -> Told:
    study = whole_run(settings, f"{settings.name}_hours", options.hours)
    kept = study.ensemble_model.exists()
    model = study.ensemble_model if kept else study.model
    trained = Study.open(study.root, read_only=True).trained_s
    trained += trained_s(study) if study.scores.exists() else 0.0
    note = f"{options.hours:g} h, its search included; {'ensemble' if kept else 'final training'} submitted"
    return Told(answers(settings, study, model, "hours"), None, trained, note)


ARMS: Mapping[str, Callable[[Settings, Options], Told]] = {
    "folds": _folds,
    "refit": _refit,
    "with_refit": _with_refit,
    "configurations": _configurations,
    "beside": _beside,
    "ensemble": _ensemble,
    "soup": _soup,
    "branch": _branch,
    "rectangles": _rectangles,
    "layer_decay": _layer_decay,
    "small_data": _small_data,
    "small_staged": _small_staged,
    "two_recipes": _two_recipes,
    "hours": _hours,
}
DEFAULT = tuple(arm for arm in ARMS if arm != "hours")
