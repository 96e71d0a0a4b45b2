"""Functions as jobs: ``@tb.job``. The job imports the function by its module's name from the code folder.

::

    @tb.job(compute="cpu-cluster", requirements=["trackbridge", "scikit-learn"])
    def train(alpha: float, epochs: int = 3) -> float: ...

    if __name__ == "__main__":
        print(train.submit(0.1).result())

Arguments and the result travel as JSON: what runs elsewhere is neither pickled nor guessed. The arguments are
a word of the command; the result is an artifact of the run.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from trackbridge.api.jobs import Job, submit
from trackbridge.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from trackbridge.domain.jobs import Compute
    from trackbridge.operations.opening import UriArgument

RESULT_PATH = "job/result.json"
ARGUMENTS_BYTES_MAX = 100_000
"""A word of a command may have 128 KiB on Linux."""

_INSTALLED = ("site-packages", "dist-packages")
_is_importing = False

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class FunctionJob(Job, Generic[Result]):
    """A function that was submitted."""

    def result(self, timeout_s: float | None = None) -> Result:
        """Return what the function returned, once it has.

        Raises:
            BridgeError: It failed; what it wrote is in the job's log.
            TimedOut: It has not ended so far; it goes on.
        """
        import tempfile

        from trackbridge.api import fluent

        self.wait_for_success(timeout_s)
        with tempfile.TemporaryDirectory() as folder:
            path = fluent.client().download_artifacts(self.run_id, RESULT_PATH, folder)
            return json.loads(Path(path).read_text(encoding="utf-8"))  # type: ignore[no-any-return]


class JobFunction(Generic[Arguments, Result]):
    """A function that can be called as it is, and submitted as a job with the options of its decorator."""

    def __init__(self, function: Callable[Arguments, Result], options: Mapping[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._options = dict(options)

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        """Call the function here and now."""
        return self.function(*args, **kwargs)

    def options(self, **options: Any) -> JobFunction[Arguments, Result]:
        """Return it with other options, as ``job`` takes them."""
        return JobFunction(self.function, {**self._options, **options})

    def submit(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> FunctionJob[Result]:
        """Call the function as a job, and return the job.

        Raises:
            InvalidInput: The function cannot be imported elsewhere, or an argument is no JSON.
            Rejected: The job cannot run there; the message says why.
        """
        if _is_importing:
            raise InvalidInput(
                f"importing its module submits {self.function.__name__!r} again",
                operation="submit",
                hint="put the call below: if __name__ == '__main__':",
            )
        return _submitted(self.function, args, kwargs, self._options)


@overload
def job(function: Callable[Arguments, Result], /) -> JobFunction[Arguments, Result]: ...


@overload
def job(
    *,
    on: UriArgument = None,
    compute: str | Compute | None = None,
    instances: int | None = None,
    spot: bool = False,
    requirements: Sequence[str] | str | os.PathLike[str] = (),
    name: str | None = None,
    code_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Callable[[Callable[Arguments, Result]], JobFunction[Arguments, Result]]: ...


def job(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function one that can be submitted as a job: ``@tb.job(compute="cpu-cluster")``.

    It stands at the top level of a module or of a script; where it runs, trackbridge has to be installed.
    Arguments and result are what JSON can hold.

    Args:
        function: The function, where the decorator has no options.
        options: As for ``submit``, but for ``wait`` and what names the source. ``code_dir`` is the folder
            that its module is imported from.
    """
    if function is not None:
        return JobFunction(function, options)
    return lambda function: JobFunction(function, options)


def _submitted(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]
) -> FunctionJob[Any]:
    code_dir, module = importable_as(function, options.get("code_dir"))
    given = _bound(function, args, kwargs)
    command = ["python", "-m", "trackbridge.api.job_function", f"{module}:{function.__name__}", _text(given)]
    others = {name: value for name, value in options.items() if name != "code_dir"}
    submitted = submit(
        command,
        {name: value for name, value in given.items() if isinstance(value, (str, int, float, bool))},
        code_dir=code_dir,
        **{"name": function.__name__, **others},
    )
    return FunctionJob(submitted._place, submitted.id, submitted.run_id)


