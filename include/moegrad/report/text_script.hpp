#pragma once
// The script of the coloured text: one arm, or two side by side. It stands between the two of script.hpp.

namespace moegrad::report {

inline constexpr const char* kTextScript = R"js(
// The coloured text. used[text][token] is "3,5;1;;2": true experts layer by layer.
(() => {
  const texts = data.texts, place = document.getElementById('passages');
  if (!texts || !place) return;
  const panel = document.getElementById('token'), layerSelect = document.getElementById('layer');
  const more = document.getElementById('more'), few = 220;
  const besideSelect = document.getElementById('beside');
  let arm = texts.first, layer = -1, at = -1, tokens = [], whole = false;
  const counts = used => used.split(';').map(part => part === '' ? [] : part.split(',').map(Number));
  function mean(layers) {
    return layers.length ? layers.reduce((sum, ids) => sum + ids.length, 0) / layers.length : 0;
  }
  // One text as an arm used it; the tokens of the arm that is read are kept.
  function passageOf(one, text, i, keep) {
    const passage = make('p', 'passage');
    text.tokens.forEach((word, t) => {
      const layers = counts(one.used[i][t]), fact = text.facts[t] === '1';
      const value = layer < 0 ? mean(layers) : layers[layer].length;
      const level = Math.max(0, Math.min(texts.levels, Math.round(texts.levels * value / texts.most)));
      const seen = word === '' ? '\u00b7' : word.replace(/\n/g, '\u21b5\n');
      const span = make('span', 't s' + level + (fact ? ' fact' : ''), seen);
      if (keep) {
        span.dataset.at = tokens.length;
        tokens.push({span, word, fact, layers});
      }
      passage.append(span);
    });
    return passage;
  }
  // The arm to show beside: one that read the same texts in as many layers.
  function besideArm(one) {
    const other = besideSelect && besideSelect.value !== '' ? texts.arms[besideSelect.value] : null;
    return other && other !== one && other.set === one.set && other.layers.length === one.layers.length ? other : null;
  }
  function draw() {
    const one = texts.arms[arm];
    place.replaceChildren();
    panel.replaceChildren();
    tokens = [];
    document.getElementById('says').textContent = one.used ? one.says : 'No eval/tokens.json for this arm.';
    if (!one.used) return;
    const set = texts.sets[one.set], other = besideArm(one);
    place.classList.toggle('pair', other !== null);
    if (other) place.append(make('h4', '', one.name), make('h4', '', other.name));
    more.hidden = true;
    set.every((text, i) => {
      if (!whole && tokens.length >= few) {
        more.textContent = `Show all ${set.length} texts`;
        more.hidden = false;
        return false;
      }
      place.append(passageOf(one, text, i, true));
      if (other) place.append(passageOf(other, text, i, false));
      return true;
    });
  }
  function layerChoices() {
    const one = texts.arms[arm];
    layerSelect.replaceChildren(new Option('mean over layers', -1));
    (one.layers || []).forEach((name, l) => layerSelect.add(new Option(name, l)));
    if (!(one.used && layer < one.layers.length)) layer = -1;
    layerSelect.value = String(layer);
  }
  function show(index) {
    if (tokens[at]) tokens[at].span.classList.remove('on');
    at = Math.max(0, Math.min(tokens.length - 1, index));
    const token = tokens[at];
    if (!token) return;
    token.span.classList.add('on');
    const table = make('table');
    token.layers.forEach((ids, l) => {
      const row = table.insertRow(), pips = make('div', 'pips');
      for (let e = 0; e < texts.arms[arm].experts && e < 64; ++e) pips.append(make('i', ids.includes(e) ? 'used' : ''));
      const cell = make('td');
      cell.append(pips);
      cell.style.width = '60%';
      row.append(make('th', '', texts.arms[arm].layers[l]), cell, make('td', '', ids.length ? ids.join(', ') : 'none'));
    });
    panel.replaceChildren(make('h4', '', '\u201c' + token.word + '\u201d'),
      make('p', '', (token.fact ? 'fact' : 'filler') + ', ' + brief(mean(token.layers)) + ' true experts on average'), table);
  }
  place.addEventListener('pointerover', event => {
    if (event.target.dataset.at !== undefined) show(Number(event.target.dataset.at));
  });
  place.addEventListener('click', event => {
    if (event.target.dataset.at !== undefined) show(Number(event.target.dataset.at));
  });
  place.addEventListener('keydown', event => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!step) return;
    event.preventDefault();
    show(at + step);
    tokens[at].span.scrollIntoView({block: 'nearest'});
  });
  layerSelect.addEventListener('change', () => { layer = Number(layerSelect.value); draw(); show(at); });
  if (besideSelect) besideSelect.addEventListener('change', () => { draw(); show(at); });
  more.addEventListener('click', () => { whole = true; draw(); show(at); });
  onArm.text = chosen => { arm = chosen; layerChoices(); const kept = at; draw(); if (kept >= 0) show(kept); };
  layerChoices();
  draw();
  const forced = /[#&]token=(\d+)/.exec(location.hash);
  if (forced) show(Number(forced[1]));
  else show(tokens.findIndex(t => t.fact));
})();
)js";

}  // namespace moegrad::report
