"""Which files of a folder are sent to another machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from trackbridge.errors import InvalidInput
from trackbridge_adapters._jobs.code_files import digest_of, list_code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    code = tmp_path / "code"
    for path in ("train.py", "lib/net.py", "data/a.csv", "data/b.csv", ".hidden"):
        write(code, path)
    return code


def write(folder: Path, path: str, text: str = "x = 1\n") -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def paths(folder: Path, ignore_file: str | None = None) -> list[str]:
    return [file.path for file in list_code(str(folder), ignore_file).files]


def test_everything_is_sent_by_path(folder: Path) -> None:
    assert paths(folder) == [".hidden", "data/a.csv", "data/b.csv", "lib/net.py", "train.py"]


def test_sizes_and_sources_are_those_of_the_files(folder: Path) -> None:
    code = list_code(str(folder))
    assert code.size_bytes == 5 * len("x = 1\n")
    assert all(Path(file.source).read_bytes() == b"x = 1\n" for file in code.files)


def test_without_a_folder_nothing_is_sent() -> None:
    assert list_code(None).files == ()


def test_what_git_ignores_is_sent(folder: Path) -> None:
    write(folder, ".gitignore", "*\n")
    assert "train.py" in paths(folder)


@pytest.mark.parametrize("name", [".git", ".bridge", ".venv", "__pycache__", "mlruns"])
def test_what_never_belongs_to_code_stays_behind(folder: Path, name: str) -> None:
    write(folder, f"{name}/x")
    write(folder, f"lib/{name}/x")
    code = list_code(str(folder))
    assert len(code.files) == 5
    assert code.ignored == tuple(sorted([f"{name}/", f"lib/{name}/"]))


PATTERNS = {
    "folder": "data/",
    "name": "data",
    "exception": "*.csv\n!a.csv",
    "only": "# all but programs\n\n*\n!*.py\n!lib/",
    "anchored": "/net.py",
    "path": "lib/net.py",
    "content": "data/*\n!data/b.csv",
    "no_exception_in_an_excluded_folder": "data/\n!data/b.csv",
    "any_depth": "**/deep/*.py",
    "below": "lib/**",
    "between": "lib/**/x.py\n!lib/x.py",
    "signs": "?.csv\n[!t]rain.py\n[[:upper:]]*\n[]a-c]*.txt",
    "escapes": "\\!odd\n\\#odd\ntrailing\\ \nstar\\*",
    "spaces": "train.py   ",
    "case": "Train.py",
    "stars": "a***.csv\nb**",
    "last_wins": "*.py\n!net.py\nnet.py",
    "folder_by_file_pattern": "deep\n!lib/deep/",
}
FILES = (
    *("train.py", "lib/net.py", "lib/x.py", "lib/deep/x.py", "lib/deep/er/x.py", "deep/y.py", "data/a.csv"),
    *("data/b.csv", "data/more/c.csv", "Upper.py", "b.txt", "].txt", "d.txt", "!odd", "#odd", "trailing "),
    *("star*", "star2", ".hidden/a.csv"),
)


@pytest.mark.parametrize("lines", PATTERNS.values(), ids=PATTERNS)
def test_patterns_mean_what_they_mean_to_git(tmp_path: Path, lines: str) -> None:
    for path in FILES:
        write(tmp_path / "code", path)
    patterns = write(tmp_path, "patterns", f"{lines}\n")
    git = ("git", "-C", str(tmp_path / "code"))
    subprocess.run([*git, "init", "--quiet"], check=True)
    listed = subprocess.run(
        [*git, "ls-files", "--others", "-z", f"--exclude-from={patterns}"], check=True, stdout=subprocess.PIPE
    )
    assert paths(tmp_path / "code", str(patterns)) == sorted(listed.stdout.decode().split("\0")[:-1])


def test_another_ignore_file_takes_the_place_of_the_folders(folder: Path, tmp_path: Path) -> None:
    write(folder, ".bridgeignore", "*\n")
    other = write(tmp_path, "ignore.txt", "data\n")
    assert paths(folder, str(other)) == [".bridgeignore", ".hidden", "lib/net.py", "train.py"]


def test_what_stays_behind_is_told_by_folder_and_pattern(folder: Path) -> None:
    write(folder, ".bridgeignore", "# big\n*.csv\n/lib/\n")
    assert list_code(str(folder)).ignored == ("*.csv", "lib/")


def test_executables_stay_executable_and_other_permissions_do_not_count(folder: Path) -> None:
    (folder / "train.py").chmod(0o700)
    (folder / "lib/net.py").chmod(0o604)
    modes = {file.path: file.mode for file in list_code(str(folder)).files}
    assert (modes["train.py"], modes["lib/net.py"], modes[".hidden"]) == (0o755, 0o644, 0o644)


class TestLinks:
    def test_within_the_folder_they_are_followed(self, folder: Path) -> None:
        (folder / "link.py").symlink_to("train.py")
        (folder / "more").symlink_to("lib")
        code = {file.path: Path(file.source).read_bytes() for file in list_code(str(folder)).files}
        assert code["link.py"] == code["more/net.py"] == b"x = 1\n"

    @pytest.mark.parametrize("target", ["/etc", "../outside.py", "nothing", "."])
    def test_others_are_refused(self, folder: Path, target: str) -> None:
        write(folder.parent, "outside.py")
        (folder / "link").symlink_to(target)
        with pytest.raises(InvalidInput, match="link"):
            list_code(str(folder))

    def test_an_excluded_one_leads_where_it_likes(self, folder: Path) -> None:
        (folder / "link").symlink_to("/etc")
        write(folder, ".bridgeignore", "link\n")
        assert "link" not in paths(folder)

    def test_the_folder_itself_may_be_one(self, folder: Path) -> None:
        (folder.parent / "here").symlink_to(folder)
        assert paths(folder.parent / "here") == paths(folder)


class TestRefusals:
    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="not a folder"):
            list_code(str(tmp_path / "none"))

    def test_no_ignore_file(self, folder: Path) -> None:
        with pytest.raises(InvalidInput, match="ignore file"):
            list_code(str(folder), str(folder / "none"))

    @pytest.mark.parametrize("line", ["!", "/", "a//b", "[a-", "x\\", "[[:no:]]", "[z-a]"])
    def test_a_wrong_pattern(self, folder: Path, line: str) -> None:
        write(folder, ".bridgeignore", f"{line}\n")
        with pytest.raises(InvalidInput, match="pattern"):
            list_code(str(folder))

    def test_an_ignore_file_that_is_no_text(self, folder: Path) -> None:
        (folder / ".bridgeignore").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InvalidInput, match="ignore file"):
            list_code(str(folder))

    def test_a_pipe(self, folder: Path) -> None:
        os.mkfifo(folder / "pipe")
        with pytest.raises(InvalidInput, match="neither a file nor a folder"):
            list_code(str(folder))


class TestDigest:
    def test_equal_code_has_an_equal_digest_wherever_it_lies(self, folder: Path, tmp_path: Path) -> None:
        other = tmp_path / "elsewhere"
        for file in list_code(str(folder)).files:
            write(other, file.path)
        (other / "train.py").chmod(0o600)
        assert digest_of(list_code(str(other))) == digest_of(list_code(str(folder)))

    def test_each_change_shows(self, folder: Path) -> None:
        seen = {digest_of(list_code(str(folder)))}
        write(folder, "train.py", "x = 2\n")
        seen.add(digest_of(list_code(str(folder))))
        (folder / "train.py").rename(folder / "trainer.py")
        seen.add(digest_of(list_code(str(folder))))
        (folder / "trainer.py").chmod(0o755)
        seen.add(digest_of(list_code(str(folder))))
        write(folder, "new.py", "")
        seen.add(digest_of(list_code(str(folder))))
        assert len(seen) == 5

    def test_a_file_that_went_away_is_told(self, folder: Path) -> None:
        code = list_code(str(folder))
        (folder / "train.py").unlink()
        with pytest.raises(InvalidInput, match=r"train\.py"):
            digest_of(code)
