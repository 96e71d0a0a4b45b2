"""The process that builds a context, and tries its server out: ``python -m … FOLDER ENDPOINT DEPLOYMENT``.

It outlives the command that started it. When it is killed, the next look at the operation starts another.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.errors import BridgeError, Rejected
from trackbridge.transport.file_locks import try_held
from trackbridge_adapters.docker.config import ADAPTER
from trackbridge_adapters.docker.context import write_context
from trackbridge_adapters.docker.errors import translating
from trackbridge_adapters.docker.state import Built, Endpoint, Store, Work

TRIAL_S = 600.0
"""How long the server of a context may take until it answers."""
LOOK_S = 0.05
END_S = 10.0
REASON_CHARS_MAX = 2000
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ", "VIRTUAL_ENV", "TMPDIR")
"""What the server of a trial sees of the user's variables: no credential, and nothing an image has not."""
DRAFT = ".draft-"
TRIED = ".tried"
"""The folder with an empty file for each trial that went well, so that the same is not tried again."""


MODULE = "trackbridge_adapters.docker.building"

_broken: dict[Path, str] = {}
"""Why the process that was started came to an end by an error, by its lock."""


def start_building(store: Store, endpoint: str, deployment: str) -> None:
    """See that somebody builds the context of a deployment; at once, whatever is to be done.

    Raises:
        OSError: No process can be had.
    """
    with try_held(store.building_lock(endpoint, deployment), makes_it=True) as is_free:
        if not is_free:
            return
    errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the process has ended)
    process = subprocess.Popen(
        [sys.executable, "-m", MODULE, str(store.folder), endpoint, deployment],
        cwd="/",  # whose files are taken for nobody's modules
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
    )
    about = (process, errors, store.building_lock(endpoint, deployment))
    threading.Thread(target=_wait, args=about, name="docker-building", daemon=True).start()


