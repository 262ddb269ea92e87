"""carsearch data: what concerns photos alone."""

import os
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.terminal import console, say, warn

if TYPE_CHECKING:
    from carcls.data.layouts import Layout

data_app = typer.Typer(help="Photos: check a folder, unpack archives, make the sample data.", no_args_is_help=True)


@data_app.command("sample")
def data_sample(
    root: Annotated[Path, typer.Argument(help="Folder to draw into.")],
    seed: Annotated[int, typer.Option(help="Another seed, other photos of the same car models.")] = 0,
    train_per_class: Annotated[int, typer.Option(help="Photos to train on, for each model.")] = 80,
    test_per_class: Annotated[int, typer.Option(help="Photos to predict, for each model.")] = 30,
) -> None:
    """Draw the sample data: ten car models in the contest's layout."""
    from carcls.data.sample import write_sample

    write_sample(root, seed=seed, train_per_class=train_per_class, test_per_class=test_per_class)
    say(f"sample data: {root}")


@data_app.command("check")
def data_check(
    root: Annotated[Path, typer.Argument(help="The data folder.", show_default=False)],
    *,
    output: Annotated[
        Path | None, typer.Option(help="Folder for lists and contact sheet; else ./data-check-<name of ROOT>.")
    ] = None,
    image_size: Annotated[int, typer.Option(help="Image size in px for which the pixel store is predicted.")] = 224,
    fraction: Annotated[float | None, typer.Option(help="Validation share to show instead of a suggested one.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split shown.")] = 0,
    labels: Annotated[Path | None, typer.Option(help="CSV file of paths and labels; else it is looked for.")] = None,
    test: Annotated[Path | None, typer.Option(help="Folder of photos to predict; else it is looked for.")] = None,
) -> None:
    """Check photos and labels: counts, sizes, unusable photos, copies, split. Exit 2 where nothing can be trained."""
    from carcls.data.layouts import Layout

    layout = Layout(labels=labels, test=test)
    folder = output if output is not None else Path(f"data-check-{root.resolve().name or 'root'}")
    trouble = _check(root, layout, folder, image_size=image_size, fraction=fraction, seed=seed)
    if trouble:
        warn(f"carsearch: {root}: nothing can be trained: {trouble}")
        raise typer.Exit(2)


def _check(root: Path, layout: "Layout", folder: Path, *, image_size: int, fraction: float | None, seed: int) -> str:
    """Prints and writes; returns why nothing can be trained, or nothing."""
    from carcls.data.check import class_rows, examine
    from carcls.data.findings import write_lists
    from carcls.data.table import load_dataset
    from carcls.errors import DataError
    from search.data_report import report_lines, row_lines

    try:
        dataset = load_dataset(root, processes=len(os.sched_getaffinity(0)), layout=layout)
    except DataError as error:
        for line in row_lines(class_rows(root, layout)):
            say(line)
        return str(error)
    # Drawing takes a third of a second to import: meanwhile, because near duplicates keep only one core busy.
    drawing = threading.Thread(target=import_module, args=("carcls.data.contact_sheet",))
    drawing.start()
    found = examine(dataset, seed=seed, fraction=fraction)
    drawing.join()
    for line in report_lines(found, sizes_px=(image_size,)):
        say(line)
    for line in found.warnings:
        warn(f"warning: {line}")

    from carcls.data.contact_sheet import sheet_rows, write_contact_sheet

    write_lists(found, folder)
    write_contact_sheet(sheet_rows(dataset, found, seed=seed), root, folder / "contact_sheet.png")
    say(f"lists and contact sheet: {folder}")
    return found.trouble


@data_app.command("unpack")
def data_unpack(
    paths: Annotated[
        list[Path], typer.Argument(metavar="ARCHIVE... ROOT", help="Zip or tar archives, then the folder to unpack to.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace files that stand there with other content.")
    ] = False,
) -> None:
    """Unpack archives, also those inside archives; nothing is ever written outside ROOT."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    from carcls.data.archives import unpack

    if len(paths) < 2:
        raise typer.BadParameter("expected one archive or more, then the folder to unpack to")
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
            on_bytes=lambda done, total: bar.update(task, completed=done, total=total),
        )
    kept = f", {end.kept:,} were there already" if end.kept else ""
    say(f"unpacked: {end.written:,} files{kept}, {end.byte_count / 1e6:,.1f} MB: {root}")
