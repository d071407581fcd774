// The hands in 3D, for the pages of other packages: a motion's .glb is played, a hand that is not seen fades; frames
// that are still coming are drawn as bones over it.
'use strict';

window.makeScene = (canvas, live, onTime) => {
  const UP = 0.45, YAW = 0.35, FIELD = 32, UNSEEN_OPACITY = 0.18;
  const COLORS = ['#3f8aa5', '#c9703f'];  // left, right
  const FINGERS = [1, 5, 9, 13, 17].map((base) => [0, base, base + 1, base + 2, base + 3]);
  const renderer = new THREE.WebGLRenderer({ canvas, antialias: true, alpha: true, preserveDrawingBuffer: true });
  renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
  const camera = new THREE.PerspectiveCamera(FIELD, 1, 0.02, 20);
  const controls = new THREE.OrbitControls(camera, canvas);
  const scene = new THREE.Scene();
  const key = new THREE.DirectionalLight('#fff1e2', 2.3);
  key.position.set(-0.4, 1.1, 0.8);
  scene.add(new THREE.HemisphereLight('#ffffff', '#b9a294', 1.35), key);
  const pen = live.getContext('2d');
  const state = { root: null, mixer: null, bones: {}, fading: [], fps: 0, duration: 0, time: 0, playing: false, joints: null };
  let asked = 0, stale = true;  // stale: what is shown is not what is
  controls.addEventListener('change', () => { stale = true; });

  function fit() {
    const { clientWidth: width, clientHeight: height } = canvas;
    renderer.setSize(width, height, false);
    live.width = width;
    live.height = height;
    camera.aspect = width / Math.max(1, height);
    camera.updateProjectionMatrix();
    stale = true;
  }

  function look(points) {
    const box = new THREE.Box3().setFromPoints(points), center = box.getCenter(new THREE.Vector3());
    const radius = Math.max(0.12, box.getSize(new THREE.Vector3()).length() / 2) * 1.15;
    const half = (FIELD * Math.PI) / 360, across = Math.min(half, Math.atan(Math.tan(half) * camera.aspect));
    const away = radius / Math.sin(across);
    controls.target.copy(center);
    camera.position.set(Math.sin(YAW) * Math.cos(UP), Math.sin(UP), Math.cos(YAW) * Math.cos(UP)).multiplyScalar(away).add(center);
    controls.update();
  }

  async function show(bytes) {
    const number = ++asked;
    const gltf = await new THREE.GLTFLoader().parseAsync(bytes, '');
    if (number !== asked) return;
    clear();
    const facts = gltf.scene.userData.hand_geometry;
    state.root = gltf.scene;
    state.mixer = new THREE.AnimationMixer(gltf.scene);
    for (const clip of gltf.animations) state.mixer.clipAction(clip).play();
    gltf.scene.traverse((node) => {
      if (node.isSkinnedMesh) node.frustumCulled = false;
      if (node.isSkinnedMesh) fade(node, facts.unseen[node.name.split('_')[0]] || []);
      if (node.isBone) state.bones[node.name] = node;
    });
    scene.add(gltf.scene);
    state.fps = facts.fps;
    state.duration = (facts.frames - 1) / facts.fps;
    const points = [];
    for (let k = 0; k <= 24; k++) {
      pose((k / 24) * state.duration);
      for (const name in state.bones) if (!name.endsWith('_forearm')) points.push(state.bones[name].getWorldPosition(new THREE.Vector3()));
    }
    look(points);
    state.time = 0;
    state.playing = stale = true;
  }

  function fade(node, unseen) {
    if (!unseen.length) return;
    node.material = Object.assign(node.material.clone(), { transparent: true, forceSinglePass: true });
    state.fading.push({ material: node.material, unseen });
  }

  function clear() {
    if (state.root) {
      scene.remove(state.root);
      state.root.traverse((node) => {
        if (node.geometry) node.geometry.dispose();
        if (node.material) node.material.dispose();
        if (node.skeleton) node.skeleton.dispose();
      });
    }
    Object.assign(state, { root: null, mixer: null, bones: {}, fading: [], duration: 0, time: 0, playing: false, joints: null });
    live.hidden = stale = true;  // what was drawn last is not to stay over the motion
  }

  function pose(time) {
    state.mixer.setTime(Math.max(0, Math.min(time, state.duration - 1e-6)));  // at the very end it would start again
    const number = Math.round(time * state.fps);
    for (const { material, unseen } of state.fading) {
      material.opacity = unseen.some(([first, end]) => first <= number && number < end) ? UNSEEN_OPACITY : 1;
    }
    state.root.updateMatrixWorld(true);
  }

  // Joints of one frame, (2, 21, 3) in metres, y down as in a camera; glTF and this scene are y up.
  function frame(hands, first) {
    const joints = hands.map((hand) => hand.map(([x, y, z]) => [x, -y, -z]));
    if (first) {
      asked++;
      clear();
      look(joints.flat().map((p) => new THREE.Vector3(...p)));
    }
    state.joints = joints;
    live.hidden = false;
  }

  function drawLive() {
    pen.clearRect(0, 0, live.width, live.height);
    if (!state.joints) return;
    camera.updateMatrixWorld();
    pen.lineWidth = 4;
    pen.lineCap = pen.lineJoin = 'round';
    state.joints.forEach((hand, side) => {
      const at = hand.map((p) => new THREE.Vector3(...p).project(camera)).map((p) => [((p.x + 1) * live.width) / 2, ((1 - p.y) * live.height) / 2]);
      pen.strokeStyle = COLORS[side];
      for (const finger of FINGERS) {
        pen.beginPath();
        finger.forEach((k) => pen.lineTo(...at[k]));
        pen.stroke();
      }
    });
  }

  new ResizeObserver(fit).observe(canvas);
  fit();
  let before = performance.now();
  renderer.setAnimationLoop(() => {
    const now = performance.now();
    if (state.playing && state.duration) state.time = (state.time + (now - before) / 1000) % state.duration;
    before = now;
    if (stale || state.playing || state.joints) {
      stale = false;
      if (state.mixer) pose(state.time);
      renderer.render(scene, camera);
      drawLive();
    }
    onTime(state);
  });

  return {
    show, frame, clear,
    get time() { return state.time; },
    get duration() { return state.duration; },
    get playing() { return state.playing; },
    play(on) { state.playing = on && Boolean(state.mixer); },
    seek(time) { state.playing = false; state.time = time; stale = true; },
    joints() {
      if (state.mixer) pose(state.time);
      return Object.fromEntries(Object.entries(state.bones).map(([name, bone]) => [name, bone.getWorldPosition(new THREE.Vector3()).toArray()]));
    },
  };
};