def _wait(process: subprocess.Popen[bytes], errors: IO[bytes], lock: Path) -> None:
    with errors:
        if process.wait() > 0:
            errors.seek(0)
            lines = errors.read().decode("utf-8", "replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "it does not say why")
            _broken[lock] = last[:REASON_CHARS_MAX]


def refuse_broken(store: Store, endpoint: str, deployment: str) -> None:
    """Return unless the process that this one started for a deployment came to an end by an error.

    Another would come to the same end. One that was killed is no error, and the next look may try again.

    Raises:
        Rejected: It did; says why.
    """
    reason = _broken.pop(store.building_lock(endpoint, deployment), None)
    if reason is None:
        return
    raise Rejected(
        f"the process that builds the context came to an end: {reason}",
        adapter=ADAPTER,
        operation="deployments.poll",
        resource=f"deployment {endpoint}/{deployment}",
        hint="mend that, then deploy again",
    )


def main(arguments: list[str]) -> int:
    """Build what is to be built for a deployment until nothing is."""
    store, endpoint, deployment = Store(Path(arguments[0])), arguments[1], arguments[2]
    while True:
        with try_held(store.building_lock(endpoint, deployment), makes_it=True) as is_ours:
            if not is_ours:
                return 0
            work = _work_of(store.read(endpoint), deployment)
            if work is None:
                return 0
            context, error = _built(store, work)
            _commit(store, work, context, error)


def _work_of(content: Endpoint | None, deployment: str) -> Work | None:
    found = content.deployments.get(deployment) if content is not None else None
    return found.work if found is not None else None


def _built(store: Store, work: Work) -> tuple[str, str]:
    """Build the context; return its digest, and why that did not work."""
    contexts = store.contexts(work.spec.endpoint)
    draft = contexts / f"{DRAFT}{work.spec.deployment}"
    try:
        with translating("deployments.apply", str(contexts)):
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            digest = write_context(draft, work.spec, Path(work.payload))
            if not (contexts / digest).is_dir():
                if work.spec.options.get("trial", "here") == "here":
                    _try_out_once(store.folder / TRIED, draft, work.spec)
                draft.rename(contexts / digest)
            return digest, ""
    except BridgeError as error:
        hint = f"; {error.hint}" if error.hint else ""
        return "", f"{error}{hint}"[:REASON_CHARS_MAX]
    except Exception as error:  # whatever a model's files hold: the operation must end, and say why
        return "", f"{type(error).__name__}: {error}"[:REASON_CHARS_MAX]
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _commit(store: Store, work: Work, context: str, error: str) -> None:
    """Write down what came of it, unless a later change took its place."""
    endpoint, deployment = work.spec.endpoint, work.spec.deployment
    with store.locked(endpoint):
        content = store.read(endpoint)
        if content is None:
            return
        found = content.deployments.get(deployment)
        if found is None or found.work is None or found.work.token != work.token:
            return
        now = time.time_ns() // 1_000_000
        if context:
            content.deployments[deployment] = Built(spec=work.spec, context=context, time=now)
        else:
            kept = found.spec if found.context else work.spec
            content.deployments[deployment] = Built(
                spec=kept, context=found.context, reason=error, time=found.time
            )
        content.end(work.token, error or None)
        store.write(endpoint, content)
        discard_contexts(store, endpoint, content)


def discard_contexts(store: Store, endpoint: str, content: Endpoint) -> None:
    """Remove the contexts of an endpoint that no deployment has; under its lock."""
    used = {built.context for built in content.deployments.values()}
    for path in store.contexts(endpoint).iterdir() if store.contexts(endpoint).is_dir() else ():
        if path.name not in used and not path.name.startswith(DRAFT):
            shutil.rmtree(path, ignore_errors=True)


def _try_out_once(tried: Path, context: Path, spec: DeploymentSpec) -> None:
    """Try a context's server out, unless the same model, settings, wheel and Python were tried before."""
    told = json.loads((context / "manifest.json").read_bytes())["files"]
    parts = {name: told[name] for name in told if name.startswith(("model/", "wheels/"))}
    key = json.dumps([parts, spec.variables, sys.executable, sorted(_installed())]).encode()
    file = tried / hashlib.sha256(key).hexdigest()
    if file.exists():
        return
    try_out(context / "model", spec)
    tried.mkdir(exist_ok=True)
    file.touch()


def _installed() -> Iterator[str]:
    """Yield name and version of each package that this Python finds."""
    for place in sys.path:
        for path in Path(place).glob("*.dist-info"):
            yield path.name


def try_out(model: Path, spec: DeploymentSpec) -> None:
    """Start the server of a context with this Python, and see that it answers.

    Raises:
        Rejected: It does not; says why.
    """
    with tempfile.TemporaryDirectory(prefix="bridge-trial-") as name:
        folder = Path(name)
        ready, config, log = folder / "ready.json", folder / "config.json", folder / "log"
        settings = {"model_path": str(model), "port": 0, "drain_s": 0.0, "ready_file": str(ready)}
        config.write_text(json.dumps(settings), "utf-8")
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "trackbridge.serving", str(config)],
                env=_trial_variables(folder, spec),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            is_ready = _is_ready(process, ready)
        finally:
            _end(process)
        if not is_ready:
            raise _failed(log.read_text("utf-8", "replace"))


def _trial_variables(home: Path, spec: DeploymentSpec) -> dict[str, str]:
    variables = {name: os.environ[name] for name in KEPT if name in os.environ}
    if site.ENABLE_USER_SITE:  # packages may be installed below the home that the trial does not have
        variables["PYTHONUSERBASE"] = site.getuserbase()
    return {**variables, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", **spec.variables}


def _is_ready(process: subprocess.Popen[bytes], ready: Path) -> bool:
    pause, end_s = threading.Event(), time.monotonic() + TRIAL_S  # nobody sets it
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > end_s:
            return ready.exists()
        pause.wait(LOOK_S)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _failed(log: str) -> Rejected:
    lines = [line for line in log.splitlines() if line.strip()]
    last = lines[-1].removeprefix("error: ") if lines else f"it did not answer within {TRIAL_S:g} s"
    return Rejected(
        f"the server did not come up with this model here: {last}",
        adapter=ADAPTER,
        operation="deployments.apply",
        hint="or leave the trial out where this Python lacks what the model needs: -C trial=none",
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
