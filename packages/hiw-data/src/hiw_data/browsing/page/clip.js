// What is said and measured of one clip. All that comes from a store is put in as text.
'use strict';

window.clipParts = (() => {
  const MARKS = { supported: '✓', contradicted: '✗', 'not measurable': '?' };
  const GROUPS = { movement: 'Movements', event: 'Events', state: 'States' };
  const VIDEO = /\.(mp4|m4v|mov|webm|mkv|avi|mpe?g)$/i;
  const ROW = 18;

  function make(tag, attributes, ...children) {
    const element = Object.assign(document.createElement(tag), attributes);
    element.append(...children);
    return element;
  }

  const seconds = (value) => `${value.toFixed(2)} s`;
  const percent = (share) => `${Math.round(100 * share)}%`;

  function claim(said) {
    const notes = [said.negated && 'denied', said.implied && 'understood, not said'].filter(Boolean);
    return make('li', { className: said.status.replaceAll(' ', '-') },
      make('span', { className: 'mark', textContent: MARKS[said.status] || '?', ariaHidden: 'true' }),
      make('span', { className: 'status', textContent: said.status }),
      make('span', { className: 'said' }, `“${said.words}”${notes.length ? ` (${notes.join(', ')})` : ''}`,
        make('small', { textContent: [said.claim, said.evidence].filter(Boolean).join(' · ') })));
  }

  function caption(own) {
    const maker = own.made_by ? Object.values(own.made_by).filter((part) => typeof part === 'string').join(' ') : '';
    return make('li', {}, make('p', { className: 'text', textContent: own.text }),
      ...(maker ? [make('small', { textContent: `by ${maker}` })] : []),
      own.claims.length ? make('ul', { className: 'claims' }, ...own.claims.map(claim))
        : make('small', { textContent: 'claims nothing of the motion' }));
  }

  // One lane: spans that overlap lie in rows below each other.
  function lane(own, length, seek) {
    const ends = [], track = make('div', { className: 'track' });
    for (const span of own.spans) {
      let row = ends.findIndex((end) => end <= span.start + 1e-6);
      if (row < 0) row = ends.push(0) - 1;
      ends[row] = span.end;
      const told = `${span.text}, ${seconds(span.start)} to ${seconds(span.end)}`;
      const button = make('button', { textContent: span.text, title: told, ariaLabel: told });
      button.style.left = `${(100 * span.start) / length}%`;
      button.style.width = `max(4px, ${(100 * (span.end - span.start)) / length}% - 1px)`;
      button.style.top = `${row * ROW + 2}px`;
      button.addEventListener('click', () => seek(span.start));
      track.append(button);
    }
    track.style.height = `${ends.length * ROW + 2}px`;
    const name = own.kind === own.group ? own.hand : `${own.hand} · ${own.kind.replaceAll('-', ' ')}`;
    return make('div', { className: `lane ${own.hand}` }, make('span', { textContent: name }), track);
  }

  function timeline(element, clip, seek) {
    const length = clip.frames / clip.fps, parts = [];
    for (const [group, title] of Object.entries(GROUPS)) {
      const lanes = clip.timeline.filter((own) => own.group === group);
      const count = lanes.reduce((sum, own) => sum + own.spans.length, 0);
      if (!count) continue;
      lanes.sort((a, b) => `${a.hand} ${a.kind}`.localeCompare(`${b.hand} ${b.kind}`));
      parts.push(make('details', { open: group === 'movement' }, make('summary', { textContent: `${title} (${count})` }),
        make('div', { className: 'lanes' }, ...lanes.map((own) => lane(own, length, seek)))));
    }
    element.replaceChildren(...(parts.length ? parts : [make('p', { textContent: 'Nothing was measured.' })]));
    for (const track of element.querySelectorAll('.track')) track.append(make('i', { className: 'cursor' }));
  }

  function flat(value) {
    if (value === null || typeof value !== 'object') return String(value);
    if (Array.isArray(value) && value.every((part) => part === null || typeof part !== 'object')) return value.join(', ');
    return JSON.stringify(value, null, 1);
  }

  function known(element, clip) {
    const rows = Object.entries(clip.known).flatMap(([name, value]) => (name === 'attributes' || name === 'camera'
      ? Object.entries(value).map(([part, own]) => [name === 'camera' ? `camera: ${part}` : part, own]) : [[name, value]]));
    rows.push(['claims of the motion', clip.claims.join('\n') || 'none']);
    element.replaceChildren(...rows.flatMap(([name, value]) => [
      make('dt', { textContent: name.replaceAll('_', ' ') }), make('dd', { textContent: flat(value) })]));
  }

  function facts(clip) {
    const seen = clip.valid.map((flags) => [...flags].filter((flag) => flag === '1').length / Math.max(1, flags.length));
    return [clip.source, clip.split, `${clip.frames} frames, ${seconds(clip.frames / clip.fps)}`,
      `left hand seen in ${percent(seen[0])}, right in ${percent(seen[1])}`].join(' · ');
  }

  // What there is of the clip's video, in a line.
  function film(clip) {
    const file = clip.known.attributes?.file;
    if (clip.video) return `${file}${clip.overlay ? ', the fitted hands over it' : '; the store does not say where the hands lie in its picture'}`;
    return VIDEO.test(file) ? `Its video, ${file}, is not shown: give its folder with --videos.` : '';
  }

  function captions(element, clip) { element.replaceChildren(...clip.captions.map(caption)); }

  return { make, percent, captions, timeline, known, facts, film };
})();
