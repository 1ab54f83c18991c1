#!/usr/bin/env python3
"""Turns a file into C: embed_file.py INPUT OUTPUT.c NAME HEADER

The output defines `const char NAME[]`, the bytes with a final NUL, and `const size_t NAME_len`, their number
without it; HEADER, which it includes, declares both.
"""

import sys


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    source, target, name, header = sys.argv[1:]
    with open(source, "rb") as f:
        data = f.read()
    lines = [
        "/* Made from %s by scripts/embed_file.py; change that file instead. */" % source.split("/")[-1],
        '#include "%s"' % header,
        "",
        "const char %s[] = {" % name,
    ]
    body = data + b"\0"
    for start in range(0, len(body), 20):
        lines.append("\t" + ", ".join("%d" % (b if b < 128 else b - 256) for b in body[start:start + 20]) + ",")
    lines += ["};", "const size_t %s_len = sizeof(%s) - 1;" % (name, name), ""]
    with open(target, "w", encoding="ascii") as f:
        f.write("\n".join(lines))


if __name__ == "__main__":
    main()
