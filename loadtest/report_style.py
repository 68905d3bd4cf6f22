"""The style sheet of a report: light and dark by prefers-color-scheme, one column on a phone, black on white in print.

Services have colours of their own (fill0...); mosquitto's is that of its lines. Text on a fill has a contrast of at
least 4.5 to 1 in both schemes.
"""

FILLS = 6  # colours for services, fill0 to fill5; the last is for all that come after

STYLE = """
:root { color-scheme: light dark; --ground: #f7f8f9; --surface: #fff; --ink: #1b2228; --muted: #56616b;
  --line: #dde2e6; --good: #17663a; --bad: #b3261e; --bad-ground: #fdecea; --on-fill: #fff;
  --pipit: #0b63bd; --mosquitto: #b04d06; --fill0: #0b63bd; --fill1: #a0306f; --fill2: #0f6e66; --fill3: #6d3fd0;
  --fill4: #5a6600; --fill5: #5f6873; }
@media (prefers-color-scheme: dark) { :root { --ground: #12161a; --surface: #1a2026; --ink: #e5e9ec; --muted: #9eaab4;
  --line: #333d46; --good: #74d495; --bad: #ff9389; --bad-ground: #43201d; --on-fill: #11161b; --pipit: #6cb3ff;
  --mosquitto: #f3a75c; --fill0: #6cb3ff; --fill1: #f08fc4; --fill2: #52d0c2; --fill3: #b9a1ff; --fill4: #c5cd62;
  --fill5: #a6b0ba; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); line-height: 1.5; -webkit-text-size-adjust: 100%;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 1rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1.05rem; margin: 0 0 .25rem; }
h4 { font-size: .95rem; margin: 0 0 .25rem; }
h1, h2, h3, h4, p, .verdict { overflow-wrap: anywhere; }
a { color: inherit; text-decoration-color: var(--muted); text-underline-offset: .2em; }
p { margin: .25rem 0 .75rem; max-width: 46rem; }
.muted, figcaption, .range, th small { color: var(--muted); }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .95em; }
.verdict { display: inline-block; margin: .5rem 0; padding: .4rem .8rem; border: 2px solid; border-radius: .5rem;
  font-weight: 700; }
.good { color: var(--good); }
.bad { color: var(--bad); }
td.bad { font-weight: 700; background: var(--bad-ground); }
.card { background: var(--surface); border: 1px solid var(--line); border-radius: .75rem; padding: 1rem;
  margin: 0 0 1rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: .1rem 2rem;
  margin: 0; }
.facts div { display: flex; gap: .75rem; padding: .15rem 0; }
.facts dt { color: var(--muted); flex: 0 0 8rem; overflow-wrap: anywhere; }
.facts dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--pipit); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
.wide { width: 100%; }
th, td { padding: .3rem .6rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
thead th { white-space: normal; vertical-align: bottom; }
th[scope=row], th.text, td.text { text-align: left; white-space: normal; min-width: 6rem; }
tbody th[scope=row], tbody th.text { font-weight: 400; }
th.group { text-align: left; white-space: normal; padding-top: .8rem; }
tbody:first-of-type th.group { padding-top: .4rem; }
th:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: .25rem; }
.range { display: block; font-size: .75rem; line-height: 1.2; font-weight: 400; }
.verdict-cell { font-weight: 700; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr));
  gap: 1.25rem 1.5rem; margin: .75rem 0; }
.blocks { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); gap: 1.5rem 2rem; }
.blocks > div { min-width: 0; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: .8rem; max-width: 30rem; }
.plot { display: block; width: 100%; max-width: 450px; height: auto; }
.plot text { font: 11px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; fill: var(--ink); }
.plot .tick, .plot .axis { fill: var(--muted); }
.plot .end { text-anchor: end; }
.plot .middle { text-anchor: middle; }
.plot .label, .plot .value { font-size: 12px; }
.plot .value { font-weight: 600; }
.plot .inside { fill: var(--on-fill); }
.grid { stroke: var(--line); fill: none; }
.line { fill: none; stroke-linejoin: round; stroke-linecap: round; }
.round { stroke-width: 1; opacity: .55; }
.alone { stroke-width: 1.4; }
.median { stroke-width: 2.25; }
.line.pipit { stroke: var(--pipit); }
.line.mosquitto { stroke: var(--mosquitto); stroke-dasharray: 5 4; }
.halo { stroke: var(--surface); stroke-width: 3.5; fill: none; }
.whisker { stroke: var(--ink); fill: none; }
.swatch { width: .7em; height: .7em; margin-right: .4em; }
rect.pipit { fill: var(--pipit); } rect.mosquitto { fill: var(--mosquitto); }
rect.fill0 { fill: var(--fill0); } rect.fill1 { fill: var(--fill1); } rect.fill2 { fill: var(--fill2); }
rect.fill3 { fill: var(--fill3); } rect.fill4 { fill: var(--fill4); } rect.fill5 { fill: var(--fill5); }
details summary { cursor: pointer; padding: .5rem 0; font-weight: 600; }
@media (max-width: 480px) { main { padding: .75rem .75rem 2rem; } .card { padding: .75rem; }
  table { font-size: .85rem; }
  th, td { padding: .3rem .25rem; } th[scope=row], th.text { min-width: 4.8rem; }
  .range { white-space: normal; }
  .wrap td { white-space: normal; } .facts dt { flex-basis: 7rem; } }
@media print { :root { --ground: #fff; } .card { break-inside: avoid; border: 0; padding: 0; }
  .scroll { overflow: visible; } }
"""
