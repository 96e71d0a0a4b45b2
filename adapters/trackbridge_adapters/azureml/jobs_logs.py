"""Logs of jobs, in pieces: the run history tells of the files, storage has their bytes.

A job of several processes has a file for each; one that was started again on another machine has those of
each start, in folders of their own. They are read side by side: the cursor holds how far each was read, by
its number in this order. What comes is text of whole characters; a stream that breaks off is gone on with.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

import urllib3

from trackbridge.domain.jobs import LogChunk
from trackbridge.domain.page_tokens import listing_of, place_of, token_of
from trackbridge.errors import InvalidInput, Rejected, Unavailable
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._jobs.log_tails import CHARACTER_BYTES_MAX, begun_before
from trackbridge_adapters.azureml.artifacts_upload import send_to_storage
from trackbridge_adapters.azureml.clouds import ADAPTER

if TYPE_CHECKING:
    import requests

PIECE_BYTES = 1024 * 1024
READ_BYTES = 16 * 1024
OPERATION = "jobs.read_logs"
_LOG = re.compile(r"(?:retry_(?P<retry>\d+)/)?user_logs/std_log(?:_process_(?P<process>\d+))?\.txt")
_RANGE_BEYOND_END = 416


class JobLogs:
    """Reads logs.

    Args:
        http: Reads from storage.
        log_files: Returns the signed addresses of a job's files, by their paths.
    """

    def __init__(self, http: HttpClient, log_files: Callable[[str], Mapping[str, str]]) -> None:
        self._http = http
        self._log_files = log_files

    def read(self, job_id: str, cursor: str, *, is_final: bool, tail_bytes: int | None = None) -> LogChunk:
        """Return the next piece.

        Args:
            job_id: The job.
            cursor: Where to go on; "" is the beginning.
            is_final: Whether the job had ended before this was called.
            tail_bytes: Without a cursor, how much of the end of each file is enough.

        Raises:
            InvalidInput: The cursor was not given out for this job.
            Unavailable: The stream broke off before anything came.
        """
        listing = listing_of("azureml.read_logs", job_id)
        place = place_of(cursor or None, listing, adapter=ADAPTER, operation=OPERATION, types=(int, str))
        read = _offsets(place)
        files = {path: url for path, url in self._log_files(job_id).items() if _LOG.fullmatch(path)}
        if tail_bytes is not None and not cursor:
            read = {path: self._tail_start(url, tail_bytes) for path, url in files.items()}
        for path in sorted(files, key=_order):
            text, end = self._piece(files[path], read.get(path, 0), is_final=is_final)
            if end != read.get(path, 0):
                read[path] = end
                return LogChunk(text=text, cursor=token_of(listing, _place(read)), done=False)
        return LogChunk(text="", cursor=token_of(listing, _place(read)), done=is_final)

    def _tail_start(self, url: str, tail_bytes: int) -> int:
        """Return the offset of a character so many bytes before the end of a file, or a few less."""
        answer = self._range(url, 0, 1)  # storage takes no range that counts from the end
        size = "" if answer is None else answer.headers.get("Content-Range", "").rpartition("/")[2]
        if answer is not None:
            answer.close()
        start = int(size) - tail_bytes if size.isdecimal() else 0
        found = self._range(url, start, CHARACTER_BYTES_MAX) if start > 0 else None
        if found is None:
            return 0
        with closing(found):
            return start + begun_before(found.raw.read(CHARACTER_BYTES_MAX))

    def _range(self, url: str, start: int, size: int) -> requests.Response | None:
        """Return the answer that brings a part of a file; None where the file ends before it."""
        headers = {"Range": f"bytes={start}-{start + size - 1}"}
        try:
            return send_to_storage(self._http, "GET", url, headers=headers, stream=True)
        except Rejected as error:
            if str(_RANGE_BEYOND_END) in str(error):
                return None
            raise

    def _piece(self, url: str, start: int, *, is_final: bool) -> tuple[str, int]:
        """Return text of a file from an offset on, and where it ends."""
        answer = self._range(url, start, PIECE_BYTES)
        if answer is None:  # nothing has come since
            return "", start
        content = bytearray()
        with closing(answer):
            try:
                for block in answer.iter_content(READ_BYTES):
                    content += block
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if not content:
                    raise Unavailable("the log broke off as it was read", adapter=ADAPTER) from error
                is_final = False  # what has come is good; the next piece goes on behind it
        if answer.status_code == 200 and start:  # the range was not looked at
            del content[:start]
        is_end = len(content) < PIECE_BYTES
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(bytes(content), final=is_final and is_end)
        return text, start + len(content) - len(decoder.getstate()[0])


def _order(path: str) -> tuple[int, int]:
    found = _LOG.fullmatch(path)
    assert found is not None
    return int(found["retry"] or 0), int(found["process"] or 0)


def _offsets(place: list[object] | None) -> dict[str, int]:
    """Return how far each file was read.

    Raises:
        InvalidInput: That is no place of a log.
    """
    if not place or place == [0]:
        return {}
    paths, ends = place[::2], place[1::2]
    read = {str(path): end for path, end in zip(paths, ends, strict=False) if isinstance(end, int)}
    if len(paths) == len(ends) == len(read) and all(end >= 0 for end in read.values()):
        return read
    raise InvalidInput("the cursor is none of a log", adapter=ADAPTER, operation=OPERATION)


def _place(read: Mapping[str, int]) -> list[object]:
    return [item for pair in sorted(read.items()) for item in pair] or [0]
