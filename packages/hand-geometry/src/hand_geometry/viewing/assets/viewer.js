// Plays motions side by side: one canvas, one scene a motion, one camera for all. Every motion is a .glb of this package.
// For scripts and tests, `window.viewer` has: ready (a promise), time, duration, playing, seek(s), play(), pause(),
// view(name), joints(k) -> {name: [x, y, z]} of motion k in metres, y up.
'use strict';

(() => {
  const VIEWS = { egocentric: [0, 0.62], 'three-quarter': [0.55, 0.45], front: [0, 0], above: [0, 1.35] };  // yaw, pitch
  const SPEEDS = [0.25, 0.5, 1, 2];
  const FIELD = 0.56, MARGIN = 0.12;  // radians across the shorter side; share of the picture left free
  const UNSEEN_OPACITY = 0.22;
  const COLORS = { left: '#80b5c7', right: '#f2b899' };

  const $ = (id) => document.getElementById(id);
  const grid = $('grid');
  const state = { time: 0, duration: 0, playing: false, speed: 1, loop: true, bones: false };
  let renderer, camera, controls, cells = [], framed = '', stale = true;  // stale: what is shown is not what is

  async function start() {
    const motions = JSON.parse($('motions').textContent);
    renderer = new THREE.WebGLRenderer({ canvas: $('canvas'), antialias: true, alpha: true });
    renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    renderer.shadowMap.enabled = true;
    renderer.shadowMap.type = THREE.PCFShadowMap;
    renderer.setScissorTest(true);
    camera = new THREE.PerspectiveCamera(30, 1, 0.02, 20);
    controls = new THREE.OrbitControls(camera, grid);
    controls.addEventListener('change', () => { stale = true; });
    cells = await Promise.all(motions.map(load));
    state.duration = Math.max(...cells.map((cell) => cell.duration));
    layOut();
    buildControls();
    look('egocentric');
    $('message').textContent = '';
    let before = performance.now();
    renderer.setAnimationLoop(() => {
      const now = performance.now();
      if (state.playing) advance((now - before) / 1000);
      before = now;
      if (stale || state.playing) draw();
    });
    play();
  }

  async function load(motion) {
    const bytes = Uint8Array.from(atob(motion.glb), (letter) => letter.charCodeAt(0));
    const gltf = await new THREE.GLTFLoader().parseAsync(bytes.buffer, '');
    const facts = gltf.scene.userData.hand_geometry;
    const scene = new THREE.Scene();
    scene.add(gltf.scene);
    const mixer = new THREE.AnimationMixer(gltf.scene);
    for (const clip of gltf.animations) mixer.clipAction(clip).play();
    const hands = [], bones = {};
    gltf.scene.traverse((node) => {
      if (node.isSkinnedMesh) {
        node.frustumCulled = false;  // its bounding box is that of the rest pose
        node.receiveShadow = true;
        const fades = node.material.transparent;
        const material = (node.material = node.material.clone());  // hands fade one by one
        material.shadowSide = 1;  // back faces cast: no acne on the lit side
        // Forearms first, and into the depth buffer: they fade into the paper, not into the hollow of the hand.
        Object.assign(material, { transparent: true, depthWrite: true, forceSinglePass: true });
        node.renderOrder = fades ? 1 : 2;
        hands.push({ node, material });
      }
      if (node.isBone) bones[node.name] = node;
    });
    for (const hand of hands) {
      hand.side = hand.node.skeleton.bones[0].name.split('_')[0];
      hand.material.side = bones[`${hand.side}_forearm`] ? 0 : 2;  // an open wrist shows the inside
    }
    const cell = { motion, facts, scene, root: gltf.scene, mixer, hands, bones, lines: [], element: null };
    cell.duration = (facts.frames - 1) / facts.fps;
    cell.points = trace(cell);
    light(cell);
    return cell;
  }

  // World positions of the joints over the whole motion, at up to 60 times.
  function trace(cell) {
    const points = [], count = Math.min(60, cell.facts.frames);
    for (let k = 0; k < count; k++) {
      pose(cell, count > 1 ? (k / (count - 1)) * cell.duration : 0);
      for (const name in cell.bones) {
        if (!name.endsWith('_forearm')) points.push(cell.bones[name].getWorldPosition(new THREE.Vector3()));
      }
    }
    return points;
  }

  // A warm key light from above left with a soft shadow, a cool sky, a fill from the right: as in rendered pictures.
  function light(cell) {
    const box = new THREE.Box3().setFromPoints(cell.points), center = box.getCenter(new THREE.Vector3());
    const size = box.getSize(new THREE.Vector3()).length() / 2 + 0.15, floor = box.min.y - 0.05;
    cell.scene.add(new THREE.HemisphereLight('#ffffff', '#b9a294', 1.35));
    const fill = new THREE.DirectionalLight('#dfe9f2', 0.5);
    fill.position.copy(center).add(new THREE.Vector3(0.8, 0.1, 0.7));
    fill.target.position.copy(center);
    const key = new THREE.DirectionalLight('#fff1e2', 2.3);
    key.position.copy(center).add(new THREE.Vector3(-0.42, 1.1, 0.5).multiplyScalar(2 * size));
    key.target.position.copy(center);
    key.castShadow = true;
    key.shadow.mapSize.set(1024, 1024);
    key.shadow.normalBias = 0.002;
    key.shadow.bias = -0.0005;
    key.shadow.radius = 4;
    Object.assign(key.shadow.camera, { left: -size, right: size, top: size, bottom: -size, near: 0.01, far: 6 * size });
    const table = new THREE.Mesh(new THREE.PlaneGeometry(8, 8), new THREE.ShadowMaterial({ opacity: 0.16 }));
    table.rotation.x = -Math.PI / 2;
    table.position.set(center.x, floor, center.z);
    table.receiveShadow = true;
    cell.scene.add(fill, fill.target, key, key.target, table);
  }

  function pose(cell, time) {
    const at = Math.min(time, cell.duration);
    cell.mixer.setTime(Math.max(0, Math.min(at, cell.duration - 1e-6)));  // at the very end it would start again
    const frame = Math.round(at * cell.facts.fps);
    for (const hand of cell.hands) {
      const hidden = (cell.facts.unseen[hand.side] || []).some(([first, end]) => first <= frame && frame < end);
      hand.material.opacity = (hidden ? UNSEEN_OPACITY : 1) * (state.bones ? 0.35 : 1);
      hand.node.castShadow = !hidden;
    }
    cell.root.updateMatrixWorld(true);
  }

  function layOut() {
    for (const cell of cells) {
      const element = document.createElement('section');
      element.className = 'cell';
      const title = document.createElement('h2');
      title.textContent = cell.motion.title;
      if (cell.motion.caption) title.append(Object.assign(document.createElement('small'), { textContent: cell.motion.caption }));
      element.append(title, ...Object.entries(cell.facts.unseen).filter(([, runs]) => runs.length).map(([side, runs]) => {
        const bar = Object.assign(document.createElement('div'), { className: 'seen', title: `${side} hand: frames in which it was seen` });
        const stops = runs.flatMap(([a, b]) => [a, b].map((k) => (100 * k) / cell.facts.frames));
        const colors = [0, ...stops, 100].slice(0, -1).map((from, k, all) => {
          const to = k + 1 < all.length ? all[k + 1] : 100;
          return `${k % 2 ? 'transparent' : COLORS[side]} ${from}% ${to}%`;
        });
        bar.style.background = `linear-gradient(to right, ${colors.join(',')})`;
        return bar;
      }));
      grid.append(element);
      cell.element = element;
    }
    const arrange = () => {
      const aspect = grid.clientWidth / Math.max(1, grid.clientHeight);
      const fit = (columns) => Math.min(aspect / columns / 1.25, 1 / Math.ceil(cells.length / columns));
      const columns = cells.map((_, k) => k + 1).reduce((best, k) => (fit(k) > fit(best) ? k : best), 1);
      grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
      renderer.setSize(innerWidth, innerHeight, false);
      stale = true;
      if (framed) look(framed);
    };
    arrange();
    addEventListener('resize', arrange);
    controls.addEventListener('start', () => { framed = ''; mark('views', ''); });
  }

  // Nearest place from which all joints of all motions are inside every cell, looking along a named view.
  function look(name) {
    const [yaw, pitch] = VIEWS[name];
    const forward = new THREE.Vector3(Math.sin(yaw) * Math.cos(pitch), -Math.sin(pitch), -Math.cos(yaw) * Math.cos(pitch));
    const right = new THREE.Vector3(Math.cos(yaw), 0, Math.sin(yaw));
    const up = new THREE.Vector3().crossVectors(right, forward);
    const { width, height } = cells[0].element.getBoundingClientRect();
    const short = Math.min(width, height) || 1;
    const tangent = Math.tan(FIELD / 2);
    const place = [], nearest = [];
    const points = cells.flatMap((cell) => cell.points);
    const depths = points.map((point) => point.dot(forward));
    for (const [axis, side] of [[right, width], [up, height]]) {
      const half = (side / short) * (1 - 2 * MARGIN) * tangent;
      const upper = Math.max(...points.map((point, k) => point.dot(axis) - half * depths[k]));
      const lower = Math.min(...points.map((point, k) => point.dot(axis) + half * depths[k]));
      place.push((upper + lower) / 2);
      nearest.push((lower - upper) / 2 / half);
    }
    const depth = Math.min(...nearest, Math.min(...depths) - 0.15);
    camera.position.set(0, 0, 0).addScaledVector(right, place[0]).addScaledVector(up, place[1]).addScaledVector(forward, depth);
    const middle = (Math.min(...depths) + Math.max(...depths)) / 2;
    controls.target.copy(camera.position).addScaledVector(forward, middle - depth);
    controls.update();
    framed = name;
    mark('views', name);
  }

  function draw() {
    stale = false;
    const ratio = renderer.getPixelRatio(), height = renderer.domElement.height / ratio;
    for (const cell of cells) {
      pose(cell, state.time);
      const box = cell.element.getBoundingClientRect();
      camera.aspect = box.width / box.height;
      camera.fov = (2 * Math.atan(Math.tan(FIELD / 2) / Math.min(1, camera.aspect)) * 180) / Math.PI;
      camera.updateProjectionMatrix();
      renderer.setViewport(box.left, height - box.bottom, box.width, box.height);
      renderer.setScissor(box.left, height - box.bottom, box.width, box.height);
      renderer.render(cell.scene, camera);
    }
    const frame = Math.round(state.time * cells[0].facts.fps);
    $('clock').textContent = `frame ${frame} · ${state.time.toFixed(2)} / ${state.duration.toFixed(2)} s`;
    $('scrub').value = state.duration ? state.time / state.duration : 0;
  }

  function advance(seconds) {
    state.time += seconds * state.speed;
    if (state.time <= state.duration) return;
    state.time = state.loop && state.duration ? state.time % state.duration : state.duration;
    if (!state.loop) pause();
  }

  function seek(time) { state.time = Math.max(0, Math.min(state.duration, time)); stale = true; }
  function play() {
    if (state.time >= state.duration) state.time = 0;
    state.playing = true;
    $('play').classList.add('playing');
  }
  function pause() { state.playing = false; $('play').classList.remove('playing'); }
  function step(frames) {
    const fps = cells[0].facts.fps;
    pause();
    seek((Math.round(state.time * fps) + frames) / fps);
  }

  function showBones(show) {
    state.bones = show;
    stale = true;
    $('bones').setAttribute('aria-pressed', show);
    for (const cell of cells) {
      if (show && !cell.lines.length) {
        cell.lines = cell.root.children.length ? [new THREE.SkeletonHelper(cell.root)] : [];
        for (const line of cell.lines) {
          line.setColors(new THREE.Color('#3a3836'), new THREE.Color('#b2603f'));
          cell.scene.add(line);
        }
      }
      for (const line of cell.lines) line.visible = show;
    }
  }

  function mark(group, name) {
    for (const button of $(group).children) button.setAttribute('aria-pressed', button.dataset.name === name);
  }

  function choices(group, names, text, pick) {
    for (const name of names) {
      const button = Object.assign(document.createElement('button'), { textContent: text(name), title: text(name) });
      button.dataset.name = name;
      button.addEventListener('click', () => pick(name));
      $(group).append(button);
    }
  }

  function setSpeed(speed) { state.speed = speed; mark('speeds', String(speed)); }
  function setLoop(loop) { state.loop = loop; $('loop').setAttribute('aria-pressed', loop); }

  function buildControls() {
    choices('speeds', SPEEDS, (speed) => `${speed}×`, setSpeed);
    choices('views', Object.keys(VIEWS), (name) => name[0].toUpperCase() + name.slice(1), look);
    setSpeed(1);
    const toggle = () => (state.playing ? pause() : play());
    $('play').addEventListener('click', toggle);
    $('loop').addEventListener('click', () => setLoop(!state.loop));
    $('bones').addEventListener('click', () => showBones(!state.bones));
    $('scrub').addEventListener('input', (event) => { pause(); seek(event.target.value * state.duration); });
    const keys = {
      ' ': toggle, ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => seek(0), End: () => seek(state.duration),
      l: () => setLoop(!state.loop), b: () => showBones(!state.bones),
    };
    Object.keys(VIEWS).forEach((name, k) => { keys[k + 1] = () => look(name); });
    addEventListener('keydown', (event) => {
      const key = keys[event.key];
      if (!key || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
      key();
    });
  }

  window.viewer = {
    ready: start().catch((error) => {
      $('message').textContent = `This page cannot show the motion. It needs a browser with WebGL 2. (${error.message})`;
      throw error;
    }),
    get time() { return state.time; },
    get duration() { return state.duration; },
    get playing() { return state.playing; },
    seek, play, pause, view: look,
    joints(k) {
      pose(cells[k], state.time);
      return Object.fromEntries(Object.entries(cells[k].bones).map(([name, bone]) => [name, bone.getWorldPosition(new THREE.Vector3()).toArray()]));
    },
  };
})();
