#pragma once
// The script of the report: reading charts, hiding arms, choosing an arm, the coloured text, the sample browser. Text
// from data reaches the page as text nodes only. The page is whole without it, but for the sample browser.

namespace moegrad::report {

inline constexpr const char* kChartScript = R"js('use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const all = (where, root) => Array.from((root || document).querySelectorAll(where));
const make = (tag, kind, text) => {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  if (text !== undefined) node.textContent = text;
  return node;
};
const brief = v => v === null || v === undefined ? '\u2013' :
  (Math.abs(v) >= 1e4 || v && Math.abs(v) < 1e-3 ? v.toExponential(2) : String(+v.toPrecision(4))).replace('-', '\u2212');
document.documentElement.classList.add('js');

// One tip for everything that carries data-tip, and for the charts.
const tip = make('div');
tip.id = 'tip';
tip.hidden = true;
tip.setAttribute('role', 'status');
document.body.append(tip);
function showTip(content, x, y) {
  tip.replaceChildren(content);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 4)) + 'px';
  tip.style.top = (y + box.height + 20 > innerHeight ? y - box.height - 10 : y + 16) + 'px';
}
document.addEventListener('pointermove', event => {
  const at = event.target.closest && event.target.closest('[data-tip]');
  if (at) showTip(document.createTextNode(at.dataset.tip), event.clientX, event.clientY);
  else if (!event.target.closest('[data-lines]')) tip.hidden = true;
});
document.addEventListener('scroll', () => { tip.hidden = true; }, {passive: true});

// Charts of lines: the read-out at the nearest point, by pointer or arrow keys.
const hiddenArms = new Set();
all('[data-lines]').forEach(frame => {
  const chart = data[frame.dataset.lines], svg = frame.querySelector('svg.plot');
  const cursor = document.createElementNS('http://www.w3.org/2000/svg', 'line');
  cursor.setAttribute('class', 'cursor off');
  cursor.setAttribute('y1', '0');
  cursor.setAttribute('y2', '100%');
  svg.append(cursor);
  const first = chart.x[0], last = chart.x[chart.x.length - 1];
  let now = chart.x.length - 1;
  const read = index => {
    now = Math.max(0, Math.min(chart.x.length - 1, index));
    const share = last > first ? (chart.x[now] - first) / (last - first) : 0, box = svg.getBoundingClientRect();
    cursor.setAttribute('x1', 100 * share + '%');
    cursor.setAttribute('x2', 100 * share + '%');
    cursor.classList.remove('off');
    const table = make('table'), head = table.insertRow();
    head.append(make('td', '', 'step'), make('td', '', String(Math.round(chart.x[now]))));
    const rows = chart.series.map((one, i) => ({one, i, y: one.y[now]}))
      .filter(r => r.y !== null && !(chart.arms && hiddenArms.has(String(r.i)))).sort((a, b) => b.y - a.y);
    for (const row of rows) {
      const line = table.insertRow(), name = make('td');
      name.append(make('span', 'swatch ' + row.one.kind), row.one.name);
      line.append(name, make('td', '', brief(row.y)));
    }
    showTip(table, box.left + share * box.width, box.top + 10);
  };
  const leave = () => { cursor.classList.add('off'); tip.hidden = true; };
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect(), share = (event.clientX - box.left) / box.width;
    read(Math.round(share * (chart.x.length - 1)));
  });
  svg.addEventListener('pointerleave', leave);
  svg.addEventListener('focus', () => { if (svg.matches(':focus-visible')) read(now); });
  svg.addEventListener('blur', leave);
  svg.addEventListener('keydown', event => {
    const step = {ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9}[event.key];
    if (!step) return;
    event.preventDefault();
    read(now + step);
  });
});

// The legend hides an arm everywhere.
all('.legend button').forEach(button => button.addEventListener('click', () => {
  const arm = button.dataset.arm, hide = !hiddenArms.has(arm);
  if (hide) hiddenArms.add(arm); else hiddenArms.delete(arm);
  all(`.legend button[data-arm="${arm}"]`).forEach(b => b.setAttribute('aria-pressed', String(!hide)));
  all('[data-lines]').filter(f => data[f.dataset.lines].arms)
    .forEach(f => all(`path[data-series="${arm}"]`, f).forEach(p => p.classList.toggle('off', hide)));
  all(`[data-scatter] [data-arm="${arm}"], .dots [data-arm="${arm}"]`).forEach(n => n.classList.toggle('off', hide));
}));

// Tabs choose an arm within a section. Arrow keys move along them.
const onArm = {};
function chooseArm(group, arm) {
  all(`[data-tabs="${group}"] button`).forEach(b => {
    const on = b.dataset.arm === String(arm);
    b.setAttribute('aria-selected', String(on));
    b.tabIndex = on ? 0 : -1;
  });
  const beside = arm === 'all';
  all(`.panels[data-group="${group}"]`).forEach(p => p.classList.toggle('beside', beside));
  all(`.tabpanel[data-group="${group}"]`).forEach(p => p.classList.toggle('off', !beside && p.dataset.arm !== String(arm)));
  if (onArm[group]) onArm[group](Number(arm));
}
all('[data-tabs]').forEach(list => {
  const group = list.dataset.tabs, tabs = all('button', list);
  tabs.forEach((tab, i) => {
    tab.addEventListener('click', () => chooseArm(group, tab.dataset.arm));
    tab.addEventListener('keydown', event => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (!step) return;
      const next = tabs[(i + step + tabs.length) % tabs.length];
      next.focus();
      chooseArm(group, next.dataset.arm);
    });
  });
});

