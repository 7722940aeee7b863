"""The spool: what was accepted, on disk, until the store has it. The spool *is* the queue.

Byte layout
===========
All integers are little-endian. A test pins every number on this page.

A **segment** is one append-only file, ``<created µs, 16 digits>-<pid>.seg``: a header, then
frames, each starting on a multiple of 8 bytes so that a torn write cannot tear a length.

Segment header, 64 bytes::

    0   8  magic  b"NMSPOOL\\0"
    8   4  format version, 1
    12  4  zero
    16  8  created, µs since 1970
    24 16  node id, the UUID of the data directory
    40 20  zero
    60  4  CRC32C of bytes 0–59

Frame, 16 bytes and the payload, zero-padded to a multiple of 8::

    0   4  payload length, 1 or more
    4   4  CRC32C of length, sequence number and payload, in that order
    8   8  sequence number: 1 for a segment's first frame, then one more each
    16  n  payload; its first byte is its kind: 1 a record (see ``novamesh.event.record``),
           0 the end of a segment that was closed in order

Beside each segment lies its **mark**, ``<segment>.mark``: 8 bytes, the offset up to which it is
acknowledged. The writer changes it after each sync, through a memory map. It is never synced itself:
after a power cut it may say less than is true, but never more.

Invariants
==========
- One writer a segment. It holds an exclusive ``flock`` on the segment as long as it lives, and
  takes it before the segment gets its name: a segment that can be locked has no writer.
- A new segment at each start and at a size limit. Old segments are never appended to. Each is named
  with a later time than all others, whatever the clock says.
- A frame is acknowledged only after ``fdatasync`` returned. After a failed write or sync the
  segment is cut back to its last good sync, for good, and given up: a second sync may lie. As long as
  it cannot be cut back it keeps its writer.
- A reader takes from a live segment only what lies before the mark, so that what was refused
  is never stored; of a segment without a writer it takes everything that is whole.
- Bytes after the last whole frame of a segment that was not closed in order (no end frame), and behind
  the mark, are a torn tail: never acknowledged, cut after a copy is kept in ``<segment>.torn``. Anything
  else that is not a whole frame, or a file that ends before the mark, is damage: the segment goes to
  ``quarantine/`` with a report.
- A damaged segment that has a writer stays where it is, and a file ``<segment>.close`` beside it asks the
  writer to go on to another one. Then it is set aside.
- A segment is deleted, after its mark, only when the store has committed everything in it. A mark without
  a segment says that the segment was taken away: that is reported.
"""
