"""carsearch data: commands about photos."""

import os
import threading
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.exit_codes import ERROR
from search.terminal.console import console, say, warn

if TYPE_CHECKING:
    from carcls.dataset.layouts import Layout
    from carcls.dataset.table import Dataset, Quarantined
    from carcls.splits.extra import ExtraPhotos

data_app = typer.Typer(help="Photos: check a folder, unpack archives, make the sample data.", no_args_is_help=True)


@data_app.command("sample")
def data_sample(
    root: Annotated[Path, typer.Argument(help="Folder to draw into.")],
    *,
    seed: Annotated[int, typer.Option(help="Seed of the photos, but not of the car models.")] = 0,
    train_per_class: Annotated[int, typer.Option(help="Photos to train on, for each model.")] = 80,
    test_per_class: Annotated[int, typer.Option(help="Photos to predict, for each model.")] = 30,
    classes: Annotated[int, typer.Option(help="Number of car models; more are harder to tell apart.")] = 10,
    family: Annotated[int, typer.Option(help="Seed of the car models.")] = 0,
) -> None:
    """Draw the sample data: car models in the contest's layout."""
    from carcls.demo.sample import write_sample

    write_sample(
        root,
        seed=seed,
        train_per_class=train_per_class,
        test_per_class=test_per_class,
        classes=classes,
        family=family,
    )
    say(f"sample data: {root}")


@data_app.command("report")
@data_app.command("check")
def data_check(
    context: typer.Context,
    root: Annotated[Path, typer.Argument(help="The data folder.", show_default=False)],
    *,
    output: Annotated[
        Path | None, typer.Option(help="Folder for lists and contact sheet; default: ./data-check-<name of ROOT>.")
    ] = None,
    image_size: Annotated[int, typer.Option(help="Image size in px to estimate the pixel store for.")] = 224,
    fraction: Annotated[float | None, typer.Option(help="Validation share to show instead of a suggested one.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the shown split.")] = 0,
    labels: Annotated[Path | None, typer.Option(help="CSV file of paths and labels; default: detected.")] = None,
    test: Annotated[Path | None, typer.Option(help="Folder of photos to predict; default: detected.")] = None,
    sample: Annotated[Path | None, typer.Option(help="Sample submission; default: detected.")] = None,
    path_column: Annotated[str | None, typer.Option(help="Column of paths in the CSV file.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of labels in the CSV file.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Column of groups that stay on one side.")] = None,
    split_column: Annotated[str | None, typer.Option(help="Column of your own split: train, val, holdout.")] = None,
    extension: Annotated[
        str | None, typer.Option(help="File extension, such as .jpg, of photos that the CSV file names without it.")
    ] = None,
    exclude: Annotated[Path | None, typer.Option(help="CSV file of paths to leave out.")] = None,
    nested: Annotated[bool, typer.Option("--nested", help="Class folders are nested: Audi/A4/1.jpg.")] = False,
    extra: Annotated[Path | None, typer.Option(help="Folder of more labelled photos, for training alone.")] = None,
) -> None:
    """Check photos and labels: counts, sizes, unusable photos, copies, split. Exit 2 if `run` would refuse them.

    `data report` also writes report.html: photos of each class, copies side by side, blurred and dark photos, sizes,
    and the views of each augmentation policy.

    Options have the same meaning as the keys of `data` in an experiment file.
    """
    from carcls.dataset.layouts import Layout

    layout = Layout(
        labels=labels,
        path_column=path_column,
        label_column=label_column,
        group_column=group_column,
        split_column=split_column,
        test=test,
        sample=sample,
        extension=extension and f".{extension.removeprefix('.')}",
        exclude=exclude,
        extra=extra,
        nested=nested,
    )
    folder = output if output is not None else Path(f"data-check-{root.resolve().name or 'root'}")
    trouble = _check(
        root,
        layout,
        folder,
        image_size=image_size,
        fraction=fraction,
        seed=seed,
        with_page=context.info_name == "report",
        extra_root=extra,
    )
    if trouble:
        warn(f"carsearch: {trouble}")
        raise typer.Exit(ERROR)


