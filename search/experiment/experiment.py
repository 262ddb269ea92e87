"""`load` reads an experiment file, checks it as a whole, and returns a frozen `Experiment`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from carcls.config import TrainConfig
from search.errors import ExperimentError, Problem
from search.experiment.baseline import drop_fixed_values, read_baseline
from search.experiment.checks import check_space, source_path
from search.experiment.domains import Value
from search.experiment.file.overlay import overlay
from search.experiment.file.overrides import apply_overrides
from search.experiment.file.paths import is_url, make_absolute, missing_files, path_problems
from search.experiment.file.problems import Problems, dotted
from search.experiment.file.renamed import with_new_names
from search.experiment.file.yaml_source import KeyPath, Plain, Source, dump, parse_source, read_source
from search.experiment.node_store import copied_to, results_folder
from search.experiment.schema import Violation, check
from search.experiment.search_settings import SearchSettings
from search.experiment.settings import (
    DataSettings,
    ExperimentSections,
    RecordSettings,
    RetrainSettings,
    StoreSettings,
    TtaSettings,
)
from search.experiment.space import Space
from search.experiment.template import read_space

_CHANGED_REFIT = (
    "but `carsearch retrain` will refuse retrain.photos: all without folds if the other keys of retrain change the"
    " winner's configuration, which tells how long to train: set retrain.folds to 2 or more, or remove these keys"
)


@dataclass(frozen=True)
class Experiment:
    """A checked experiment file. Equal if the same search would run, wherever the files are."""

    path: Path = field(compare=False)
    """The file it was loaded from."""
    name: str
    data: DataSettings
    """With `root` and `extra` as folders of this node, also where the file has URLs."""
    photos_at: str = field(compare=False)
    """`data.root` as a segment gets it: an absolute path, or a URL."""
    extra_at: str | None = field(compare=False)
    """`data.extra` as a segment gets it; None without extra photos."""
    search: SearchSettings
    tta: TtaSettings
    store: StoreSettings
    record: RecordSettings
    results: Path
    """The folder of all studies; this study's folder is `results / name`. Where the file has a URL, its mirror."""
    results_url: str | None = field(compare=False)
    """`results` in object storage; None: a folder."""
    storage: str | None = field(compare=False)
    """Address of the database that holds the study's record; None: a file in the study's folder."""
    space: Space
    baseline: Mapping[str, Value]
    """A value for every parameter active in the default recipe."""
    retrain: Mapping[str, Plain]
    """Changes for the final training, a tree like `train`."""
    photos: Literal["train", "all"]
    """`all`: one more final training, on all labelled photos, is the exported model."""
    folds: int
    """Number of final trainings, each validating on another part of the labelled photos; 1: the study's own split."""
    retrain_gpus: int | Literal["all"] = field(compare=False)
    """GPUs of each final training."""
    tree: Mapping[str, Plain] = field(repr=False)
    """The whole file as plain values: overrides applied, paths absolute."""

    @property
    def is_refit_alone(self) -> bool:
        """True if the only final training is on all photos.

        Extra photos and pseudo-labels are measured first, without folds by trainings on the study's own split.
        """
        is_measured = self.data.extra is not None or self.data.pseudo is not None
        return self.photos == "all" and self.folds == 1 and not is_measured

    @property
    def is_fixed(self) -> bool:
        """True if nothing is searched: the file has no domains."""
        return not self.space.parameters

    def bind(self, params: Mapping[str, Value]) -> TrainConfig:
        """The configuration at one point of the space.

        Raises ExperimentError naming each parameter that is missing, unknown or out of range, or each violation of the
        training schema.
        """
        wrong = self.space.problems(params)
        if wrong:
            where = {parameter.name: parameter.where for parameter in self.space.parameters}
            raise ExperimentError(tuple(Problem(where.get(name, str(self.path)), name, text) for name, text in wrong))
        resolved = self.space.resolve(lambda parameter: params[parameter.name])
        config = check(TrainConfig, resolved.tree)
        if isinstance(config, TrainConfig):
            return config
        raise ExperimentError(tuple(self._problem(wrong, resolved.sources, "train") for wrong in config))

    def retrain_config(self, config: TrainConfig) -> TrainConfig:
        """A configuration with the `retrain` changes applied. Those to stages and layers that it lacks are ignored.

        Raises ExperimentError if the result violates the training schema.
        """
        resolved = overlay(config.model_dump(mode="json"), self.retrain, ("retrain",))
        changed = check(TrainConfig, resolved.tree)
        if isinstance(changed, TrainConfig):
            return changed
        raise ExperimentError(tuple(self._problem(wrong, resolved.sources, "retrain") for wrong in changed))

    def _problem(self, wrong: Violation, sources: Mapping[KeyPath, KeyPath], section: str) -> Problem:
        key = dotted(self.tree, source_path(sources, wrong.path, (section,)))
        return Problem(str(self.path), key, wrong.message)

    def missing_files(self) -> tuple[Problem, ...]:
        """Photos, weights, policies and libraries that this machine lacks. `load` does not check this."""
        missing = missing_files(dict(self.tree))
        return tuple(Problem(str(self.path), dotted(self.tree, place), message) for place, message in missing)

    def resolved_yaml(self) -> str:
        """The file with overrides applied and absolute paths. It loads to an equal experiment."""
        opening = f"# {self.name}: the frozen copy of an experiment; overrides applied, paths absolute."
        return f"{opening}\n{dump(dict(self.tree))}"

    def summary_lines(self) -> tuple[str, ...]:
        """A few lines for the terminal about what the search would do."""
        first = self.bind(self.baseline)
        if self.is_fixed:
            first = self.retrain_config(first)
        stages = " + ".join(f"{stage.name} {stage.epochs}" for stage in first.stages)
        lines = [
            f"photos: {self.data.root}, {self._split_text()}",
            f"stages: {stages} = {first.total_epochs} epochs",
        ]
        if self.is_fixed:
            return (*lines, "one fixed recipe: no domains; train it with `carsearch train`")
        lines.append(f"search: {self.search.trials} trials by {self.search.sampler}; {self._scheduler_text()}")
        for parameter in self.space.parameters:
            value = self.baseline.get(parameter.name, parameter.domain.default())
            lines.append(f"{parameter.name}: {parameter.domain}, first {value}")
        if self.is_refit_alone and self.retrain:
            lines.append(_CHANGED_REFIT)
        return tuple(lines)

    def _scheduler_text(self) -> str:
        scheduler = self.search.scheduler
        if scheduler.kind == "none":
            return "all run to the end"
        which = "after each stage" if scheduler.first_rung == 1 else f"from stage {scheduler.first_rung} on"
        text = f"{which} the best 1/{scheduler.reduction_factor} continue"
        return f"{text}, at rungs that rank like the last one" if scheduler.kind == "adaptive" else text

    def _split_text(self) -> str:
        column = self.data.split_column
        text = f"{self.data.validation.fraction:.0%} held back for validation"
        if column is not None:
            text = f"split by column {column!r}, or {text} if it names no photo for that"
        return text if self.data.holdout is None else f"{text}, {self.data.holdout.fraction:.0%} as holdout"


