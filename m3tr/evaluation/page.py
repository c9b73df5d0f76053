"""The template of the report page: one file, no script, nothing loaded from elsewhere."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
:root { --ink: #1d2329; --paper: #fff; --card: #f6f7f8; --line: #d9dde1; --faint: #7f8a94;
  --accent: #0b66c3; --second: #c2570c; --third: #2c8a4b; --fourth: #8a4fbf; --warn: #fdf1dc; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --paper: #14181c; --card: #1c2228; --line: #353d45; --faint: #8d98a3;
    --accent: #64aefb; --second: #f2a15c; --third: #6fca8d; --fourth: #c39bf0; --warn: #3a2e15; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0 0 .4rem; } p { margin: .4rem 0; max-width: 46rem; }
.note { color: var(--faint); font-size: .87rem; }
.warn { background: var(--warn); border-radius: 6px; padding: .5rem .8rem; }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; margin: .8rem 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .5rem .9rem; min-width: 8rem; flex: 1 1 8rem; }
.tile b { display: block; font-size: 1.35rem; font-weight: 600; }
.tile span { font-size: .8rem; color: var(--faint); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .87rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
th:first-child, td:first-child { text-align: left; }
.scroll th:first-child, .scroll td:first-child { position: sticky; left: 0;
  background: var(--paper); }
td small { color: var(--faint); }
tr.ours td { font-weight: 600; background: var(--card) !important; }
.grid { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); }
.card { border: 1px solid var(--line); border-radius: 8px; padding: .8rem; min-width: 0; }
.card svg { width: 100%; height: auto; display: block; color: var(--ink); }
.card table td, .card table th { padding: .2rem .4rem; }
.card .name { white-space: normal; text-align: left; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .15rem 1rem;
  font-size: .9rem; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% if random %}<p class="warn"><b>Random split.</b> These numbers are not a forecast
of later videos.</p>{% endif %}
<dl>{% for name, value in header.items() %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>
{% if tiles %}<div class="tiles">{% for name, value in tiles %}
<div class="tile"><b>{{ value }}</b><span>{{ name }}</span></div>{% endfor %}</div>{% endif %}
{% for label in labels %}
<h2>{{ label.title }}</h2>
<div class="scroll"><table>
<tr><th>Row</th><th>Info</th><th>nMSE</th><th>SRC</th><th>MAE</th><th>Top 20 %</th><th>Skill</th>
<th>nMSE minus M3TR</th><th>Coverage</th><th>Width</th></tr>
{% for line in label.rows %}<tr{% if line.ours %} class="ours"{% endif %}>
<td>{{ line.row }}</td><td>{{ line.information }}</td>
{% for text, range in line.cells %}<td>{{ text }}{% if range %} <small>{{ range }}</small>
{% endif %}</td>{% endfor %}</tr>{% endfor %}
</table></div>
<p class="note">Last horizon. Information: C content, F feedback up to the observation age, CF both,
CFR both with retrieval. Brackets: 95 % interval. MAE and width are in log2 units: 1 is a factor of
two. Skill is against last count.</p>
<div class="grid" style="margin-top:1rem">{% for chart in label.charts %}
<div class="card"><h3>{{ chart.title }}</h3>{{ chart.svg }}
<p class="note">{{ chart.note }}</p></div>{% endfor %}</div>
{% endfor %}
{% if neighbourhoods %}<h2>Trajectories and what was retrieved for them</h2>
<p class="note">Solid: seen at the prediction. Dashed: later. {% if random %}The split
is random: a neighbour's later life may lie after the prediction.{% else %}The neighbours' later
lives were known by then; the video's own was not.{% endif %}</p>
<div class="grid">{% for n in neighbourhoods %}
<div class="card"><h3>{{ n.title or n.video_id }}</h3>{{ n.svg }}
<table><tr><th></th><th class="name">Neighbour</th><th>Score</th>
<th>Content</th><th>Trajectory</th></tr>
{% for b in n.neighbours %}<tr><td>{{ loop.index }}</td>
<td class="name">{{ b.title or b.video_id }}</td><td>{{ "%.2f"|format(b.score) }}</td>
<td>{{ "%.2f"|format(b.content) }}</td><td>{{ "%.2f"|format(b.trajectory) }}</td></tr>{% endfor %}
</table></div>{% endfor %}</div>{% endif %}
<h2>Provenance</h2>
<dl>{% for name, value in provenance.items() %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}
</dl>
</body>
</html>
"""
