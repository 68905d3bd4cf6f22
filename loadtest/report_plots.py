"""Plots of a report as inline SVG: percentile curves, lines over time, stacked bars.

Every plot is 360 units wide, about the width of a phone in its own pixels, so that its text has one size everywhere;
a wide page puts several side by side. Colours come from the page's style sheet by class ("pipit", "mosquitto",
"fill0"...), so that one drawing serves light and dark; lines differ by their dashes, too. Each has a title and a
description that says the same in words. Callers give plain text; it is escaped here.
"""

import html
import math

from report_numbers import NINES_MAX, figure, nines_of, short

WIDTH, HEIGHT = 360, 232
LEFT, RIGHT, TOP, BOTTOM = 44, 350, 30, 196  # the frame that lines are drawn in
ROW, BAR, ROOM_FOR_TOTAL = 46, 18, 92  # of bars
LETTER = 6.4  # about the width of a small letter
MILLISECONDS_MIN = 0.001  # a logarithm needs a least value; the generator's clock counts microseconds
NINES = ((0.5, "50"), (0.9, "90"), (0.99, "99"), (0.999, "99.9"), (0.9999, "99.99"))


class Line:
    """One server's lines: one thin for each round, a thick one on top when there is a median."""

    def __init__(self, name, rounds, median=None):
        self.name, self.rounds, self.median = name, rounds, median


class Bar:
    """One bar: parts of (name, value, class), and the least and greatest total of the rounds."""

    def __init__(self, label, parts, total_text, least=None, greatest=None):
        self.label, self.parts, self.total_text = label, parts, total_text
        self.least, self.greatest = least, greatest

    def total(self):
        return sum(value for _, value, _ in self.parts)


def percentile_plot(ident, title, description, lines):
    """Milliseconds on a logarithmic axis against percentiles at equal steps for each nine."""
    values = [max(value, MILLISECONDS_MIN) for line in lines for points in line.rounds for _, value in points]
    ticks = log_ticks(min(values), max(values))
    low, high = math.log10(ticks[0]), math.log10(ticks[-1])

    def place(point):
        level = (math.log10(max(point[1], MILLISECONDS_MIN)) - low) / (high - low)
        return LEFT + (RIGHT - LEFT) * point[0] / NINES_MAX, BOTTOM - (BOTTOM - TOP) * level
    marks = [(place((nines_of(part), 1))[0], f"{name}") for part, name in NINES]
    body = [_frame([(place((0, tick))[1], short(tick)) for tick in ticks], marks, "ms", "percentile, %")]
    return _svg(ident, title, description, HEIGHT, body + _lines(lines, place))


def time_plot(ident, title, description, lines):
    """Events per second against seconds."""
    points = [point for line in lines for points in line.rounds for point in points]
    ticks = linear_ticks(max(value for _, value in points))
    last = max(max(time for time, _ in points), MILLISECONDS_MIN)

    def place(point):
        return LEFT + (RIGHT - LEFT) * point[0] / last, BOTTOM - (BOTTOM - TOP) * (point[1] / ticks[-1])
    marks = [(place((tick, 0))[0], short(tick)) for tick in linear_ticks(last) if tick <= last]
    body = [_frame([(place((0, tick))[1], short(tick)) for tick in ticks], marks, "per second", "seconds")]
    return _svg(ident, title, description, HEIGHT, body + _lines(lines, place))


def bar_plot(ident, title, description, bars):
    """Horizontal bars on one scale that begins at zero, each under its label."""
    longest = max(max(bar.total(), bar.greatest or 0) for bar in bars) or 1
    scale = (WIDTH - ROOM_FOR_TOTAL) / longest
    body = []
    for index, bar in enumerate(bars):
        top = index * ROW
        body.append(_text(0, top + 14, _cut(bar.label), "label"))
        left = 0.0
        for name, value, look in bar.parts:
            width = max(value, 0) * scale
            body.append(_part(left, top + 20, width, name, value, look))
            left += width
        end = max(left, 0)
        if bar.least is not None and bar.least != bar.greatest:
            low, end = max(bar.least, 0) * scale, max(left, bar.greatest * scale)
            middle = top + 20 + BAR / 2
            shape = f'd="M{low:.1f} {middle - 5:.1f}v10m0 -5H{bar.greatest * scale:.1f}m0 -5v10"'
            body.append(f'<path class="halo" {shape}/><path class="whisker" {shape}/>')
        body.append(_text(end + 6, top + 34, bar.total_text, "value"))
    return _svg(ident, title, description, len(bars) * ROW, body)