def load(path: Path, overrides: Sequence[str] = (), *, stored: bool = False) -> Experiment:
    """Reads and checks an experiment file.

    overrides: `path=value` texts, applied in order. stored: the file is a study's own copy, which may use old key
    names. Relative paths are relative to the current folder; photos and weights need not exist. Raises ExperimentError
    with every problem found: file and line, key, what was expected, and the nearest valid name.
    """
    source = read_source(path)
    if stored:
        source = replace(source, tree=with_new_names(source.tree))
    return _checked(source, path, overrides)


def from_text(text: str, name: str) -> Experiment:
    """Checks an experiment file's text. name: stands for the file in errors. Raises as `load`."""
    return _checked(parse_source(text, name), Path(name), ())


def _checked(source: Source, path: Path, overrides: Sequence[str]) -> Experiment:
    drop_fixed_values(source.tree, apply_overrides(source, overrides))
    source.tree.setdefault("results", str(ExperimentSections.model_fields["results"].default))
    make_absolute(source.tree, Path.cwd())
    return _build(source, path)


def _build(source: Source, path: Path) -> Experiment:
    problems = Problems(source)
    sections = _read_sections(source, problems)
    photos_at, extra_at = _photos_at(source.tree, "root") or "", _photos_at(source.tree, "extra")
    results = source.tree.get("results")
    if is_url(results) and source.tree.get("storage") is not None:
        problems.add(("storage",), "expected null: with results at a URL, the record is there")
    for place, wrong in path_problems(source.tree):
        problems.add(place, wrong)
    space = read_space(source, problems)
    baseline = read_baseline(source.tree, space, problems)
    if isinstance(source.tree.get("train"), dict):
        retrain = source.tree.get("retrain")
        changes = retrain if isinstance(retrain, dict) else {}
        own = RetrainSettings.model_fields
        check_space(space, baseline, {key: value for key, value in changes.items() if key not in own}, problems)
    if sections is not None and not space.parameters:
        _check_refit(sections, problems)
    problems.raise_any()
    if sections is None:
        raise RuntimeError("sections were rejected without a problem")  # a bug in this module, not in the file
    return Experiment(
        path=path,
        name=sections.name,
        data=sections.data.model_copy(
            update={
                "root": copied_to(photos_at, sections.store),
                "extra": None if extra_at is None else copied_to(extra_at, sections.store),
            }
        ),
        photos_at=photos_at,
        extra_at=extra_at,
        search=sections.search,
        tta=sections.tta,
        store=sections.store,
        record=sections.record,
        results=results_folder(results) if is_url(results) else sections.results,
        results_url=results if is_url(results) else None,
        storage=sections.storage,
        space=space,
        baseline=baseline,
        retrain=sections.retrain.changes,
        photos=sections.retrain.photos,
        folds=sections.retrain.folds,
        retrain_gpus=sections.retrain.gpus,
        tree=source.tree,
    )


def _photos_at(tree: Mapping[str, Plain], key: str) -> str | None:
    """A folder of photos in section `data` as text; None if the file has none. The schema reports other values."""
    data = tree.get("data")
    folder = data.get(key) if isinstance(data, dict) else None
    return folder if isinstance(folder, str) else None


def _check_refit(sections: ExperimentSections, problems: Problems) -> None:
    """Notes that a recipe asks for a training on all photos, but for nothing that sets its length."""
    retrain, data = sections.retrain, sections.data
    is_measured = data.extra is not None or data.pseudo is not None  # by trainings on the split
    if retrain.photos == "all" and retrain.folds == 1 and not is_measured:
        problems.add(
            ("retrain", "photos"),
            "all: without a search only folds tell how long to train without validation; set retrain.folds to 2 or"
            " more",
        )


def _read_sections(source: Source, problems: Problems) -> ExperimentSections | None:
    sections = check(ExperimentSections, source.tree)
    if isinstance(sections, ExperimentSections):
        return sections
    for wrong in sections:
        problems.add(wrong.path, wrong.message)
    return None
