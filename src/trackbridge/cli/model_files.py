"""``bridge models``: the files of a model on this machine, and a server over them in the foreground."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trackbridge.cli.options import example, open_client, output_option, uri_option
from trackbridge.cli.output import Output

if TYPE_CHECKING:
    from trackbridge.api.client import Client

PORT = 5001


@click.command(epilog=example("bridge models download models:/wine@champion ./wine"))
@click.argument("model_uri")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@uri_option
@output_option
def download(output: Output, model_uri: str, folder: Path | None, uri: str | None) -> None:
    """Fetch the files of a model, checked by their digest, and print where they lie.

    MODEL_URI is models:/wine/3, models:/wine@champion, wine/3 or runs:/RUN_ID/PATH. Without FOLDER the files
    stay in the project's cache and are not to be changed.
    """
    from trackbridge.api.models import copy_files

    found = _fetch(output, open_client(uri), model_uri)
    place = found if folder is None else copy_files(found, folder)
    output.show(str(place))
    output.summary({"path": str(place)})


@click.command(
    epilog=example(
        "bridge models serve models:/wine@champion",
        "bridge models serve ./exported --port 8080 --workers 2",
    )
)
@click.argument("model_uri")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=PORT, show_default=True, help="Where to listen."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that score.")
@uri_option
@output_option
def serve(output: Output, model_uri: str, port: int, host: str, workers: int, uri: str | None) -> None:
    """Serve a model by mlflow's scoring protocol until Ctrl-C.

    MODEL_URI is models:/wine/3, models:/wine@champion, wine/3, runs:/RUN_ID/PATH, or the path of a folder.
    """
    from trackbridge.domain.serving import ServingSettings
    from trackbridge.serving import serve as run_server

    folder = _fetch(output, open_client(uri), model_uri)
    output.note(f"serving {model_uri} at http://{host}:{port}/invocations; end it with Ctrl-C")
    run_server(
        ServingSettings(model_path=str(folder), model=model_uri, host=host, port=port, workers=workers)
    )


def _fetch(output: Output, client: Client, model_uri: str) -> Path:
    """Bring the files of a model here, with a bar where they take a while."""
    from trackbridge.api.models import local_path

    address = model_address(model_uri)
    with Fetching(output, f"fetching {model_uri}") as on_progress:
        return local_path(client, address, on_progress=on_progress)


class Fetching(ExitStack):
    """A bar that begins when it is known how much there is to fetch."""

    def __init__(self, output: Output, label: str) -> None:
        super().__init__()
        self._output = output
        self._label = label
        self._update: Callable[[int], None] | None = None

    def __call__(self, done: int, total: int) -> None:
        """Show how much is here."""
        if self._update is None:
            self._update = self.enter_context(self._output.progress(self._label, total))
        self._update(done)


def model_address(text: str) -> str:
    """Return the full form of ``wine/3`` and ``wine@champion``; a path that is there stays a path."""
    is_name = ":" not in text and not text.startswith((".", "/", "~")) and not Path(text).exists()
    return f"models:/{text}" if is_name else text
