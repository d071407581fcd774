// Time: it moves the hands in 3D, and the video with the fitted hands over it where there is one. While a video plays,
// its own clock is the clock.
'use strict';

window.makePlayer = ($, onTime, onUnplayable) => {
  const COLORS = ['#3f9bbd', '#e07a3f'];  // left, right
  const FINGERS = [1, 5, 9, 13, 17].map((base) => [0, base, base + 1, base + 2, base + 3]);
  const video = $('video'), over = $('over'), pen = over.getContext('2d');
  const state = { time: 0, duration: 0, fps: 0, playing: false, speed: 1, valid: [], over: null, start: null, picture: null, stale: true };
  let scene = null, before = performance.now();

  // What shows the hands in 3D; made with the first motion, since a hidden canvas has no size.
  async function show(motion) {
    scene = scene || window.makeScene($('canvas'), $('live'), () => {});
    await scene.show(motion);
    scene.play(false);
    state.stale = true;
  }

  // A clip without its motion in 3D: frames, fps, valid, and, where there is a video, its address, start and overlay.
  function open(clip, address) {
    pause();
    if (scene) scene.clear();
    Object.assign(state, { time: 0, fps: clip.fps, duration: (clip.frames - 1) / clip.fps, valid: clip.valid, stale: true });
    state.start = address ? clip.video_start : null;
    state.picture = null;
    state.over = clip.overlay ? floats(clip.overlay) : null;
    $('film').hidden = state.start === null;
    if (state.start === null) video.removeAttribute('src');
    else video.src = address;
    video.load();
    seek(0);
  }

  function floats(text) {
    return new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
  }

  const filmed = () => state.start !== null && !video.error && video.videoWidth > 0;

  function seek(time) {
    state.time = Math.max(0, Math.min(state.duration, time));
    state.stale = true;
    if (scene) scene.seek(state.time);
    if (filmed()) video.currentTime = state.start + state.time;
  }

  function play() {
    if (state.time >= state.duration) seek(0);
    state.playing = true;
    if (!filmed()) return;
    video.playbackRate = state.speed;
    video.play().catch(() => {});  // paused again meanwhile, or no codec for it: the hands move on by themselves
  }

  function pause() {
    state.playing = false;
    state.stale = true;
    video.pause();
  }

  function step(frames) {
    pause();
    seek((Math.round(state.time * state.fps) + frames) / state.fps);
  }

  function speed(value) {
    state.speed = video.playbackRate = value;
  }

  function advance(seconds) {
    const runs = filmed() && !video.paused;
    if (runs && video.seeking) return;
    const time = runs ? video.currentTime - state.start : state.time + seconds * state.speed;
    if (time < state.duration && !video.ended) state.time = Math.max(0, time);
    else { seek(0); play(); }
  }

  // The clip's time in the picture that is on the screen; after a seek that is the old one for a while.
  function shown() {
    const time = state.picture === null ? video.currentTime : state.picture;
    return Math.max(0, Math.min(state.duration, time - state.start));
  }

  function drawOver() {
    const { clientWidth: width, clientHeight: height } = over, ratio = Math.min(devicePixelRatio, 2);
    if (over.width !== Math.round(width * ratio) || over.height !== Math.round(height * ratio)) {
      over.width = Math.round(width * ratio);
      over.height = Math.round(height * ratio);
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    if (!state.over || !video.videoWidth) return;
    const scale = Math.min(width / video.videoWidth, height / video.videoHeight);
    const size = [video.videoWidth * scale, video.videoHeight * scale];
    const corner = [(width - size[0]) / 2, (height - size[1]) / 2];
    const at = shown() * state.fps, frame = Math.floor(at + 1e-6), share = Math.max(0, at - frame);
    const next = Math.min(frame + 1, state.valid[0].length - 1);
    pen.save();
    pen.beginPath();
    pen.rect(...corner, ...size);
    pen.clip();
    pen.lineCap = pen.lineJoin = 'round';
    for (let hand = 0; hand < 2; hand++) {
      if (state.valid[hand][frame] !== '1') continue;
      const to = state.valid[hand][next] === '1' ? next : frame;
      const point = (k) => [0, 1].map((axis) => {
        const [a, b] = [frame, to].map((row) => state.over[((row * 2 + hand) * 21 + k) * 2 + axis]);
        return corner[axis] + size[axis] * (a + (b - a) * share);
      });
      for (const [color, line] of [['#ffffffb0', 5], [COLORS[hand], 2.5]]) {
        pen.strokeStyle = color;
        pen.lineWidth = line;
        for (const finger of FINGERS) {
          pen.beginPath();
          for (const k of finger) pen.lineTo(...point(k));
          pen.stroke();
        }
      }
    }
    pen.restore();
  }

  function tick() {
    const now = performance.now();
    if (state.playing && state.duration) advance((now - before) / 1000);
    before = now;
    if (state.playing || state.stale) {
      state.stale = false;
      if (scene) scene.seek(state.time);
      onTime(state);
    }
    if (state.start !== null) drawOver();
    requestAnimationFrame(tick);
  }
  requestAnimationFrame(tick);
  function pictured(_, { mediaTime }) {
    state.picture = mediaTime;
    video.requestVideoFrameCallback(pictured);
  }
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(pictured);

  // Where only the sound can be played there is no error, but a picture without a size.
  function unplayable() {
    if (state.start === null) return;
    state.start = null;
    $('film').hidden = true;
    video.pause();
    onUnplayable();
  }
  video.addEventListener('error', unplayable);
  video.addEventListener('loadedmetadata', () => {
    if (!video.videoWidth) unplayable();
    else {
      seek(state.time);
      if (state.playing) play();
    }
  });

  return {
    open, show, seek, play, pause, step, speed,
    toggle() { if (state.playing) pause(); else play(); },
    joints: () => (scene ? scene.joints() : {}),
    get time() { return state.time; },
    get shown() { return shown(); },
    get duration() { return state.duration; },
    get playing() { return state.playing; },
  };
};
