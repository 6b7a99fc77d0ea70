"""Slow and obvious accounting of a JPEG (ITU-T T.81): bit strings and dictionaries."""

from __future__ import annotations

import struct

Table = dict[str, int]
Codes = tuple[Table, Table | None]  # of differences, of coefficients


class NotWholeError(Exception):
    """The codes are not exactly those of the picture."""


def account(data: bytes, lossless: bool = False) -> int:
    """Number of 8 x 8 blocks, or lossless samples; NotWholeError unless exactly all are there."""
    tables: dict[tuple[int, int], Table] = {}
    parts: dict[int, tuple[int, int]] = {}
    rows = columns = interval = blocks = 0
    seen: set[int] = set()
    at = 2
    while True:
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        need(at + 2 <= len(data) and data[at] == 0xFF)
        marker = data[at + 1]
        if marker == 0xD9:
            need(bool(parts) and seen == set(parts))
            return blocks
        need(at + 4 <= len(data))
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        need(length >= 2 and len(body) == length - 2)
        at += 2 + length
        if marker == 0xC4:
            tables |= huffman(body)
        elif marker in (0xC0, 0xC1, 0xC3):
            need((marker == 0xC3) == lossless)
            need(not parts and len(body) >= 6 and len(body) == 6 + 3 * body[5] and body[5] <= 4)
            rows, columns = struct.unpack_from(">HH", body, 1)
            parts = {body[6 + 3 * i]: divmod(body[7 + 3 * i], 16) for i in range(body[5])}
            need(len(parts) == body[5] and all(h and v for h, v in parts.values()))
            need(bool(rows and columns))
        elif marker == 0xDD:
            need(len(body) == 2)
            (interval,) = struct.unpack(">H", body)
        elif marker == 0xDA:
            need(bool(body) and 1 <= body[0] <= 4 and len(body) == 4 + 2 * body[0])
            chosen = [(body[1 + 2 * i], *divmod(body[2 + 2 * i], 16)) for i in range(body[0])]
            need(all(name in parts and name not in seen for name, _, _ in chosen))
            need(all(dc < 4 and ac < 4 for _, dc, ac in chosen))
            need(all((0, dc) in tables for _, dc, _ in chosen))
            need(lossless or all((1, ac) in tables for _, _, ac in chosen))
            need(len({name for name, _, _ in chosen}) == len(chosen))
            seen |= {name for name, _, _ in chosen}
            units, layout = plan(chosen, parts, (rows, columns), 1 if lossless else 8)
            codes = [(tables[0, dc], None if lossless else tables[1, ac]) for _, dc, ac in chosen]
            unit = [c for c, n in zip(codes, layout, strict=True) for _ in range(n)]
            at = scan(data, at, units, interval, unit)
            blocks += units * sum(layout)


def need(holds: bool) -> None:
    if not holds:
        raise NotWholeError


def ceil(length: int, unit: int) -> int:
    return (length + unit - 1) // unit


def plan(
    chosen: list[tuple[int, int, int]],
    parts: dict[int, tuple[int, int]],
    size: tuple[int, int],
    side: int,
) -> tuple[int, list[int]]:
    """Minimum coded units of a scan, and blocks of each component in one (T.81 A.2)."""
    rows, columns = size
    wide = max(h for h, _ in parts.values())
    high = max(v for _, v in parts.values())
    if len(chosen) == 1:
        h, v = parts[chosen[0][0]]
        return ceil(ceil(columns * h, wide), side) * ceil(ceil(rows * v, high), side), [1]
    units = ceil(columns, side * wide) * ceil(rows, side * high)
    return units, [parts[name][0] * parts[name][1] for name, _, _ in chosen]


def huffman(body: bytes) -> dict[tuple[int, int], Table]:
    """Codes as strings of 0 and 1 (T.81 C.2)."""
    found = {}
    while body:
        need(len(body) >= 17 and body[0] >> 4 < 2 and body[0] & 15 < 4)
        counts, total = body[1:17], sum(body[1:17])
        need(total <= 256 and len(body) >= 17 + total)
        symbols, code = iter(body[17 : 17 + total]), 0
        table = {}
        for length, count in enumerate(counts, 1):
            for _ in range(count):
                need(code < 2**length)
                table[f"{code:0{length}b}"] = next(symbols)
                code += 1
            code *= 2
        found[divmod(body[0], 16)] = table
        body = body[17 + total :]
    return found


def scan(data: bytes, at: int, units: int, interval: int, unit: list[Codes]) -> int:
    """Offset of the marker after one scan's codes; ``unit``: tables of each block of a unit."""
    for first in range(0, units, interval or units):
        if first:
            expected = 0xD0 + (first // interval - 1) % 8
            need(data[at : at + 2] == bytes((0xFF, expected)))
            at += 2
        end = at
        while data[end : end + 1] and (data[end] != 0xFF or data[end + 1 : end + 2] == b"\0"):
            end += 1
        packed = data[at:end].replace(b"\xff\0", b"\xff")
        bits = "".join(f"{byte:08b}" for byte in packed)
        used = 0
        for _ in range(min(interval or units, units - first)):
            for dc, ac in unit:
                used = block(bits, used, dc, ac)
        need(len(bits) - used < 8)
        at = end
    return at


def block(bits: str, used: int, dc: Table, ac: Table | None) -> int:
    """Bits used after one more block, or sample."""
    symbol, used = take(bits, used, dc)
    need(symbol <= (16 if ac is None else 11))
    used += symbol % 16
    need(used <= len(bits))
    if ac is None:
        return used
    k = 1
    while k < 64:
        symbol, used = take(bits, used, ac)
        run, size = divmod(symbol, 16)
        need(size <= 10)
        if symbol == 0:
            break
        need(size > 0 or run == 15)
        used += size
        k += run + 1
        need(k <= 64)
    need(used <= len(bits))
    return used


def take(bits: str, used: int, table: Table) -> tuple[int, int]:
    """The next symbol, and bits used after it."""
    for length in range(1, 17):
        code = bits[used : used + length]
        if len(code) == length and code in table:
            return table[code], used + length
    raise NotWholeError
