"""The figures as bars, in SVG that reads well on white and on black, without any library."""

from html import escape

WIDTH, LEFT, BAR, GAP = 760, 150, 16, 6
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .small { font-size: 11px; fill: #57606a }
.peer { fill: #8c959f } .ceiling { fill: #c69026 } .yizhan { fill: #2da44e }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .peer { fill: #6e7681 } .yizhan { fill: #3fb950 }
}
"""
EACH, KEPT = "20 sessions, a connection per message, 4 KB", "20 sessions, kept connections, 4 KB"
MANY = "100 sessions, kept connections, 4 KB"
CPU = "CPU of the server for 1,000 messages, the same load: seconds"
PANELS = (
    ("accept", EACH, "rate", "Accepting, 20 sessions, a connection per message: messages a second"),
    ("accept", MANY, "rate", "Accepting, 100 sessions, kept connections: messages a second"),
    ("accept", MANY, "cpu", CPU),
    ("relay", KEPT, "rate", "Relaying, 20 sessions, kept connections: messages a second"),
    ("relay", KEPT, "cpu", CPU),
    ("idle", "KiB per session", "value", "Memory of an idle session: KiB"),
)


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def kind(name):
    return "yizhan" if name == "Yizhan" else "ceiling" if name in ("smtp-sink", "bench_sink", "bare loop") else "peer"


def panel(report, y, part, shape, what, title):
    """(lines of SVG, height)"""
    found = [(name, report.value(part, shape, name, what)) for name in report.names(part)]
    found = [(name, value) for name, value in found if value is not None]
    if not found:
        return [], 0
    lines = [f'<text class="title" x="0" y="{y + 14}">{escape(title)}</text>']
    top, largest = y + 24, max(value for _, value in found)
    for i, (name, value) in enumerate(found):
        at = top + i * (BAR + GAP)
        length = max(1, (WIDTH - LEFT - 80) * value / largest)
        label = f"{name} (stores nothing)" if name == "smtp-sink" and what == "rate" else name
        style = ' class="small"' if len(label) > 18 else ""
        lines.append(f'<text x="{LEFT - 8}" y="{at + 13}" text-anchor="end"{style}>{escape(label)}</text>')
        lines.append(f'<rect class="{kind(name)}" x="{LEFT}" y="{at}" width="{length:.1f}" height="{BAR}" rx="2"/>')
        lines.append(f'<text x="{LEFT + length + 6:.1f}" y="{at + 13}">{number(value)}</text>')
    return lines, 24 + len(found) * (BAR + GAP) + 18


def draw(report):
    lines, y = [], 8
    for part, shape, what, title in PANELS:
        more, height = panel(report, y, part, shape, what, title)
        lines += more
        y += height
    lines.append(f'<text class="small" x="0" y="{y + 6}">{escape(report.title())}</text>')
    y += 20
    size = f'viewBox="-8 0 {WIDTH + 16} {y}" width="{WIDTH + 16}" height="{y}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    title = "<title>Yizhan and other mail servers, measured</title>"
    return "\n".join([head, title, f"<style>{STYLE}</style>", *lines, "</svg>"]) + "\n"
