#!/usr/bin/env python3
"""plot.py DIRECTORY - draws the CSV files that sweep.sh left there: depth.svg, volumes.svg, latency.svg, process.svg."""
import csv
import html
import sys

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 360, 80, 50, 40, 150
COLOURS = ["#1f5fa8", "#c8501e", "#2d8a4e", "#8a3fa0", "#b08a1e", "#666666"]


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def text(x, y, what, anchor="middle", size=12):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{html.escape(str(what))}</text>'


def frame(title, y_title, top, ticks):
    """Title, axes, and five lines across; ticks are (x, label)."""
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', text(WIDTH / 2, 22, title, size=15),
           text(LEFT, TOP - 6, y_title, size=11)]
    for i in range(6):
        y = y_of(top * i / 5, top)
        out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#dddddd"/>')
        out.append(text(LEFT - 6, y + 4, f"{top * i / 5:,.0f}", "end", 11))
    for x, label in ticks:
        out.append(text(x, HEIGHT - BOTTOM + 18, label, size=11))
    return out


def y_of(value, top):
    return HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP)


def legend(names):
    out = []
    for i, name in enumerate(names):
        y = TOP + 10 + 20 * i
        out.append(f'<rect x="{WIDTH - RIGHT + 12}" y="{y}" width="12" height="12" fill="{COLOURS[i % len(COLOURS)]}"/>')
        out.append(text(WIDTH - RIGHT + 30, y + 11, name, "start"))
    return out


def round_up(value):
    step = 10 ** (len(str(int(value))) - 1) / 2
    return max(5, -(-value // step) * step)


def lines(path, title, x_title, y_title, data, x, y, series):
    """One line for each value of `series`; the values of x stand at equal distances."""
    xs = sorted({float(row[x]) for row in data})
    names = sorted({row[series] for row in data})
    top = round_up(max(float(row[y]) for row in data))
    place = {v: LEFT + 20 + i * (WIDTH - LEFT - RIGHT - 40) / max(1, len(xs) - 1) for i, v in enumerate(xs)}
    out = frame(title, y_title, top, [(place[v], f"{v:g}") for v in xs])
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_title))
    for i, name in enumerate(names):
        points = [(place[float(row[x])], y_of(float(row[y]), top)) for row in data if row[series] == name]
        out.append('<polyline fill="none" stroke-width="2" stroke="%s" points="%s"/>' %
                   (COLOURS[i], " ".join(f"{a:.1f},{b:.1f}" for a, b in points)))
    save(path, out + legend(names))


def stacks(path, title, y_title, data, x, y, series):
    """One column for each value of x, made of the values of `series`."""
    xs = list(dict.fromkeys(row[x] for row in data))
    names = list(dict.fromkeys(row[series] for row in data))
    top = round_up(max(sum(float(row[y]) for row in data if row[x] == v) for v in xs))
    width = (WIDTH - LEFT - RIGHT) / len(xs)
    out = frame(title, y_title, top, [(LEFT + width * (i + 0.5), v) for i, v in enumerate(xs)])
    for i, v in enumerate(xs):
        base = 0.0
        for j, name in enumerate(names):
            value = sum(float(row[y]) for row in data if row[x] == v and row[series] == name)
            out.append(f'<rect x="{LEFT + width * (i + 0.2):.1f}" y="{y_of(base + value, top):.1f}" width="{width * 0.6:.1f}" '
                       f'height="{y_of(base, top) - y_of(base + value, top):.1f}" fill="{COLOURS[j % len(COLOURS)]}"/>')
            base += value
    save(path, out + legend(names))


def save(path, out):
    with open(path, "w") as file:
        file.write("\n".join(out + ["</svg>"]) + "\n")


def main():
    where = sys.argv[1]
    lines(f"{where}/depth.svg", "4 KiB random requests, one volume", "depth", "IOPS", rows(f"{where}/depth.csv"),
          "depth", "iops", "rw")
    lines(f"{where}/volumes.svg", "4 KiB random requests, depth 8 each", "volumes", "IOPS", rows(f"{where}/volumes.csv"),
          "volumes", "iops", "rw")
    lines(f"{where}/latency.svg", "4 KiB random requests, depth 1", "percentile", "µs", [
        row for row in rows(f"{where}/latency.csv") if 1 <= float(row["percentile"]) <= 99.9], "percentile", "us", "rw")
    stacks(f"{where}/process.svg", "CPU of a 4 KiB request", "µs", rows(f"{where}/process.csv"), "workload", "us", "process")


main()
