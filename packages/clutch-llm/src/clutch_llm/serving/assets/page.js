// The page: a sentence to a motion, its claims, one hand anew, sentences on a timeline, downloads.
// For scripts and tests `window.clutch` has: motion, lines, busy, frames (that were streamed) and scene.
'use strict';

(() => {
  const $ = (id) => document.getElementById(id);
  const MARKS = { fulfilled: '✓', contradicted: '✗' };
  const state = { motion: null, lines: [], times: [], busy: false, frames: 0, can: {}, scene: null };
  let timelineNumber = 0;

  const words = (claim) => {
    const [, kind, hand, subject, value] = claim.match(/^([a-z]+):([a-z]+)(?:\/([^=]+))?=(.*)$/) || [null, '', '', '', claim];
    return `${hand}: ${kind}${subject ? ` (${subject})` : ''} ${value}`.trim();
  };

  async function call(path, body) {
    const headers = {};
    if ($('key').value) headers['X-API-Key'] = $('key').value;
    if (body) headers['Content-Type'] = 'application/json';
    const answer = await fetch(path, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body) });
    if (answer.ok) return answer;
    if (answer.status === 401) { $('keyfield').hidden = false; $('key').focus(); }
    const said = await answer.json().catch(() => ({ detail: answer.statusText }));
    const wait = answer.headers.get('Retry-After');
    throw new Error(said.detail + (wait ? ` (again in ${wait} s)` : ''));
  }

  function say(text, bad) { $('message').textContent = text; $('message').classList.toggle('bad', Boolean(bad)); }

  // One thing at a time: what fails is said, and all buttons come back.
  async function during(text, work) {
    if (state.busy) return;
    state.busy = true;
    buttons();
    say(text);
    try { await work(); say(''); } catch (error) { say(error.message, true); } finally { state.busy = false; buttons(); }
  }

  function buttons() {
    const none = state.busy || !state.motion;
    for (const button of document.querySelectorAll('[data-file], [data-hand], #add, #again')) button.disabled = none;
    $('add').disabled = none || Boolean(state.motion.lines);
    $('go').disabled = state.busy;
    $('chain').disabled = state.busy || state.lines.length < 2;
    $('play').disabled = $('scrub').disabled = !state.scene || !state.scene.duration;
  }

  async function* events(answer) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split('\n\n');
      rest = parts.pop();
      for (const part of parts) {
        const name = /^event: (.*)$/m.exec(part), data = /^data: (.*)$/m.exec(part);
        if (name && data) yield [name[1], JSON.parse(data[1])];
      }
    }
  }

  async function make(text, seconds, seed) {
    const asked = { text, seed, explain: Boolean(state.can.plans) };
    if (seconds) asked.seconds = seconds;
    let made = null;
    state.frames = 0;
    const queue = [];
    let drawing = null;
    for await (const [name, data] of events(await call('v1/stream', asked))) {
      if (name === 'error') throw new Error(data.detail);
      if (name === 'motion') made = data;
      if (name !== 'frames') continue;
      queue.push(...data.joints);
      drawing = drawing || setInterval(() => { if (queue.length) state.scene.frame(queue.shift(), state.frames++ === 0); }, 1000 / data.fps);
    }
    while (queue.length) await new Promise((done) => setTimeout(done, 20));
    clearInterval(drawing);
    if (!made) throw new Error('The stream ended before the motion was whole.');
    await open(made);
  }

  async function open(motion) {
    const file = await call(`v1/motions/${motion.id}/file.glb`);
    await state.scene.show(await file.arrayBuffer());
    state.motion = motion;
    state.times = motion.lines || [];
    $('title').textContent = motion.text;
    $('facts').textContent = `${motion.seconds.toFixed(1)} s · seed ${motion.seed}` + ('score' in motion ? ` · score ${motion.score.toFixed(2)}` : '');
    const [claims, caption] = await Promise.all([
      call(`v1/motions/${motion.id}/claims`).then((answer) => answer.json()),
      call('v1/caption', { motion: motion.id }).then((answer) => answer.json()),
    ]);
    $('caption').textContent = caption.text || '(nothing)';
    $('askedbox').hidden = !claims.asked.length;
    list($('asked'), claims.asked);
    list($('measured'), claims.measured);
  }

  function list(element, claims) {
    element.replaceChildren(...claims.map(({ claim, verdict }) => {
      const item = document.createElement('li'), said = Object.assign(document.createElement('span'), { className: 'words', textContent: words(claim), title: claim });
      if (verdict) {
        item.className = verdict.replaceAll(' ', '-');
        item.append(Object.assign(document.createElement('span'), { className: 'mark', textContent: MARKS[verdict] || '?' }), said);
        item.append(Object.assign(document.createElement('small'), { textContent: ` ${verdict}` }));
      } else item.append(said);
      return item;
    }));
  }

  async function save(suffix) {
    const file = await (await call(`v1/motions/${state.motion.id}/file.${suffix}`)).blob();
    const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(file), download: `clutch-${state.motion.id}.${suffix}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  async function changeHand(hand) {
    const keep = hand === 'left' ? 'right' : 'left';
    const seed = state.motion.seed + ++timelineNumber;
    const text = $('text').value.trim() || state.motion.text;
    const answer = await call('v1/complete', { motion: state.motion.id, keep, seed, text });
    await open({ ...(await answer.json()).motions[0], text });
  }

  function timeline() {
    $('timeline').replaceChildren(...state.lines.map((line, k) => {
      const item = document.createElement('li');
      const show = Object.assign(document.createElement('button'), { className: 'words', textContent: `${line.text} · ${line.seconds.toFixed(1)} s`, title: line.text });
      show.addEventListener('click', () => during('Opening…', () => open(line)));
      const move = Object.assign(document.createElement('button'), { textContent: '←', title: 'Earlier', disabled: k === 0 });
      move.addEventListener('click', () => { state.lines.splice(k - 1, 2, line, state.lines[k - 1]); timeline(); });
      const drop = Object.assign(document.createElement('button'), { textContent: '×', title: 'Remove' });
      drop.addEventListener('click', () => { state.lines.splice(k, 1); timeline(); });
      item.append(show, move, drop);
      return item;
    }));
    buttons();
  }

  async function chain() {
    const lines = state.lines.map(({ text, seconds }) => ({ text, seconds }));
    const made = await (await call('v1/chain', { lines, seed: Number($('seed').value) || 0 })).json();
    await open({ ...made.motion, lines: made.lines });
  }

  function onTime({ time, duration, playing }) {
    $('clock').textContent = duration ? `${time.toFixed(2)} / ${duration.toFixed(2)} s` : '';
    if (document.activeElement !== $('scrub') || playing) $('scrub').value = duration ? time / duration : 0;
    $('play').textContent = playing ? '❚❚' : '▶';
    $('play').setAttribute('aria-pressed', playing);
    const items = $('timeline').children;
    for (let k = 0; k < items.length; k++) {
      const own = state.times.length === items.length && state.times[k];
      items[k].classList.toggle('now', Boolean(own) && own.start <= time && time < own.stop);
    }
  }

  async function start() {
    const about = await (await call('health')).json();
    state.can = about.model;
    $('text').maxLength = about.limits.max_text;
    $('seconds').max = about.model.max_seconds.toFixed(1);
    $('handbox').hidden = !about.model.completes;
    state.scene = window.makeScene($('canvas'), $('live'), onTime);
    $('ask').addEventListener('submit', (event) => {
      event.preventDefault();
      during('Making the motion…', () => make($('text').value, Number($('seconds').value), Number($('seed').value) || 0));
    });
    $('again').addEventListener('click', () => { $('seed').value = Number($('seed').value) + 1; $('ask').requestSubmit(); });
    for (const button of document.querySelectorAll('[data-file]')) button.addEventListener('click', () => during('Writing the file…', () => save(button.dataset.file)));
    for (const button of document.querySelectorAll('[data-hand]')) button.addEventListener('click', () => during('Making the hand…', () => changeHand(button.dataset.hand)));
    $('add').addEventListener('click', () => { state.lines.push(state.motion); timeline(); });
    $('chain').addEventListener('click', () => during('Making one motion of all…', chain));
    $('play').addEventListener('click', () => state.scene.play(!state.scene.playing));
    $('scrub').addEventListener('input', (event) => state.scene.seek(event.target.value * state.scene.duration));
    buttons();
  }

  window.clutch = state;
  state.ready = start().catch((error) => { say(`This page cannot start: ${error.message}`, true); throw error; });
})();
