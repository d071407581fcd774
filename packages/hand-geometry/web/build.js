// Rebuilds the copy of three.js that ships in the wheel: npm install && npm run build (or node build.js FOLDER)
const esbuild = require('esbuild');
const fs = require('fs');
const path = require('path');

const three = path.join(__dirname, 'node_modules', 'three');
const assets = process.argv[2] || path.join(__dirname, '..', 'src', 'hand_geometry', 'viewing', 'assets');
const version = JSON.parse(fs.readFileSync(path.join(three, 'package.json'))).version;

esbuild.buildSync({
  entryPoints: [path.join(__dirname, 'three.entry.js')],
  outfile: path.join(assets, 'three.min.js'),
  bundle: true,
  minify: true,
  format: 'iife',
  globalName: 'THREE',
  target: 'es2020',
  charset: 'utf8',
  legalComments: 'none',
  banner: { js: `/* three.js ${version}, parts of it. Copyright three.js authors. MIT licence: LICENSE-three-MIT.txt */` },
});
fs.copyFileSync(path.join(three, 'LICENSE'), path.join(assets, 'LICENSE-three-MIT.txt'));
