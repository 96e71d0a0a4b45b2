"""Completion in a shell: the scripts, a real bash, and names without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge, clean_environment, log_run

ASK = """
eval "$(bridge completion bash)" || exit 1
complete -p bridge trackbridge || exit 1
ask() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _bridge_completion "$1"
    echo "$*: ${COMPREPLY[*]}"
}
"""


@pytest.fixture
def tracked(client: tb.Client, project: Path) -> tb.Client:
    """A project with two experiments, a model and two remotes."""
    for experiment in ("wine", "wine-2", "two words", "a:b"):
        log_run(client, "any", experiment=experiment)
    client.flush()
    client.create_registered_model("grapes")
    (project / ".bridge/config.toml").write_text(
        '[remotes.prod]\nuri = "https://prod.example.org"\n[remotes.play]\nuri = "./play"\n'
    )
    return client


def ask(*lines: str, words: dict[str, str] | None = None) -> list[str]:
    """Ask a bash that has loaded our script what the last word of each line may become."""
    bash = shutil.which("bash")
    assert bash is not None
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    script = ASK + "\n".join(f"ask {line}" for line in lines)
    done = subprocess.run(
        [bash, "--norc", "--noprofile", "-c", script],
        env=clean_environment() | {"PATH": programs, "BRIDGE_DELIVERY": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, second, *answers = done.stdout.splitlines()
    assert first.endswith("-F _bridge_completion bridge")
    assert second.endswith("-F _trackbridge_completion trackbridge")
    return answers


def test_bash_completes_commands_options_and_names(tracked: tb.Client) -> None:
    assert ask(
        "bridge rem",
        "bridge sync dead",
        "bridge doctor --bun",
        "bridge completion ''",
        "bridge runs list --uri p",
        "bridge remotes remove pr",
        "bridge experiments show w",
        "bridge models show ''",
        "trackbridge rem",
    ) == [
        "bridge rem: remotes",
        "bridge sync dead: dead-letters",
        "bridge doctor --bun: --bundle",
        "bridge completion : bash zsh fish",
        "bridge runs list --uri p: play prod",
        "bridge remotes remove pr: prod",
        "bridge experiments show w: wine wine-2",
        "bridge models show : grapes",
        "trackbridge rem: remotes",
    ]


def complete(*words: str) -> list[str]:
    """Return what completes the last word, as click tells a shell."""
    code = "import sys; from trackbridge.cli.main import run; sys.exit(run())"
    asked = {
        "_BRIDGE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_names_that_a_shell_would_take_apart_are_left_out(tracked: tb.Client) -> None:
    assert complete("bridge", "experiments", "show", "") == ["plain,wine", "plain,wine-2"]


def test_nothing_is_asked_of_a_network_and_nothing_is_made(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever contacted this host would wait, and tell of it.
    monkeypatch.setenv("BRIDGE_TRACKING_URI", "https://203.0.113.1")
    assert complete("bridge", "experiments", "show", "") == []
    assert complete("bridge", "models", "show", "") == []
    monkeypatch.delenv("BRIDGE_TRACKING_URI")
    assert complete("bridge", "endpoints", "show", "") == []
    assert list(project.iterdir()) == []


def test_a_broken_configuration_is_an_empty_answer(project: Path) -> None:
    (project / ".bridge").mkdir()
    (project / ".bridge/config.toml").write_text("= no TOML")
    assert complete("bridge", "remotes", "remove", "") == []
    assert complete("bridge", "models", "show", "") == []
    assert complete("bridge", "doctor", "./") == ["dir,./"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_for_both_names(bridge: Bridge, shell: str) -> None:
    script = bridge("completion", shell).out
    assert script.count(f"_BRIDGE_COMPLETE={shell}_complete") == 2
    assert "_trackbridge_completion" in script