def swatch(look):
    """A square of a colour class, for a legend in a table; its meaning stands beside it."""
    return (f'<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true"><rect class="{look}" width="10" height="10"/>'
            "</svg>")


def log_ticks(low, high):
    """Values 1, 2, 5 times powers of ten that enclose low..high, or only some powers when these are many."""
    first, last = _log_step(low, math.floor), _log_step(high, math.ceil)
    if first == last:
        first, last = first - 1, last + 1
    if last - first <= 8:
        return [_step_value(step) for step in range(first, last + 1)]
    first, last = first // 3, -(-last // 3)
    stride = -(-(last - first) // 6)
    last = first + -(-(last - first) // stride) * stride
    return [10.0 ** power for power in range(first, last + 1, stride)]


def linear_ticks(high):
    """0 and up to six equal steps of 1, 2 or 5 times a power of ten that enclose `high`."""
    if high <= 0:
        return [0, 1]
    step = _step_value(_log_step(high / 5, math.ceil))
    return [step * count for count in range(math.ceil(high / step - 1e-9) + 1)]


def _step_value(step):
    return (1, 2, 5)[step % 3] * 10.0 ** (step // 3)


def _log_step(value, towards):
    """The number of the step 1, 2, 5, 10, 20... at or beyond `value`, down (floor) or up (ceil)."""
    step = 3 * math.floor(math.log10(value))
    while _step_value(step + 1) <= value * (1 + 1e-9):
        step += 1
    return step + (towards is math.ceil and _step_value(step) < value * (1 - 1e-9))


def _svg(ident, title, description, height, body):
    return (f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{ident}-t" '
            f'aria-describedby="{ident}-d"><title id="{ident}-t">{html.escape(title)}</title>'
            f'<desc id="{ident}-d">{html.escape(description)}</desc>{"".join(body)}</svg>')


def _text(x, y, text, look):
    return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}">{html.escape(text)}</text>'


def _cut(text):
    """As much of `text` as fits beside nothing; the description has all of it."""
    letters = int(WIDTH / LETTER)
    return text if len(text) <= letters else text[:letters - 1] + "…"


def _frame(levels, marks, unit, axis):
    """Grid, labels of both axes, and what they count."""
    parts = [_text(0, TOP - 16, unit, "axis")]
    for y, name in levels:
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>' + _text(LEFT - 6, y + 4, name, "tick end"))
    for x, name in marks:
        look = "tick end" if x > RIGHT - 12 else "tick middle"
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{BOTTOM}"/>'
                     + _text(RIGHT + 4 if x > RIGHT - 12 else x, BOTTOM + 16, name, look))
    parts.append(_text((LEFT + RIGHT) / 2, HEIGHT - 4, axis, "axis middle"))
    return "".join(parts)


def _lines(lines, place):
    parts, right = [], RIGHT
    for line in reversed(lines):
        for points in line.rounds:
            look = "round" if line.median and len(line.rounds) > 1 else "median" if line.median else "alone"
            parts.append(_path(points, place, f"line {look} {line.name}"))
        if line.median and len(line.rounds) > 1:
            parts.append(_path(line.median, place, f"line median {line.name}"))
        right -= LETTER * len(line.name)
        parts.append(_text(right, TOP - 16, line.name, "tick"))
        parts.append(f'<path class="line median {line.name}" d="M{right - 26:.1f} {TOP - 20}h20"/>')
        right -= 40
    return parts


def _path(points, place, look):
    places = [place(point) for point in points]
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dot = "h.01" if len(places) == 1 else ""
    return f'<path class="{look}" d="M{steps}{dot}"/>'


def _part(left, top, width, name, value, look):
    text = figure(value)
    inside = ""
    if width > LETTER * len(text) + 6:
        inside = _text(left + 5, top + 13, text, "inside")
    return (f'<g><title>{html.escape(name)}: {text}</title><rect class="{look}" x="{left:.1f}" y="{top}" '
            f'width="{max(width - 1, 0.5):.1f}" height="{BAR}"/>{inside}</g>')