def _bound(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by name, those with their defaults, too.

    Raises:
        InvalidInput: They are not those of the function, or it takes any number of them.
    """
    signature = inspect.signature(function)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY}:
        raise InvalidInput(
            f"{function.__name__!r} takes arguments without a name",
            operation="submit",
            hint="take a list as one argument",
        )
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidInput(f"{function.__name__!r}: {error}", operation="submit") from error
    bound.apply_defaults()
    given = dict(bound.arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            given.update(given.pop(name))
    return given


def _text(given: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(given, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"an argument cannot be written as JSON: {error}",
            operation="submit",
            hint="hand over numbers, texts, lists and mappings; data goes by inputs or as an artifact",
        ) from error
    if len(text.encode("utf-8", "surrogatepass")) > ARGUMENTS_BYTES_MAX:
        raise InvalidInput(
            f"the arguments take more than {ARGUMENTS_BYTES_MAX:,} bytes",
            operation="submit",
            hint="hand over the address of the data, such as runs:/RUN/data.csv",
        )
    return text


def importable_as(
    function: Callable[..., Any], code_dir: str | os.PathLike[str] | None = None
) -> tuple[str, str]:
    """Return the folder to import a function from, and the name of its module there.

    Raises:
        InvalidInput: It cannot be imported by a name (a lambda, a function in a function, a method, or one of
            a notebook), or belongs to an installed package.
        NotFound: Its file is not in the given folder.
    """
    name = function.__qualname__
    if "<lambda>" in name or "<locals>" in name or "." in name:
        kind = "a lambda" if "<lambda>" in name else "inside of something else"
        raise InvalidInput(
            f"{name!r} is {kind}, and cannot be imported where the job runs",
            operation="submit",
            hint="write it as a function at the top level of a module",
        )
    file = _file_of(function)
    parts = _module_name(function, file).split(".")
    if any(part in _INSTALLED for part in file.parts) and code_dir is None:
        raise InvalidInput(
            f"{name!r} belongs to an installed package, {file}",
            operation="submit",
            hint="call it from a function of your own",
        )
    if code_dir is None:
        above = len(parts) - (0 if file.name == "__init__.py" else 1)
        return str(file.parents[above]), ".".join(parts)
    folder = Path(code_dir).absolute()
    if not file.is_relative_to(folder):
        raise NotFound(
            f"the file of {name!r}, {file}, is not in the folder {folder}",
            operation="submit",
            hint="name a folder around it, or leave code_dir out",
        )
    inside = file.relative_to(folder).with_suffix("").parts
    return str(folder), ".".join(inside[:-1] if inside[-1] == "__init__" else inside)


def _file_of(function: Callable[..., Any]) -> Path:
    module = sys.modules.get(function.__module__)
    named = getattr(module, "__file__", None)
    if named is None or not named.endswith(".py") or not os.path.isfile(named):
        raise InvalidInput(
            f"{function.__name__!r} is in no file that can be imported (a notebook, or what was typed in)",
            operation="submit",
            hint="write it to a file, in a notebook with %%writefile train.py, and import it from there",
        )
    return Path(os.path.abspath(named))


def _module_name(function: Callable[..., Any], file: Path) -> str:
    """Return the name of a function's module; a script's is that of its file.

    Raises:
        InvalidInput: The script's file has a name that cannot be imported.
    """
    if function.__module__ != "__main__":
        return function.__module__
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and spec.name:  # python -m package.module
        return str(spec.name)
    if not file.stem.isidentifier():
        raise InvalidInput(
            f"the script {file.name!r} cannot be imported: its name is none of a module",
            operation="submit",
            hint="rename it to letters, digits and _",
        )
    return file.stem


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Refuse to submit anything for the time of the block: a module is imported by its own job."""
    global _is_importing
    _is_importing = True
    try:
        yield
    finally:
        _is_importing = False
