"""Many callers at once, each in a connection of its own that is kept: `python -m benches.load PORT CALLERS FILE`.

FILE holds the requests, a length and the bytes of each. Prints one line of JSON: seconds, statuses, and the time of each answer.
A process of its own, so that it competes with the server like anybody else and not for its lock.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path


async def main(port: int, callers: int, file: Path) -> None:
    """Send all requests, `callers` at a time."""
    requests = _requests(file)
    statuses: Counter[str] = Counter()
    taken: list[float] = []

    async def call() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in requests:
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0].strip()
            if length and length != b"0":
                await reader.readexactly(int(length))
            taken.append(time.perf_counter() - began)
            statuses[head[9:12].decode()] += 1
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    print(json.dumps({"seconds": time.perf_counter() - began, "statuses": statuses, "taken": taken}))


def _requests(file: Path) -> Iterator[bytes]:
    """The requests of the file; all callers take from this one."""
    data = file.read_bytes()
    place = 0
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        yield data[place + 4 : place + 4 + length]
        place += 4 + length


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
