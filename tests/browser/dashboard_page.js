// Draws a dashboard in the page: dashboard.mjs.
(() => {
    const COLORS = { green: '#56a64b', orange: '#e0752d', red: '#e02f44' };
    // Of series, in their order.
    const SERIES = [
        '#73bf69', '#f2cc0c', '#5794f2', '#ff780a', '#f2495c', '#b877d9',
        '#37872d', '#fade2a', '#8ab8ff', '#ffb357', '#ff7383', '#ca95e5',
    ];

    // --- numbers and units -----------------------------------------------------------------------

    const number = (value, digits = { maximumSignificantDigits: 3 }) =>
        value.toLocaleString('en', { ...digits, useGrouping: false });

    const SECONDS = [[1, 's'], [1e-3, 'ms'], [1e-6, 'µs']];

    const UNITS = {
        short: (value) => number(value),
        percentunit: (value) => `${number(value * 100, { maximumFractionDigits: 2 })}%`,
        reqps: (value) => `${number(value)} req/s`,
        s(value) {
            if (value === 0) return '0 s';
            const [size, unit] = SECONDS.find(([size]) => Math.abs(value) >= size) ?? SECONDS.at(-1);
            return `${number(value / size)} ${unit}`;
        },
    };

    const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19);

    // --- panels ----------------------------------------------------------------------------------

    function element(name, properties = {}, ...children) {
        const made = Object.assign(document.createElement(name), properties);
        made.append(...children);
        return made;
    }

    // A custom property with light-dark(), as a color for a canvas.
    function color(name) {
        const probe = element('i');
        probe.style.color = `var(${name})`;
        document.body.append(probe);
        const { color: found } = getComputedStyle(probe);
        probe.remove();
        return found;
    }

    function drawStat(panel, box) {
        const { defaults } = panel.fieldConfig;
        const [series] = panel.series;
        const value = series?.points.at(-1)[1];
        let text = defaults.noValue ?? 'No data';
        if (series) text = panel.options.textMode === 'name' ? series.name : UNITS[defaults.unit](value);
        const reached = defaults.thresholds.steps.filter((it) => it.value === null || value >= it.value);
        box.classList.add('stat');
        box.style.background = COLORS[reached.at(-1).color];
        box.append(element('p', { textContent: text }));
    }

    const last = (values) => values.findLast((it) => it !== null);
    const most = (values) => Math.max(...values.filter((it) => it !== null));

    function drawLegend(lines, format) {
        const titles = ['Name', 'Last *', 'Max'].map((it) => element('th', { textContent: it }));
        const rows = lines.map(({ name, values, stroke }) => {
            const mark = element('i');
            mark.style.background = stroke;
            const cells = [last(values), most(values)].map((it) => element('td', { textContent: format(it) }));
            return element('tr', {}, element('td', {}, mark, name), ...cells);
        });
        return element('div', { className: 'legend' }, element('table', {}, element('tr', {}, ...titles), ...rows));
    }

    // One on another: where the upper edge of each is.
    function stack(lines) {
        const sums = lines[0].values.map(() => 0);
        for (const line of lines) {
            line.edge = line.values.map((value, index) => (value === null ? null : (sums[index] += value)));
        }
    }

    function drawChart(panel, box, { start, end, step }) {
        const { unit, custom, min, max, thresholds } = panel.fieldConfig.defaults;
        const format = UNITS[unit];
        const length = Math.round((end - start) / step) + 1;
        const times = Array.from({ length }, (_, index) => start + index * step);
        const lines = panel.series.map(({ name, points }, index) => {
            const at = new Map(points);
            const values = times.map((time) => (Number.isFinite(at.get(time)) ? at.get(time) : null));
            return { name, values, edge: values, stroke: SERIES[index % SERIES.length] };
        });
        const isStacked = custom.stacking.mode === 'normal';
        if (isStacked) stack(lines);
        // As if sorted by their maximum, with a click on it.
        const legend = drawLegend(lines.toSorted((a, b) => most(b.values) - most(a.values)), format);
        const chart = element('div', { className: 'chart' });
        box.append(chart, legend);

        const opacity = Math.round(custom.fillOpacity * 2.55).toString(16).padStart(2, '0');
        const axis = { stroke: color('--weak'), font: '11px system-ui, sans-serif', ticks: { show: false } };
        const grid = { stroke: color('--grid'), width: 1 };
        const { width, height } = chart.getBoundingClientRect();
        const limits = custom.thresholdsStyle ? thresholds.steps.filter((it) => it.value !== null) : [];
        const options = {
            width,
            height,
            legend: { show: false },
            cursor: { show: false },
            padding: [12, 28, 0, 4],
            scales: { x: { time: false }, y: { range: (_, low, high) => [min ?? low, max ?? (high * 1.1 || 1)] } },
            axes: [
                {
                    ...axis,
                    grid,
                    size: 28,
                    gap: 8,
                    space: 90,
                    incrs: [10, 15, 30, 60],
                    values: (_, all) => all.map(clock),
                },
                { ...axis, grid, size: 72, gap: 6, space: 32, values: (_, all) => all.map(format) },
            ],
            series: [
                {},
                ...lines.map(({ stroke }) => ({
                    stroke,
                    width: custom.lineWidth,
                    fill: `${stroke}${opacity}`,
                    points: { show: false },
                    spanGaps: custom.spanNulls,
                })),
            ],
            // A stacked area ends where the one below begins.
            bands: isStacked ? lines.slice(1).map((_, index) => ({ series: [index + 2, index + 1] })) : [],
            hooks: {
                draw: limits.map((it) => (plot) => drawLimit(plot, it.value, COLORS[it.color])),
            },
        };
        new globalThis.uPlot(options, [times, ...lines.map((it) => it.edge)], chart);
    }

    function drawLimit(plot, value, stroke) {
        if (value > plot.scales.y.max) return;
        const { left, width } = plot.bbox;
        const y = Math.round(plot.valToPos(value, 'y', true));
        Object.assign(plot.ctx, { strokeStyle: stroke, lineWidth: 2 });
        plot.ctx.beginPath();
        plot.ctx.moveTo(left, y);
        plot.ctx.lineTo(left + width, y);
        plot.ctx.stroke();
    }

    function drawPanel(panel, time, main) {
        const { x, y, w, h } = panel.gridPos;
        const box = element('section', { className: panel.type === 'row' ? 'row' : 'panel' });
        box.style.gridArea = `${y + 1} / ${x + 1} / span ${h} / span ${w}`;
        box.append(panel.type === 'row' ? panel.title : element('h2', { textContent: panel.title }));
        main.append(box);
        if (panel.type === 'stat') drawStat(panel, box);
        if (panel.type === 'timeseries') drawChart(panel, box, time);
    }

    globalThis.draw = ({ title, panels, time }) => {
        const main = document.querySelector('main');
        main.replaceChildren();
        document.querySelector('header')?.remove();
        main.before(
            element(
                'header',
                {},
                element('h1', { textContent: title }),
                element('span', { textContent: 'Instance: All' }),
                element('span', { textContent: `${clock(time.start)} to ${clock(time.end)} UTC` }),
            ),
        );
        for (const panel of panels) drawPanel(panel, time, main);
    };
})();
