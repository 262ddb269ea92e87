"""carsearch bench: what this machine can do, in minutes."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from carcls.catalog import AUGMENT_POLICIES, KNOWN_BACKBONES, nearest_name
from carcls.errors import ConfigError
from search.terminal.console import say, warn
from search.terminal.formatting import short_duration_text, size_text

if TYPE_CHECKING:
    from search.bench.plan import Wishes
    from search.bench.results import Measured

_CPU_MODELS, _GPU_MODELS = "MobileNetV2,EfficientNetB0", "EfficientNetB0,EfficientNetB3,Xception,EfficientNetV2S"
_CPU_SIZES, _GPU_SIZES = "224,160", "224,300"
_CPU_BATCHES, _GPU_BATCHES = "16,32", "32,64,128,256"
_CPU_THREADS = 4
"""As `search.on_ray.cluster.nodes` gives a trial without a GPU."""
_MEMORY_SHARE = 0.9
"""Of the machine's memory, for measurements on CPUs."""
_GB = 1e9


def bench(
    *,
    backbones: Annotated[
        str | None, typer.Option(help="Names, the most important first, with a width as MobileNetV2:0.35; by commas.")
    ] = None,
    sizes: Annotated[str | None, typer.Option(help="Sides of the photos in px, by commas.")] = None,
    precisions: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16, by commas.")] = "auto",
    batches: Annotated[str | None, typer.Option(help="Batch sizes, by commas.")] = None,
    at_once: Annotated[str, typer.Option(help="Trials that share one GPU, or the cores, by commas.")] = "1,2,4",
    policy: Annotated[str, typer.Option(help="Augmentation policy of the photos that are prepared.")] = "medium",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Timed steps of each training; default: about three seconds of them.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="When to stop measuring.")] = 10.0,
    memory_gb: Annotated[
        float | None, typer.Option(min=0.01, help="Memory for trainings on CPUs; default: 90 % of the machine's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Measure what this machine can do: images per second, batches that fit, trials at once, photos prepared.

    Trains random weights on generated photos, each measurement in a process of its own, set up as a trial's. The
    results are kept for this machine, where `check --here` and `init` find them to estimate times.
    """
    from search.bench.recommend import advise
    from search.bench.results import Bench, bench_file, machine_line, merged, read_bench, to_json, write_bench
    from search.bench.run import Bencher
    from search.worker.machine_memory import gpu_count, machine_bytes

    gpus, cores = gpu_count(), len(os.sched_getaffinity(0))
    wishes = chosen(
        backbones=backbones or (_GPU_MODELS if gpus else _CPU_MODELS),
        sizes=sizes or (_GPU_SIZES if gpus else _CPU_SIZES),
        precisions=precisions,
        batches=batches or (_GPU_BATCHES if gpus else _CPU_BATCHES),
        at_once=at_once,
        policy=policy,
        cores=cores,
        gpus=gpus,
    )
    file, limit = bench_file(), int(memory_gb * _GB) if memory_gb else int(_MEMORY_SHARE * machine_bytes())
    tell = (lambda line: None) if as_json else say
    tell(f"machine: {machine_line(cores)}; {minutes:g} min at most")
    found: list[Measured] = []
    for one in Bencher(gpus=gpus, steps=steps, minutes=minutes, memory_bytes=limit).measurements(wishes):
        found.append(one)
        tell(f"  {result_line(one)}")
        # Kept after each one, so that an interruption loses nothing.
        before = read_bench(file)
        everything = Bench(machine_line(cores), gpus, cores, merged(before.found if before else (), found))
        write_bench(file, everything)
    if not found:
        warn("carsearch: nothing was measured: choose sizes that the backbones accept, or more minutes")
        raise typer.Exit(1)
    advice = advise(Bench(machine_line(cores), gpus, cores, tuple(found)))
    if as_json:
        say(json.dumps({**to_json(everything), "measured_now": len(found), "advice": asdict(advice)}))
        return
    for line in [*table(found), *advice.lines()]:
        say(line)
    say(f"kept in {file}; 'carsearch check --here FILE' estimates times with it")


def chosen(
    *,
    backbones: str,
    sizes: str,
    precisions: str,
    batches: str,
    at_once: str,
    policy: str,
    cores: int,
    gpus: int,
) -> "Wishes":
    """The options as wishes. Raises ConfigError, typer.BadParameter for what is no number."""
    from carcls.config import Precision
    from search.bench.plan import Wishes

    if policy not in AUGMENT_POLICIES:
        raise ConfigError(f"--policy: expected one of {', '.join(AUGMENT_POLICIES)}, found {policy!r}")
    for precision in _words(precisions):
        if precision not in get_args(Precision):
            raise ConfigError(f"--precisions: expected {', '.join(get_args(Precision))}, found {precision!r}")
    threads = max(1, cores // gpus) if gpus else min(cores, _CPU_THREADS)
    counts = [count for count in _numbers(at_once, "--at-once") if gpus or count <= threads]
    return Wishes(
        models=tuple(_model(word) for word in _words(backbones)),
        sizes=tuple(_numbers(sizes, "--sizes")),
        precisions=tuple(word for word in get_args(Precision) if word in _words(precisions)),
        batches=tuple(sorted(_numbers(batches, "--batches"))),
        at_once=tuple(sorted({1, *counts})),
        processes=tuple(sorted({2**power for power in range(threads.bit_length()) if gpus} | {threads})),
        policy=policy,
        threads=threads,
    )


def _model(word: str) -> tuple[str, float]:
    name, _, alpha = word.partition(":")
    if name not in KNOWN_BACKBONES:
        near = nearest_name(name, list(KNOWN_BACKBONES))
        raise ConfigError(f"--backbones: unknown backbone {name!r}" + (f"; did you mean {near!r}?" if near else ""))
    try:
        width = float(alpha or 1.0)
    except ValueError:
        raise ConfigError(f"--backbones: expected a width such as {name}:0.35, found {word!r}") from None
    if width <= 0.0 or (width != 1.0 and not KNOWN_BACKBONES[name].has_alpha):
        raise ConfigError(f"--backbones: {name} has no width {alpha}")
    return name, width


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str, option: str) -> list[int]:
    words = _words(text)
    if not words or not all(word.isdecimal() and int(word) > 0 for word in words):
        raise ConfigError(f"{option}: expected whole numbers above 0 separated by commas, found {text!r}")
    return [int(word) for word in words]


def result_line(one: "Measured") -> str:
    """One measurement, for people."""
    from search.bench.results import Training

    if one.state != "measured":
        return f"{one.what.name}{_many(one)}: {one.state.replace('_', ' ')}: {one.cause}"
    if not isinstance(one.what, Training):
        return (
            f"{one.what.name}, {one.what.processes} process{'es' if one.what.processes > 1 else ''}:"
            f" {one.images_per_s:,.0f} views/s; {one.decoded_per_s:,.0f} photos/s decoded"
        )
    return (
        f"{one.what.name}{_many(one)}: {one.images_per_s:,.3g} images/s, predicts {one.forward_images_per_s:,.3g}/s,"
        f" compiled in {short_duration_text(one.compile_s)}, {size_text(one.memory_bytes)}"
    )


def _many(one: "Measured") -> str:
    count = getattr(one.what, "at_once", 1)
    return f", each of {count} at once" if count > 1 else ""


def table(found: "Sequence[Measured]") -> list[str]:
    """Images per second of single trainings: a row for each backbone, size and precision, a column for each batch."""
    from search.bench.results import Training
    from search.terminal.text_table import table_lines

    rows: dict[str, dict[int, str]] = {}
    for one in found:
        if isinstance(one.what, Training) and one.what.at_once == 1:
            name = one.what.name.rpartition(", batch ")[0]
            value = f"{one.images_per_s:,.3g}" if one.state == "measured" else one.state.replace("_", " ")
            rows.setdefault(name, {})[one.what.batch_size] = value
    columns = sorted({size for row in rows.values() for size in row})
    head = ["images/s by batch", *map(str, columns)]
    return table_lines([head, *([name, *(row.get(size, "") for size in columns)] for name, row in rows.items())])
