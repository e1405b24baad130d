"""Damage as accidents and strangers do it, to each kind of file: seeded, and by what a file holds.

Each function takes the bytes of a good file and a `random.Random`, and returns other bytes.
"""

import copy
import csv
import io
import json
import random
import zipfile

ODD = (
    *(None, True, -1, 0, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "x", "²", "-3"),
    *("\x1b[2J", "<script>", "../../etc", "\0", "\ud800", [], {}, [[]], {"a": {}}),
)
TEXTS = (
    *("", "x", "nan", "inf", "-1", "1e308", "1" * 400, "1,5", '"', "\0", "\x1b[2J", "²", "a\nb"),
    *("x" * 140_000, "../..", "/dev/zero", "ÿ", "left", "0.5", "9" * 18, " "),
)


def in_bytes(data, rng):
    """Flipped bits, other bytes, an end cut off, a piece twice or gone."""
    other, at = bytearray(data), rng.randrange(max(1, len(data)))
    end = at + rng.randrange(1, 64)
    kind = rng.randrange(6)
    if kind == 0 and other:
        other[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        other[at:end] = rng.randbytes(len(other[at:end]))
    elif kind == 2:
        del other[at:]
    elif kind == 3:
        other[at:at] = other[at:end]
    elif kind == 4:
        del other[at:end]
    else:
        for _ in range(20 if other else 0):
            other[rng.randrange(len(other))] ^= 1 << rng.randrange(8)
    return bytes(other)


def in_json(data, rng):
    """An odd value in some place, a key gone or added; nesting; now and then only bytes."""
    kind = rng.randrange(10)
    if kind == 0:
        return in_bytes(data, rng)
    if kind == 1:
        return b"[" * rng.choice((1, 1000, 200_000))
    value = json.loads(data)
    for _ in range(rng.randrange(1, 4)):
        value = _changed(value, rng)
    return json.dumps(value).encode()


def _changed(value, rng):
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.15:
        return copy.deepcopy(rng.choice(ODD))
    places = list(value) if isinstance(value, dict) else range(len(value))
    place, kind = rng.choice(list(places)), rng.random()
    if kind < 0.15:
        del value[place]
    elif kind < 0.25 and isinstance(value, dict):
        value[rng.choice(("x", "", "round", f"{place}_"))] = copy.deepcopy(rng.choice(ODD))
    elif kind < 0.3 and isinstance(value, list):
        value.append(copy.deepcopy(value[place]))
    else:
        value[place] = _changed(value[place], rng)
    return value


def in_lines(data, rng):
    """As `in_json` in one line of many, or a line gone, twice or cut."""
    lines = data.splitlines(keepends=True)
    place, kind = rng.randrange(len(lines)), rng.randrange(5)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, rng.choice(lines))
    elif kind == 2:
        lines[place] = in_bytes(lines[place], rng)
    else:
        lines[place] = in_json(lines[place], rng) + b"\n"
    return b"".join(lines)


def in_csv(data, rng):
    """Odd cells, rows of other length, other columns; now and then only bytes."""
    if rng.randrange(6) == 0:
        return in_bytes(data, rng)
    rows = list(csv.reader(io.StringIO(data.decode())))
    for _ in range(rng.randrange(1, 4)):
        row = rows[rng.randrange(len(rows))] if rng.random() < 0.8 else rows[0]
        kind, at = rng.randrange(7), rng.randrange(len(row) + 1)
        if kind == 0:
            del row[at:]
        elif kind == 1:
            row.insert(at, rng.choice(TEXTS))
        elif kind == 2:
            rows.insert(1, list(row))
        elif kind == 3:
            rng.shuffle(row)
        elif row:
            row[min(at, len(row) - 1)] = rng.choice(TEXTS)
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode(errors="surrogatepass")


def in_zip(data, rng, inner=in_bytes):
    """A member damaged, gone or added in an archive whose checksums are right; or only bytes."""
    if rng.randrange(4) == 0:
        return in_bytes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name, kind = rng.choice(sorted(parts)), rng.randrange(8)
    if kind == 0:
        del parts[name]
    elif kind == 1:
        parts[f"x{name}"] = parts[name]
    elif kind == 2:
        parts[name] = bytes(2**24)  # it packs into 16 kB
    elif kind == 3:
        parts[name] = parts[rng.choice(sorted(parts))]
    else:
        change = in_json if name.endswith(".json") else inner
        parts[name] = change(parts[name], rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return out.getvalue()


def cases(data, change, count, seed):
    """`count` damaged copies of a file, the same for the same seed."""
    rng = random.Random(seed)
    for _ in range(count):
        yield change(data, rng)
