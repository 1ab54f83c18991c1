"""Where the domains of sites.py lead, as each server wants to be told."""

from pathlib import Path


def transport_table(sites, path):
    """For Postfix."""
    Path(path).write_text("".join(f"{name} smtp:[{ip}]:{sites.port}\n" for name, ip in sites.names()))


def zone(sites, path):
    """For Yizhan."""
    Path(path).write_text("".join(f"{name}. 60 IN A {ip}\n" for name, ip in sites.names()))
