"""The job contract: logs, read in pieces."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from trackbridge.domain.jobs import JobState
from trackbridge.errors import InvalidInput
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.jobs_base import FOREVER, JobTests, port_of
from trackbridge.testing.contracts.tracking_base import GARBAGE_TOKENS, refuses_garbage

PIECE_CHARS_MAX = 2 * 1024 * 1024
"""No piece of any backend may be longer than this."""

LONG = "aé漢🚀\n"
WRITE_LONG = f"import sys; sys.stdout.buffer.write({LONG.encode()!r} * int(sys.argv[1]))"

TEXT_OF_BYTES = {
    b"a\xffb\n": "a\ufffdb\n",
    b"\xe6\xbc": "\ufffd",
    b"\xf0\x9f\x9a": "\ufffd",
    b"\x1b[31mred\x1b[0m\r\n\0\x07": "\x1b[31mred\x1b[0m\r\n\0\x07",
    "漢🚀é".encode(): "漢🚀é",
}
"""What a program may write that is no text, halves of characters among it, and what its log holds of that."""

BOTH_STREAMS = """
import sys
for number in range(200):
    stream = sys.stderr if number % 3 else sys.stdout
    stream.write(f"{number}\\n")
    stream.flush()
"""


class LogTests(JobTests):
    """What the program wrote, whole and in order."""

    def run_long(self) -> JobState:
        """Run a program that writes more than one piece."""
        return self.run(command=(*self.command(WRITE_LONG), str(self.long_lines)))

    @requires(Feature.JOBS_LOGS)
    def test_a_log_is_what_the_program_wrote(self) -> None:
        state = self.run("print('first'); print('second', end='')")
        assert self.log(state.job_id) == self.logged("first\nsecond")

    @requires(Feature.JOBS_LOGS)
    def test_both_streams_are_there_in_order(self) -> None:
        state = self.run(BOTH_STREAMS)
        assert self.log(state.job_id) == self.logged("".join(f"{number}\n" for number in range(200)))

    @requires(Feature.JOBS_LOGS)
    def test_a_silent_program_has_an_empty_log(self) -> None:
        state = self.run()
        assert self.log(state.job_id) == ""
        assert self.jobs.read_logs(state.job_id).done

    @requires(Feature.JOBS_LOGS)
    def test_bytes_become_text(self) -> None:
        codes = [f"import sys; sys.stdout.buffer.write({written!r})" for written in TEXT_OF_BYTES]
        for text, state in zip(
            TEXT_OF_BYTES.values(), self.run_beside([self.spec(code) for code in codes]), strict=True
        ):
            assert state is not None
            assert self.log(state.job_id) == self.logged(text)

    @requires(Feature.JOBS_LOGS)
    def test_a_long_log_comes_in_bounded_pieces_without_a_gap(self) -> None:
        state = self.run_long()
        pieces = list(self.pieces(state.job_id))
        assert all(len(text) <= PIECE_CHARS_MAX for text, _ in pieces)
        whole = self.logged(LONG * self.long_lines)
        assert parting("".join(text for text, _ in pieces), whole) == ""
        self._goes_on_from_any_cursor(state, pieces)
        for tail_bytes in (len(LONG.encode()) * 50 + more for more in range(3)):
            chunk = self.jobs.read_logs(state.job_id, tail_bytes=tail_bytes)
            came = chunk.text + self.log(state.job_id, chunk.cursor)
            assert whole.endswith(came)
            assert len(came.encode()) > tail_bytes - len("🚀".encode()), "as much as was asked for"
            assert len(came) < len(whole) or not self.skips_to_tail

    def _goes_on_from_any_cursor(self, state: JobState, pieces: Sequence[tuple[str, str]]) -> None:
        """Demand that another program reads on behind each piece."""
        whole, place, other = "".join(text for text, _ in pieces), 0, port_of(self.reopened())
        for text, cursor in pieces:
            place += len(text)
            chunk = other.read_logs(state.job_id, cursor=cursor)
            assert whole.startswith(chunk.text, place)
            assert bool(chunk.text) == (place < len(whole))

    @requires(Feature.JOBS_LOGS)
    def test_a_log_can_be_followed(self) -> None:
        job_id = self.submit(f"print('begun', flush=True)\n{FOREVER}").job_id
        came, cursor = self.until_logged(job_id, "begun\n")
        assert came == self.logged("begun\n")
        chunk = self.jobs.read_logs(job_id, cursor=cursor)
        assert (chunk.text, chunk.done) == ("", False), "a job that runs may log more"
        self.jobs.cancel(job_id)
        self.ended(job_id)
        assert self.log(job_id, cursor) == ""

    @requires(Feature.JOBS_LOGS)
    def test_a_character_written_in_parts_arrives_whole(self) -> None:
        code = (
            "import sys, time\nout = sys.stdout.buffer\n"
            "for byte in '🚀'.encode():\n    out.write(bytes([byte])); out.flush(); time.sleep(0.05)\n"
        )
        job_id = self.submit(code).job_id
        assert self.log(job_id) == self.logged("🚀")

    @requires(Feature.JOBS_LOGS)
    def test_an_ended_log_stays_done_and_garbage_is_no_cursor(self) -> None:
        state = self.run("print('x')")
        *_, (_, last) = self.pieces(state.job_id)
        for _ in range(2):
            chunk = self.jobs.read_logs(state.job_id, cursor=last)
            assert (chunk.text, chunk.done) == ("", True)
            last = chunk.cursor
        refuses_garbage(
            lambda cursor: self.jobs.read_logs(state.job_id, cursor=cursor),
            [token for token in GARBAGE_TOKENS if token],
        )

    @requires(Feature.JOBS_LOGS)
    def test_a_cursor_of_another_job_is_refused(self) -> None:
        one, other = self.run("print('x')"), self.run("print('y')")
        cursor = self.jobs.read_logs(one.job_id).cursor
        with pytest.raises(InvalidInput):
            self.jobs.read_logs(other.job_id, cursor=cursor)


def parting(came: str, whole: str) -> str:
    """Return where a long text parts from what it should be; "" where it does not.

    pytest's own comparison of two texts of megabytes takes minutes where it shows all of it, as with CI=true.
    """
    if came == whole:
        return ""
    pairs = enumerate(zip(came, whole, strict=False))
    place = next((number for number, (one, other) in pairs if one != other), min(len(came), len(whole)))
    return f"after {place} of {len(whole)} characters: {came[place:][:40]!r} for {whole[place:][:40]!r}"
