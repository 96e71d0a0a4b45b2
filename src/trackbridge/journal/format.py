"""The journal on disk.

Each process that logs has a folder of its own below ``journal/``; forked processes have another::

    journal/
      0193f2…/               named by the journal's id; mode 0700
        journal.json         format, destinations, pid, host; written before anything else
        writer.lock          locked (flock) for as long as the writer lives
        delivery.lock        locked by whoever is delivering this journal
        00000001.log         segments, written in order, mode 0600
        00000002.log
        cursor-3fa9….json    how far one destination has got; replaced atomically
        open/0193f3…         empty; this process has the run open
        created/0193f3…      empty; this journal creates the run
        staged/…             copies of artifacts that are not delivered yet, and an empty note beside each for
                             every destination that has it
        inherited/0193f3…    empty; the run's creator was killed, and this process answers for its end
        delivery.log         what the delivery child printed: long outages, or why it crashed
        closed               present once the writer ended in good order
        flush                present while somebody waits for delivery

A segment is a header of 32 bytes and then records. All numbers are little-endian::

    header   magic "TBJL" | format u16 | 0 u16 | segment number u32 | crc32 u32 | first sequence u64 | 0 u64
    record   body length u32 | crc32 u32 | sequence u64 | body (msgpack, see domain.records)

- The crc of a record is CRC-32 of the body, started with the low 32 bits of the sequence, and a sequence
  never jumps far, so that a flipped bit anywhere in a record is seen. The crc of a header covers its
  other bytes.
- A record that holds several points, params or tags takes one sequence number for each. Sequences
  grow, but for two cases: a number is left out where a call was interrupted before it wrote, and two
  neighbours may have changed places where a signal handler logged in the middle of a call.
- A record is appended by one ``write(2)``, so that it outlives the process once the call returns.
  It outlives a power failure once it was synced, by the writer's keeper every ``FSYNC_INTERVAL_S``.
- A reader takes a record when its length is plausible, its crc fits and its sequence is near the last.
  Otherwise it looks for the next place where that holds, keeps everything that it finds and
  reports what it skipped. An unfinished record at the end is damage only once the writer is dead.
- A segment is deleted when the cursors of all destinations have passed it, the folder when the writer
  is dead and everything in it is delivered.
"""

from __future__ import annotations

import struct
import zlib

from trackbridge.errors import JournalCorrupt, JournalError

FORMAT = 1
MAGIC = b"TBJL"
HEADER_BYTES = 32
FRAME_BYTES = 16
RECORD_BYTES_MAX = 16 * 1024 * 1024
"""A longer body is refused at the call; a longer length in a file is damage."""
SEQUENCE_GAP_MAX = 1 << 24
SEQUENCE_STEP_BACK_MAX = 1 << 12
"""How far a sequence may be above and below the last one; bounds what a reader takes for a sequence."""
SEGMENT_BYTES_MAX = 64 * 1024 * 1024
FSYNC_INTERVAL_S = 1.0

_HEADER = struct.Struct("<4sHHIIQQ")
FRAME = struct.Struct("<IIQ")
_LOW_32_BITS = 0xFFFFFFFF


def encode_header(number: int, first_sequence: int, *, version: int = FORMAT) -> bytes:
    """Return the header of a segment. Its layout is the same in every version."""
    blank = _HEADER.pack(MAGIC, version, 0, number, 0, first_sequence, 0)
    return _HEADER.pack(MAGIC, version, 0, number, zlib.crc32(blank), first_sequence, 0)


def decode_header(data: bytes, *, number: int) -> int:
    """Return the first sequence of the segment of this number.

    Raises:
        JournalCorrupt: The header is damaged, or of another segment.
        JournalError: The segment has a newer format.
    """
    if len(data) < HEADER_BYTES:
        raise JournalCorrupt(f"segment {number} has no whole header")
    _, version, _, _, _, first_sequence, _ = _HEADER.unpack_from(data)
    if data[:HEADER_BYTES] != encode_header(number, first_sequence, version=version):
        raise JournalCorrupt(f"the header of segment {number} is damaged")
    if version > FORMAT:
        raise JournalError(
            f"segment {number} has format {version}; this version reads up to {FORMAT}",
            hint="update trackbridge, then run: bridge sync run",
        )
    return int(first_sequence)


def checksum(body: bytes | memoryview, sequence: int) -> int:
    """Return the crc of a record's body and sequence."""
    return zlib.crc32(body, sequence & _LOW_32_BITS)


def encode_record(body: bytes, sequence: int) -> bytes:
    """Return a whole record."""
    return FRAME.pack(len(body), zlib.crc32(body, sequence & _LOW_32_BITS), sequence) + body
