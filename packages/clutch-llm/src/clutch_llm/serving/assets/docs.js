// The OpenAPI description, readable: addresses, their fields with ranges, and a curl line for each.
'use strict';

(async () => {
  const key = sessionStorage.getItem('clutch-key');
  let answer = await fetch('openapi.json', { headers: key ? { 'X-API-Key': key } : {} });
  if (answer.status === 401) {
    const given = prompt('API key') || '';
    answer = await fetch('openapi.json', { headers: { 'X-API-Key': given } });
    if (answer.ok) sessionStorage.setItem('clutch-key', given);
  }
  const api = await answer.json();
  const docs = document.getElementById('docs');
  const add = (name, text, to = docs) => to.appendChild(Object.assign(document.createElement(name), { textContent: text }));
  if (!api.paths) { add('p', api.detail); return; }
  const schema = (ref) => api.components.schemas[ref.split('/').pop()];
  const LIMITS = ['minimum', 'exclusiveMinimum', 'maximum', 'exclusiveMaximum', 'minLength', 'maxLength', 'minItems', 'maxItems', 'enum', 'default'];
  const type = (field) => (field.anyOf ? field.anyOf.map(type).join(' or ') : field.$ref ? field.$ref.split('/').pop() : `${field.type}${LIMITS.filter((l) => l in field).map((l) => `, ${l} ${field[l]}`).join('')}`);
  add('h2', api.info.title);
  add('p', api.info.description);
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, about] of Object.entries(methods)) {
      add('h3', `${method.toUpperCase()} ${path}`);
      add('p', about.description || about.summary);
      const body = about.requestBody && about.requestBody.content['application/json'].schema.$ref;
      if (!body) continue;
      const { properties, required = [] } = schema(body), list = add('ul', '');
      for (const [name, field] of Object.entries(properties)) {
        const item = add('li', '', list);
        add('code', name, item);
        item.append(` (${required.includes(name) ? 'needed; ' : ''}${type(field)}) ${field.description || ''}`);
      }
      const example = name => (name === 'lines' ? [{ text: 'both hands clap', seconds: 2 }] : name === 'text' ? 'both hands clap' : 'ID');
      const asked = Object.fromEntries((required.length ? required : ['motion']).map((name) => [name, example(name)]));
      add('pre', `curl -s ${location.origin}${path} -H 'Content-Type: application/json' -d '${JSON.stringify(asked)}'`);
    }
  }
})();
