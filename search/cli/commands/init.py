"""carsearch init: writes an experiment file for a folder of photos, or copies a template."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from search.terminal.console import console, say, warn

if TYPE_CHECKING:
    from search.start.sources import Source
    from search.start.write import Written

UNPACKED = Path("data")
"""Archives are unpacked below this folder of the current one."""

Preset = Literal["quick", "medium", "best"]
"""As in `search.start.plan`, whose imports this file avoids."""
PresetOption = Annotated[
    Preset,
    typer.Option("--preset", help="How long to search: minutes, about an hour, or hours; sized for this machine."),
]
WeightsOption = Annotated[
    list[Path] | None,
    typer.Option("--weights", help="File or folder of weights without the top, for machines offline; repeatable."),
]


def init(
    data: Annotated[
        Path | None, typer.Argument(help="Folder or archive of photos.", show_default=False, metavar="DATA")
    ] = None,
    *,
    preset: PresetOption = "medium",
    name: Annotated[str | None, typer.Option(help="Name of the study; default: from DATA.")] = None,
    output: Annotated[Path | None, typer.Option(help="File to write; default: NAME.yaml.")] = None,
    weights: WeightsOption = None,
    template: Annotated[str | None, typer.Option(help="Copy this template instead of looking at photos.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the templates.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write an experiment file: commented, sized for the photos and this machine, with its estimated time."""
    if list_:
        from search.start.templates import TEMPLATES

        for known, purpose in TEMPLATES.items():
            say(f"{known:18}{purpose}")
        return
    if template is not None:
        _copy(template, output or Path(f"{template}.yaml"), replace=replace)
        return
    if data is None:
        raise typer.BadParameter("expected a folder or archive of photos, or --template NAME, or --list")
    from search.start.sources import source_of, study_name
    from search.start.write import check_free

    source = source_of(data, into=UNPACKED)
    study = name or study_name(data)
    file = output or Path(f"{study}.yaml")
    check_free(file, replace=replace)
    unpack_with_bar(source)
    written = write(source, preset=preset, name=study, file=file, weights=weights, replace=replace)
    say(f"wrote {written.file}; next: carsearch check --here {file}, then carsearch run {file}")


def write(
    source: "Source",
    *,
    preset: Preset,
    name: str,
    file: Path,
    weights: list[Path] | None,
    replace: bool,
    run_hours: float | None = None,
) -> "Written":
    """Writes the file and prints what was found and chosen. run_hours: see `make_plan`."""
    from search.start.write import write_experiment

    written = write_experiment(
        source.photos,
        preset=preset,
        name=name,
        file=file,
        weights=weights or (),
        replace=replace,
        run_hours=run_hours,
    )
    for line in written.lines():
        say(line)
    if written.plan.warning:
        warn(f"warning: {written.plan.warning}")
    return written


def unpack_with_bar(source: "Source") -> None:
    """Unpacks archives, if there are any, with a bar in a terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    from search.start.sources import unpack_source

    if not source.archives:
        return
    shown = console(stderr=True)
    with Progress(
        BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=shown, disable=not shown.is_terminal
    ) as bar:
        task = bar.add_task("unpack")
        unpack_source(source, on_bytes=lambda done, total: bar.update(task, completed=done, total=total), say=say)


def _copy(template: str, file: Path, *, replace: bool) -> None:
    from search.start.templates import template_path
    from search.start.write import check_free

    source = template_path(template)
    check_free(file, replace=replace)
    shutil.copyfile(source, file)
    say(f"wrote {file}: set name, data.root and weights, then 'carsearch check --here {file}'")
