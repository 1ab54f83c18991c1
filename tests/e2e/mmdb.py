"""A writer of MaxMind files (format 2.0), as small as a test needs: IPv4 networks and a country for each."""

import ipaddress


def string(text):
    return bytes([2 << 5 | len(text)]) + text.encode()


def number(kind, value, size):
    """uint16 is 5, uint32 is 6, uint64 is 9."""
    head = bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])
    return head + value.to_bytes(size, "big")


def table(*pairs):
    return bytes([7 << 5 | len(pairs)]) + b"".join(string(k) + v for k, v in pairs)


def array(*items):
    return bytes([len(items), 11 - 7]) + b"".join(items)


def country_file(path, networks):
    """networks: {"192.0.2.0/24": "DE", ...}, none inside of another."""
    nodes, data, offsets = [[None, None]], b"", {}
    for network, code in networks.items():
        if code not in offsets:
            offsets[code] = len(data)
            data += table(("country", table(("iso_code", string(code)))))
        net = ipaddress.ip_network(network)
        bits = f"{int(net.network_address):032b}"[: net.prefixlen]
        at = 0
        for i, bit in enumerate(bits):
            if i + 1 == len(bits):
                nodes[at][int(bit)] = ("data", offsets[code])
            else:
                if nodes[at][int(bit)] is None:
                    nodes.append([None, None])
                    nodes[at][int(bit)] = len(nodes) - 1
                at = nodes[at][int(bit)]

    def record(value):
        if value is None:
            value = len(nodes)
        elif isinstance(value, tuple):
            value = len(nodes) + 16 + value[1]
        return value.to_bytes(3, "big")

    tree = b"".join(record(left) + record(right) for left, right in nodes)
    metadata = table(
        ("binary_format_major_version", number(5, 2, 1)),
        ("binary_format_minor_version", number(5, 0, 1)),
        ("build_epoch", number(9, 1700000000, 8)),
        ("database_type", string("Test-Country")),
        ("description", table(("en", string("for tests")))),
        ("ip_version", number(5, 4, 1)),
        ("languages", array(string("en"))),
        ("node_count", number(6, len(nodes), 4)),
        ("record_size", number(5, 24, 1)),
    )
    path.write_bytes(tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + metadata)