def _check(
    root: Path,
    layout: "Layout",
    folder: Path,
    *,
    image_size: int,
    fraction: float | None,
    seed: int,
    with_page: bool,
    extra_root: Path | None,
) -> str:
    """Prints the findings and writes the lists; returns why no search would start, or an empty text."""
    from carcls.dataset.loading import load_dataset
    from carcls.errors import DataError
    from carcls.inspection.findings import write_lists
    from carcls.inspection.folder_check import class_rows, examine
    from search.cli.commands.data_findings import extra_line, report_lines, row_lines

    try:
        dataset = load_dataset(root, processes=len(os.sched_getaffinity(0)), layout=layout)
    except DataError as error:
        for line in row_lines(class_rows(root, layout)):
            say(line)
        return f"{root}: nothing can be trained: {error}"
    # This import takes a third of a second; meanwhile the search for near duplicates uses only one core.
    drawing = threading.Thread(target=import_module, args=("carcls.inspection.contact_sheet",))
    drawing.start()
    found = examine(dataset, seed=seed, fraction=fraction)
    extra, left_out, extra_trouble = _extra(dataset, extra_root, nested=layout.nested)
    found = replace(found, quarantined=(*found.quarantined, *left_out))
    drawing.join()
    for line in report_lines(found, sizes_px=(image_size,)):
        say(line)
    if extra is not None:
        say(extra_line(extra, left_out))
    for line in found.warnings:
        warn(f"warning: {line}")

    from carcls.inspection.contact_sheet import sheet_rows, write_contact_sheet

    write_lists(found, folder)
    write_contact_sheet(sheet_rows(dataset, found, seed=seed), root, folder / "contact_sheet.png")
    if with_page:
        from search.report.data_page import write_data_page

        write_data_page(folder / "report.html", dataset, found, seed=seed, threads=len(os.sched_getaffinity(0)))
        say(f"report: {folder / 'report.html'}")
    say(f"lists and contact sheet: {folder}")
    if found.trouble:
        return f"{root}: nothing can be trained: {found.trouble}"
    return found.sample_problem or extra_trouble


def _extra(
    dataset: "Dataset", root: Path | None, *, nested: bool
) -> "tuple[ExtraPhotos | None, tuple[Quarantined, ...], str]":
    """Extra photos, what is left out of them, and why they cannot be used, or an empty text."""
    from carcls.errors import DataError
    from carcls.splits.extra import load_extra

    if root is None:
        return None, (), ""
    try:
        return *load_extra(root, dataset, processes=len(os.sched_getaffinity(0)), nested=nested), ""
    except DataError as error:
        return None, (), str(error)


@data_app.command("audit")
def data_audit(
    study: Annotated[Path, typer.Argument(help="The study's folder, such as results/cars.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="Folder for audit.csv and audit.html; default: the study's folder.")
    ] = None,
) -> None:
    """List photos that look mislabelled, by a study's predictions of photos that its models did not train on.

    `data.exclude: audit.csv` leaves the listed photos out of a new study.
    """
    from search.cli.actions import open_study
    from search.report.audit import write_audit

    folder, experiment = open_study(study)
    target = folder.root if output is None else output
    count, said = write_audit(folder, experiment, target)
    say(f"{count:,} of {len(said.paths):,} photos look mislabelled, by {said.of}")
    say(f"list and photos: {target / 'audit.csv'}, {target / 'audit.html'}")


@data_app.command("unpack")
def data_unpack(
    paths: Annotated[
        list[Path], typer.Argument(metavar="ARCHIVE... ROOT", help="Zip or tar archives, then the folder to unpack to.")
    ],
    replace: Annotated[bool, typer.Option("--replace", help="Replace existing files with different content.")] = False,
    encoding: Annotated[
        str | None,
        typer.Option(help="Code page of names that are not marked as UTF-8, such as cp1251; default: detected."),
    ] = None,
) -> None:
    """Unpack archives, including nested ones; nothing is ever written outside ROOT."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    from carcls.archives.unpack import unpack

    if len(paths) < 2:
        raise typer.BadParameter("expected one or more archives, then the folder to unpack to")
    if encoding is not None and not _is_code_page(encoding):
        raise typer.BadParameter(f"--encoding {encoding}: not a code page that Python knows, such as cp1251")
    *archives, root = paths
    shown = console(stderr=True)
    with Progress(
        BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=shown, disable=not shown.is_terminal
    ) as bar:
        task = bar.add_task("unpack")
        end = unpack(
            archives,
            root,
            replace=replace,
            encoding=encoding,
            on_bytes=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for note in end.notes:
        warn(f"warning: {note}")
    kept = f", {end.kept:,} were there already" if end.kept else ""
    say(f"unpacked: {end.written:,} files{kept}, {end.byte_count / 1e6:,.1f} MB: {root}")


def _is_code_page(encoding: str) -> bool:
    """Whether it is a text encoding that is compatible with ASCII."""
    try:
        return b"a/".decode(encoding) == "a/"
    except (LookupError, ValueError):
        return False
