"""The lists that bench_reader wants."""
import os

import histories
import lab


def list_of(image):
    """The path of one: every entry of an image, directories before what is in them."""
    path = os.path.join(lab.TMP, image.replace(":", "-") + ".list")
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as f:
        for row in (line.split(" ", 10) for line in lab.expected_lines(image)):
            name = histories.unescape(row[10]).lstrip("/") or "."
            f.write(f"{'d' if row[0] == 'd' else row[4] if row[0] == 'f' else '-'} {name}\0")
    return path
