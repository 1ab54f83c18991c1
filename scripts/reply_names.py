#!/usr/bin/env python3
"""Makes the names of the replies (those of the enum, in lower case): reply_names.py src/receive/replies.h OUTPUT.c"""

import re
import sys
from pathlib import Path


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, target = sys.argv[1:]
    enum = re.search(r"enum reply_id \{(.*?)\n\};", Path(source).read_text(), re.S).group(1)
    enum = re.sub(r"/\*.*?\*/", "", enum, flags=re.S)
    names = [n for n in re.findall(r"\bREPLY_(\w+)", enum) if n != "COUNT"]
    lines = [
        "/* Made from receive/replies.h by scripts/reply_names.py; change that file instead. */",
        '#include "receive/replies.h"',
        "",
        "const char *const reply_names[REPLY_COUNT] = {",
        *(f'\t[REPLY_{n}] = "{n.lower()}",' for n in names),
        "};",
        "",
    ]
    Path(target).write_text("\n".join(lines))


if __name__ == "__main__":
    main()
