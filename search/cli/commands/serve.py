"""carsearch serve: a page on this machine that classifies photos with a model."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.terminal.console import say

if TYPE_CHECKING:
    from search.serve.server import Answer


def serve(
    model: Annotated[Path, typer.Argument(help="A model.keras file of `carsearch retrain` or `train`.")],
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any free one.")] = 8765,
) -> None:
    """Open a page on this machine: drop photos, see their classes. Ctrl-C ends it.

    Only this machine reaches it. Photos stay here, and are deleted once they are classified.
    """
    from search.terminal.logs import redirect_native_stderr

    redirect_native_stderr(Path(os.devnull))
    from carcls.backend.devices import configure_for_prediction
    from carcls.inference.export import load_model
    from search.errors import StartError
    from search.serve.server import Answer, ModelServer

    configure_for_prediction()
    exported = load_model(model)

    def classify(photo: Path) -> "Answer":
        [found] = exported.predict_files([photo])
        return Answer(tuple(found.ranked(exported.card.class_names)), found.error)

    try:
        server = ModelServer(classify, title=str(model), port=port)
    except OSError as error:
        raise StartError(f"127.0.0.1:{port}: {error.strerror}: choose another port with --port") from error
    with server:
        say(f"serving {model}: {server.url} (Ctrl-C ends it)")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            say("ended")
