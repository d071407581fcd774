// The page: clips by filters, a page of them at a time; statistics; the chosen clip. The address keeps what is chosen.
// For scripts and tests `window.browse` has: ready, clip (what the server told of the chosen one), player, found.
'use strict';

(() => {
  const $ = (id) => document.getElementById(id);
  const { make, percent, captions, timeline, known, facts, film } = window.clipParts;
  const FILTERS = { words: '', source: '', split: '', hand: 'any', seen: '0' };
  const LIMIT = 50, WAIT = 250;
  const state = { clip: null, player: null, found: { total: 0, offset: 0, clips: [] } };
  let listing = 0, opening = 0, timer = 0;

  const count = (number, word) => `${number.toLocaleString('en')} ${word}${number === 1 ? '' : 's'}`;

  async function call(address) {
    const answer = await fetch(address).catch(() => { throw new Error('The server does not answer. Is `hiw browse` still running?'); });
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => ({}));
    throw new Error(said.error || answer.statusText);
  }

  const chosen = () => new URLSearchParams(location.hash.slice(1));

  function remember(changes) {
    const now = chosen();
    for (const [name, value] of Object.entries(changes)) {
      if (value === '' || value === FILTERS[name]) now.delete(name);
      else now.set(name, value);
    }
    history.replaceState(null, '', `#${now}`);
  }

  async function list(offset) {
    const number = ++listing, query = new URLSearchParams({ offset, limit: LIMIT });
    for (const name in FILTERS) query.set(name, $(name).value);
    remember(Object.fromEntries(Object.keys(FILTERS).map((name) => [name, $(name).value])));
    try {
      const found = await (await call(`api/clips?${query}`)).json();
      if (number !== listing) return;
      state.found = found;
      showList();
    } catch (error) {
      if (number === listing) { $('found').textContent = error.message; $('list').replaceChildren(); }
    }
  }

  function showList() {
    const { total, offset, clips } = state.found;
    $('found').textContent = total ? count(total, 'clip') : 'No clip fits. Take a filter away.';
    $('range').textContent = total ? `${(offset + 1).toLocaleString('en')}–${(offset + clips.length).toLocaleString('en')}` : '';
    $('earlier').disabled = offset === 0;
    $('later').disabled = offset + clips.length >= total;
    $('list').replaceChildren(...clips.map((clip) => {
      const seen = clip.seen.both < 1 ? ` · left ${percent(clip.seen.left)}, right ${percent(clip.seen.right)}` : '';
      const about = `${clip.id} · ${clip.split} · ${clip.seconds} s${seen}`;
      const button = make('button', { type: 'button' }, make('span', { className: 'text', textContent: clip.caption || '(no caption)' }),
        make('small', { textContent: about }));
      button.dataset.clip = clip.id;
      button.addEventListener('click', () => open(clip.id));
      return make('li', {}, button);
    }));
    $('list').scrollTop = 0;
    mark();
  }

  function mark() {
    const list = $('list'), box = list.getBoundingClientRect();
    for (const button of list.querySelectorAll('button')) {
      const own = state.clip !== null && button.dataset.clip === state.clip.id;
      button.setAttribute('aria-current', own);
      if (!own) continue;
      const { top, bottom } = button.getBoundingClientRect();
      list.scrollTop += Math.min(0, top - box.top) || Math.max(0, bottom - box.bottom);
    }
  }

  function say(text, bad) { $('message').textContent = text; $('message').classList.toggle('bad', Boolean(bad)); }

  async function open(id, goThere = true) {
    const number = ++opening, name = encodeURIComponent(id);
    remember({ clip: id });
    try {
      const clip = await (await call(`api/clips/${name}`)).json();
      if (number !== opening) return;
      state.clip = clip;
      say('');
      $('chosen').hidden = false;
      $('title').textContent = clip.id;
      $('facts').textContent = facts(clip);
      captions($('captions'), clip);
      timeline($('timeline'), clip, (time) => { state.player.pause(); state.player.seek(time); });
      known($('known'), clip);
      $('filmed').textContent = film(clip);
      state.player.open(clip, clip.video ? `video/${name}` : '');
      mark();
      if (goThere && matchMedia('(max-width: 760px)').matches) $('clip').scrollIntoView();
      const motion = await (await call(`motion/${name}`)).arrayBuffer();
      if (number !== opening) return;
      await state.player.show(motion).catch((error) => { throw new Error(`The hands cannot be drawn; that needs WebGL 2 (${error.message}).`); });
      state.player.play();
    } catch (error) {
      if (number === opening) say(error.message, true);
    }
  }

  // To the clip before or after the chosen one, over the end of a page.
  async function move(step) {
    const { clips, offset, total } = state.found;
    const at = state.clip ? clips.findIndex((clip) => clip.id === state.clip.id) : -1;
    const next = at < 0 ? 0 : at + step;
    if (next >= 0 && next < clips.length) return open(clips[next].id);
    if (next < 0 ? offset === 0 : offset + clips.length >= total) return undefined;
    await list(Math.max(0, offset + step * LIMIT));
    const own = state.found.clips;
    return own.length ? open(own[step > 0 ? 0 : own.length - 1].id) : undefined;
  }

  function onTime({ time, duration, fps, playing }) {
    $('clock').textContent = `${time.toFixed(2)} / ${duration.toFixed(2)} s`;
    $('scrub').value = duration ? time / duration : 0;
    $('play').textContent = playing ? '❚❚' : '▶';
    $('play').ariaLabel = playing ? 'Pause' : 'Play';
    const place = `${(100 * time) / (duration + 1 / fps)}%`;
    for (const cursor of $('timeline').querySelectorAll('.cursor')) cursor.style.left = place;
  }

  function showStats(stats) {
    const splits = ['train', 'val', 'test'];
    const cells = (tag, values) => make('tr', {}, ...values.map((value) => make(tag, { textContent: typeof value === 'number' ? value.toLocaleString('en') : value })));
    const rows = Object.entries(stats.sources).map(([name, own]) => cells('td', [name, ...splits.map((split) => own[split] || 0)]));
    const measure = make('button', { type: 'button', textContent: 'Measure the motion of all clips' });
    measure.addEventListener('click', async () => {
      measure.disabled = true;
      try {
        const { hands } = await (await call('api/stats?features=true')).json();
        const told = Object.entries(hands).map(([side, own]) => cells('td', [side, own.frames, own.mean_m.join(', '), own.deviation_m.join(', ')]));
        measure.replaceWith(make('table', {}, cells('th', ['hand', 'frames seen', 'mean place (x, y, z), m', 'deviation, m']), ...told));
      } catch (error) { measure.replaceWith(make('p', { textContent: error.message })); }
    });
    const { length, skipped } = stats;
    const listed = (title, lines) => (lines.length ? [make('h3', { textContent: title }), make('ul', {}, ...lines.map((line) => make('li', { textContent: line })))] : []);
    $('stats').replaceChildren(
      make('h3', { textContent: 'Clips by source and split' }), make('table', {}, cells('th', ['source', ...splits]), ...rows),
      make('h3', { textContent: 'Length of a clip' }),
      make('p', { textContent: `${length.least} to ${length.most} frames, median ${length.median}; ${count(stats.shards, 'shard')}; content hash ${stats.data_hash.slice(0, 16)}` }),
      make('h3', { textContent: 'Motion' }), measure,
      ...listed('Notes', stats.notes),
      ...listed(`Not used: ${skipped.count}`, skipped.clips.map((clip) => `${clip.clip_id}: ${clip.reason}`)));
  }

  function keys(event) {
    const own = event.target.closest('input, select, summary, video');
    if (event.target.closest('#list') && ['ArrowDown', 'ArrowUp'].includes(event.key)) {
      const item = event.target.closest('li'), other = event.key === 'ArrowDown' ? item.nextElementSibling : item.previousElementSibling;
      if (other) other.firstElementChild.focus();
      event.preventDefault();
      return;
    }
    if (own || event.ctrlKey || event.metaKey || event.altKey) return;
    const player = state.player, acts = { n: () => move(1), p: () => move(-1) };
    if (state.clip) Object.assign(acts, { ArrowLeft: () => player.step(-1), ArrowRight: () => player.step(1), Home: () => player.seek(0), End: () => player.seek(player.duration) });
    if (state.clip && !event.target.closest('button')) acts[' '] = player.toggle;
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  async function start() {
    const stats = await (await call('api/stats')).json(), wanted = chosen();
    document.title = `${stats.name} – hiw browse`;
    $('name').textContent = stats.name;
    $('about').textContent = `${count(stats.clips, 'clip')}, ${count(stats.frames, 'frame')}, ${stats.seconds.toLocaleString('en')} s at ${stats.fps} fps`;
    showStats(stats);
    for (const source of Object.keys(stats.sources)) $('source').append(make('option', { textContent: source, value: source }));
    for (const split of ['train', 'val', 'test']) $('split').append(make('option', { textContent: split, value: split }));
    for (const name in FILTERS) if (wanted.has(name)) $(name).value = wanted.get(name);
    const share = () => { $('share').textContent = Number($('seen').value) ? `at least ${percent($('seen').value)} of frames` : 'any share of frames'; };
    share();
    state.player = window.makePlayer($, onTime, () => { $('filmed').textContent = 'This browser cannot play the video; the hands are shown alone.'; });
    $('filters').addEventListener('submit', (event) => { event.preventDefault(); list(0); });
    $('filters').addEventListener('input', () => { share(); clearTimeout(timer); timer = setTimeout(() => list(0), WAIT); });
    $('earlier').addEventListener('click', () => list(Math.max(0, state.found.offset - LIMIT)));
    $('later').addEventListener('click', () => list(state.found.offset + LIMIT));
    $('play').addEventListener('click', () => state.player.toggle());
    $('scrub').addEventListener('input', (event) => { state.player.pause(); state.player.seek(event.target.value * state.player.duration); });
    $('speed').addEventListener('change', (event) => state.player.speed(Number(event.target.value)));
    $('stats-button').addEventListener('click', () => {
      $('stats').hidden = !$('stats').hidden;
      $('stats-button').ariaExpanded = String(!$('stats').hidden);
    });
    addEventListener('keydown', keys);
    await list(0);
    const first = wanted.get('clip') || state.found.clips[0]?.id;
    if (first) await open(first, wanted.has('clip'));
  }

  window.browse = state;
  state.open = open;
  state.ready = start().catch((error) => { say(`This page cannot start: ${error.message}`, true); throw error; });
})();
