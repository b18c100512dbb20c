"""Grafana's panels and the PromQL in them, in as few words as board.py needs: what all panels share stands here once."""

# Columns of Grafana's grid.
COLUMNS = 24
AT = 'job="$job",instance=~"$instance"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

# Shares that are good when small, and when large: where green ends and where yellow does.
SMALL_IS_GOOD = ("green", (0.02, "yellow"), (0.15, "red"))
LARGE_IS_GOOD = ("red", (0.3, "yellow"), (0.6, "green"))


def steps(colours):
    first, *others = colours
    return [{"color": first, "value": None}] + [{"color": colour, "value": value} for value, colour in others]


def target(expr, legend, ref):
    return {
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": expr,
        "legendFormat": legend,
        "range": True,
        "refId": ref,
    }


def panel(kind, title, description, queries, unit, width, height=8, stacked=False, colours=None, least=0):
    """One panel; `queries` are pairs of PromQL and legend."""
    defaults = {"unit": unit, "color": {"mode": "thresholds" if kind == "stat" else "palette-classic"}}
    if least is not None:
        defaults["min"] = least
    defaults["thresholds"] = {"mode": "absolute", "steps": steps(colours or ("green",))}
    options = {}
    if kind == "stat":
        options = {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background" if colours else "value",
            "graphMode": "area",
            "textMode": "auto",
        }
    elif kind == "timeseries":
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if stacked else 5,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        }
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif kind == "table":
        options = {"showHeader": True}
    targets = [target(expr, legend, chr(ord("A") + at)) for at, (expr, legend) in enumerate(queries)]
    if kind == "table":
        for each in targets:
            each.update(format="table", instant=True, range=False)
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": targets,
        "gridPos": {"w": width, "h": height},
    }


def stat(title, description, expr, unit, colours=None):
    return panel("stat", title, description, [(expr, "{{instance}}")], unit, 4, 4, colours=colours)


def graph(title, description, queries, unit, width=8, stacked=False, least=0):
    return panel("timeseries", title, description, queries, unit, width, stacked=stacked, least=least)


def table(title, description, expr, width=12):
    return panel("table", title, description, [(expr, "")], "short", width)


def rate(name, labels="", by=""):
    """Events a second of a counter, summed by labels."""
    inner = f"rate({name}{{{AT}{',' + labels if labels else ''}}}[$__rate_interval])"
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


def mean(name, by):
    """Mean of what a histogram saw."""
    return f"{rate(f'{name}_sum', by=by)} / {rate(f'{name}_count', by=by)}"


def quantile(share, name, labels="", by=""):
    also = f", {by}" if by else ""
    inner = f"rate({name}_bucket{{{AT}{',' + labels if labels else ''}}}[$__rate_interval])"
    return f"histogram_quantile({share}, sum by (le{also}) ({inner}))"


def recorded(name, labels=""):
    return f"{name}{{{AT}{',' + labels if labels else ''}}}"


def placed(rows):
    """The panels with their places, left to right, row by row, and a number each."""
    out, y = [], 0
    for title, panels in rows:
        out.append(
            {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": place(0, y, COLUMNS, 1)}
        )
        y, x, tallest = y + 1, 0, 0
        for each in panels:
            width, height = each["gridPos"]["w"], each["gridPos"]["h"]
            if x + width > COLUMNS:
                y, x, tallest = y + tallest, 0, 0
            out.append({**each, "gridPos": place(x, y, width, height)})
            x, tallest = x + width, max(tallest, height)
        y += tallest
    return [{"id": number, **each} for number, each in enumerate(out, 1)]


def place(x, y, width, height):
    return {"x": x, "y": y, "w": width, "h": height}


def variable(name, label, query, several):
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": several,
        "includeAll": several,
        "current": {"text": "All", "value": "$__all"} if several else {},
    }