// The contents mark where the reader is.
const links = all('nav a'), sections = links.map(a => document.getElementById(a.hash.slice(1)));
function markPlace() {
  let at = 0;
  sections.forEach((s, i) => { if (s.getBoundingClientRect().top < innerHeight * .35) at = i; });
  links.forEach((a, i) => {
    a.classList.toggle('here', i === at);
    if (i === at) a.setAttribute('aria-current', 'true'); else a.removeAttribute('aria-current');
  });
}
document.addEventListener('scroll', markPlace, {passive: true});
markPlace();
)js";

inline constexpr const char* kItemsScript = R"js(
all('[data-tabs]').forEach(list => {
  const forced = /[#&]arm=(\d+)/.exec(location.hash);
  chooseArm(list.dataset.tabs, forced ? forced[1] : data.texts ? data.texts.first : 0);
});

// The sample browser.
(() => {
  const questions = data.questions, place = document.getElementById('items'), form = document.getElementById('filters');
  if (!questions || !place) return;
  const size = 8, arms = questions.arms, output = document.getElementById('count');
  const domains = [...new Set(questions.items.map(q => q.domain))].filter(d => d).sort();
  domains.forEach(d => form.elements.domain.add(new Option(d, d)));
  let page = 0, found = [];
  const haystack = questions.items.map(q => [q.id, q.question, ...q.choices].join(' ').toLowerCase());
  const rightOf = i => arms.map(a => a.answers[i]).filter(a => a).map(a => a[0] === questions.items[i].answer);
  const outcomes = {
    '': () => true, wrong: r => r.some(x => !x), right: r => r.every(x => x), none: r => r.every(x => !x),
    split: r => r.some(x => x) && r.some(x => !x)
  };
  function article(i) {
    const q = questions.items[i], node = make('article'), table = make('table');
    node.append(make('small', '', [q.id, q.domain, q.level ? 'level ' + q.level : ''].filter(s => s).join(' \u00b7 ')));
    node.append(make('p', 'question', q.question || '(the evaluation kept no question text)'));
    const head = table.createTHead().insertRow();
    head.append(make('th', '', 'choice'));
    arms.forEach(a => {
      const cell = make('th', 'num');
      cell.append(make('span', 'swatch ' + a.kind), a.name);
      head.append(cell);
    });
    const body = table.createTBody();
    const most = Math.max(q.choices.length, ...arms.map(a => a.answers[i] ? a.answers[i].length - 1 : 0));
    for (let c = 0; c < most; ++c) {
      const row = body.insertRow();
      if (c === q.answer) row.className = 'right';
      row.append(make('th', '', String.fromCharCode(65 + c) + '  ' + (q.choices[c] || '') + (c === q.answer ? '  \u2713' : '')));
      arms.forEach(a => {
        const one = a.answers[i], chosen = one && one[0] === c;
        const value = one && one.length > c + 1 ? one[c + 1].toFixed(2).replace('-', '\u2212') : '\u2013';
        row.append(make('td', 'num' + (chosen ? ' chosen' : ''), (chosen ? '\u25cf ' : '') + value));
      });
    }
    const scroll = make('div', 'scroll');
    scroll.append(table);
    node.append(scroll);
    return node;
  }
  function draw() {
    const word = form.elements.find.value.trim().toLowerCase(), domain = form.elements.domain.value;
    const fits = outcomes[form.elements.outcome.value];
    found = questions.items.map((q, i) => i).filter(i =>
      (!word || haystack[i].includes(word)) && (!domain || questions.items[i].domain === domain) && fits(rightOf(i)));
    const pages = Math.max(1, Math.ceil(found.length / size));
    page = Math.max(0, Math.min(page, pages - 1));
    place.replaceChildren(...found.slice(page * size, (page + 1) * size).map(article));
    if (!found.length) place.append(make('p', 'absent', 'No question fits.'));
    const from = found.length ? page * size + 1 : 0, to = Math.min(found.length, (page + 1) * size);
    output.textContent = `${from}\u2013${to} of ${found.length}`;
    all('[data-page]', form).forEach(b => { b.disabled = b.dataset.page < 0 ? page === 0 : page >= pages - 1; });
  }
  form.addEventListener('input', () => { page = 0; draw(); });
  form.addEventListener('submit', event => event.preventDefault());
  all('[data-page]', form).forEach(b => b.addEventListener('click', () => { page += Number(b.dataset.page); draw(); }));
  draw();
})();
)js";

}  // namespace moegrad::report
