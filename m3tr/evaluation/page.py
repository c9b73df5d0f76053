"""The templates of the pages: self-contained, no script, nothing loaded from elsewhere."""

from typing import Any

STYLE = """\
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
.name { white-space: normal; text-align: left; overflow-wrap: anywhere; min-width: 11rem; }
.name small { display: block; }
.explained { margin: 1rem 0; } .explained > svg { max-width: 44rem; }
.explained td { vertical-align: top; } .explained td small { display: block; }
.explained tr.own td { background: var(--card) !important; }
.r1 { color: var(--second); } .r2 { color: var(--third); } .r3 { color: var(--fourth); }
.strip { display: flex; gap: 3px; margin: .15rem 0; }
.strip img { height: 3rem; width: auto; border-radius: 3px; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .15rem 1rem;
  font-size: .9rem; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
"""

# one explanation (`explained.card`): the picture, then all neighbours
CARD = """
{% macro strip(frames) %}{% if frames %}<div class="strip">{% for source in frames %}
<img src="{{ source }}" alt="">{% endfor %}</div>{% endif %}{% endmacro %}
{% macro card(c) %}
<div class="card explained"><h3>{{ c.title or c.video_id }}
{% if c.title %}<span class="note">{{ c.video_id }}</span>{% endif %}</h3>
<p class="note">{{ c.notes|join(" ") }}</p>
{{ strip(c.frames) }}{{ c.svg }}
<div class="scroll"><table>
<tr><th></th><th class="name">Neighbour</th><th>Score</th>
{% for part, weight in c.parts %}<th>{{ part|capitalize }}<br>
<small>&times; {{ weight }}</small></th>{% endfor %}<th>Content</th>
{% for lead in c.leads %}<th>{{ lead }}</th>{% endfor %}<th>Known at</th></tr>
<tr class="own"><td></td><td class="name">Forecast of this video</td>
<td colspan="{{ c.parts|length + 2 }}"></td>
{% for log, count in c.forecast %}<td>{{ log }}<small>{{ count }}</small></td>{% endfor %}
<td></td></tr>
{% if c.own %}<tr class="own"><td></td><td class="name">Its own later life
<small>not known to the forecast</small></td><td colspan="{{ c.parts|length + 2 }}"></td>
{% for log, count in c.own %}<td>{{ log }}<small>{{ count }}</small></td>{% endfor %}
<td></td></tr>{% endif %}
{% for b in c.rows %}<tr><td class="r{{ b.rank }}">{{ b.rank }}</td>
<td class="name">{{ strip(b.frames) }}{{ b.title or b.video_id }}
{% if b.title %}<small>{{ b.video_id }}</small>{% endif %}</td><td>{{ b.score }}</td>
{% for cosine, points in b.parts %}<td>{{ cosine }}<small>{{ points }}</small></td>{% endfor %}
<td>{{ b.content }}</td>
{% for log, count in b.outcome %}<td>{{ log }}<small>{{ count }}</small></td>{% endfor %}
<td>{{ b.known_at }}</td></tr>{% endfor %}
</table></div></div>
{% endmacro %}
"""

LEGEND = """
<p class="note">Curves: solid as far as they were looked at, up to the line of the forecast; dashed,
what came after in a neighbour's life; dotted, what came after in the video's own, which the
forecast (circles) did not know. Table: cosines of each part, below them what they give to the
score, which is their sum; a dash where one of the two lacks the part. Columns +d: growth so many
days after the observation, in log2 units and as a count.</p>
"""

EXPLANATION = """
{% from "card" import card with context %}
<h1>{{ title }}</h1>
{% include "legend" %}
{{ card(explained) }}
"""

REPORT = """
{% from "card" import card with context %}
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
<th>nMSE minus M3TR</th><th>CRPS</th><th>Coverage</th><th>Width</th></tr>
{% for line in label.rows %}<tr{% if line.ours %} class="ours"{% endif %}>
<td>{{ line.row }}</td><td>{{ line.information }}</td>
{% for text, range in line.cells %}<td>{{ text }}{% if range %} <small>{{ range }}</small>
{% endif %}</td>{% endfor %}</tr>{% endfor %}
</table></div>
<p class="note">Last horizon. Information: C content, F feedback up to the observation age, CF both,
CFR both with retrieval. Brackets: 95 % interval. MAE, CRPS and width are in log2 units: 1 is a
factor of two. Skill is against last count.</p>
<div class="grid" style="margin-top:1rem">{% for chart in label.charts %}
<div class="card"><h3>{{ chart.title }}</h3>{{ chart.svg }}
<p class="note">{{ chart.note }}</p></div>{% endfor %}</div>
{% endfor %}
{% if explained %}<h2>Trajectories and what was retrieved for them</h2>
{% include "legend" %}
{% for each in explained %}{{ card(each) }}{% endfor %}{% endif %}
<h2>Provenance</h2>
<dl>{% for name, value in provenance.items() %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}
</dl>
"""

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
"""
TEMPLATES = {"card": CARD, "legend": LEGEND} | {
    name: f"{HEAD}{STYLE}</style>\n</head>\n<body>{body}</body>\n</html>\n"
    for name, body in {"report": REPORT, "explanation": EXPLANATION}.items()
}


def render(name: str, **values: Any) -> str:
    """One of the pages as HTML; all values are escaped."""
    from jinja2 import DictLoader, Environment, StrictUndefined

    environment = Environment(
        loader=DictLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(name).render(**values)
