const EVERY_MS = 5000, PATIENCE_MS = 10000, SHOWN_BYTES = 100000;
// Of an answer's headers, those that say nothing of it.
const PLAIN = /^(date|server|connection|content-length|transfer-encoding|vary|x-content-type-options)$/;

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, properties = {}, ...inside) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...inside);
  return made;
};
const root = document.documentElement;
const said = document.getElementById('said');
const down = document.getElementById('down');

// Copy
const LANGUAGES = { sh: 'curl', py: 'Python', js: 'JavaScript' };
let title;
for (const box of all('.examples h4, .code')) {
  if (box.tagName === 'H4') title = box.textContent;
  if (box.tagName === 'H4') continue;
  const code = box.querySelector('code');
  const button = make('button', { type: 'button', className: 'copy', textContent: 'Copy' });
  const say = (text) => {
    button.textContent = said.textContent = text;
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  };
  button.setAttribute('aria-label', `Copy: ${title}, ${LANGUAGES[box.classList[1]]}`);
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      say('Copied');
    } catch {
      getSelection().selectAllChildren(code);
      say(document.execCommand('copy') ? 'Copied' : 'Selected');
    }
  };
  box.append(button);
}

// A language that is chosen once is chosen everywhere; what one looks at stays where it is.
root.addEventListener('change', ({ target }) => {
  if (target.type !== 'radio') return;
  const place = () => target.parentNode.getBoundingClientRect().top;
  const before = place();
  for (const radio of all(`input[value="${target.value}"]`)) radio.checked = true;
  scrollBy(0, place() - before);
});

// The bars: one stop of the Tab key, arrow keys from day to day, Escape hides what is shown.
const days = document.getElementById('days');
const bars = () => {
  const words = all('#outages > details > ul > li');
  for (const item of days.children) {
    const tip = item.querySelector('span');
    const day = words.find(({ textContent }) => textContent.startsWith(item.title));
    if (day) tip.replaceChildren(day.firstChild.data, ...all('li', day).map((one) => make('span', {}, one.textContent)));
    tip.className = 'tip';
    item.removeAttribute('title');
    item.tabIndex = item.nextElementSibling ? -1 : 0;
  }
};
days.onkeydown = (event) => {
  const items = [...days.children], at = items.indexOf(event.target);
  const to = items[{ ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: items.length - 1 }[event.key]];
  days.classList.toggle('quiet', event.key === 'Escape');
  if (!to) return;
  event.preventDefault();
  event.target.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
};
days.onmouseleave = days.onfocusin = () => days.classList.remove('quiet');

// Fresh figures, unless nobody looks.
const parts = new Map(all('[data-live]').map((part) => [part, part.innerHTML]));
const status = () => document.querySelector('#figures dd').textContent;
let answered = Date.now(), timer;
const show = (page) => {
  const before = status();
  for (const [part, shown] of parts) {
    const fresh = page.getElementById(part.id).innerHTML;
    const used = part.contains(document.activeElement) || (part === days && part.matches(':hover'));
    if (fresh === shown || used) continue;
    const open = part.querySelector('details')?.open;
    part.innerHTML = fresh;
    if (open) part.querySelector('details')?.setAttribute('open', '');
    parts.set(part, fresh);
  }
  if (days.lastElementChild.title) bars();
  document.title = page.title;
  if (status() !== before) said.textContent = 'Node Status: ' + status();
};
const lost = () => {
  if (root.classList.contains('down')) return;
  root.classList.add('down');
  const figure = document.querySelector('#figures dd');
  parts.set(figure.closest('[data-live]'), '');
  figure.textContent = 'No answer';
  down.textContent = `This node has not answered since ${new Date(answered).toISOString().slice(11, 16)} UTC. `
    + 'These are its last figures.';
  document.title = document.title.replace(/[^—]*$/, ' No answer');
};
const refresh = async () => {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    const answer = await fetch('?part=live', { signal: AbortSignal.timeout(PATIENCE_MS), cache: 'no-store' });
    if (!answer.ok) throw new Error(answer.status);
    show(new DOMParser().parseFromString(await answer.text(), 'text/html'));
    answered = Date.now();
    root.classList.remove('down');
    down.textContent = '';
  } catch {
    lost();
  }
  clearTimeout(timer);
  timer = setTimeout(refresh, EVERY_MS);
};

// Try it: the key is in this page's memory alone.
let key = '';
const text = async (answer, show) => {
  const reader = answer.body.getReader(), decoder = new TextDecoder();
  for (let size = 0; size < SHOWN_BYTES;) {
    const { done, value } = await reader.read();
    if (done) return '';
    size += value.length;
    show(decoder.decode(value, { stream: true }));
  }
  reader.cancel();
  return `\n… cut after ${SHOWN_BYTES.toLocaleString('en')} bytes`;
};
const field = (name, note, input) => make('label', {}, make('code', { textContent: name }), ` ${note}`, input);
for (const place of all('[data-try]')) {
  const article = place.closest('article');
  const [method, path] = all('.method, h3 code', article).map(({ textContent }) => textContent);
  const begin = JSON.parse(place.dataset.try);
  const inputs = all('[data-in]', article).map((row) => {
    const name = row.querySelector('code').textContent, where = row.dataset.in;
    const input = make('input', { value: begin.query?.[name] ?? '', required: !!row.querySelector('.required') });
    return { name, where, input };
  }).filter(({ name }) => name !== 'Content-Encoding');
  const needed = article.querySelector('.lock');
  const secret = make('input', { type: 'password', className: 'key', autocomplete: 'off', required: true });
  const json = begin.body && JSON.stringify(begin.body, null, 2);
  const body = json && make('textarea', { value: json, rows: json.split('\n').length });
  const button = make('button', { textContent: 'Send' });
  const outcome = make('p', { className: 'outcome', role: 'status' });
  const shown = make('pre', { tabIndex: 0, hidden: true, role: 'group', ariaLabel: `Answer of ${method} ${path}` });
  const form = make('form', {}, ...inputs.map(({ name, where, input }) => field(name, where, input)));
  if (needed) form.append(field('API key', 'kept by this page alone, until it is closed', secret));
  if (body) form.append(field('body', 'JSON', body));
  form.append(button, outcome, shown);
  secret.oninput = () => {
    key = secret.value.trim();
    for (const other of all('.key')) if (other !== secret) other.value = secret.value;
  };
  let stop;
  form.onsubmit = async (event) => {
    event.preventDefault();
    if (stop) return stop.abort();
    const query = new URLSearchParams(), headers = {};
    let url = path.slice(1);
    for (const { name, where, input: { value } } of inputs) {
      if (where === 'path') url = url.replace(`{${name}}`, encodeURIComponent(value));
      else if (value && where === 'query') query.set(name, value);
      else if (value) headers[name] = value;
    }
    if (needed) headers.Authorization = `Bearer ${key}`;
    if (body) headers['Content-Type'] = 'application/json';
    stop = new AbortController();
    button.textContent = 'Stop';
    outcome.textContent = 'Waiting for the answer…';
    shown.hidden = true;
    shown.textContent = '';
    const begun = performance.now();
    try {
      const answer = await fetch(url + (`${query}` && `?${query}`), {
        method, headers, body: body?.value, signal: stop.signal, cache: 'no-store',
      });
      outcome.textContent = `${answer.status} ${answer.statusText} in ${Math.round(performance.now() - begun)} ms`;
      for (const [name, value] of answer.headers) if (!PLAIN.test(name)) shown.append(`${name}: ${value}\n`);
      shown.append('\n');
      shown.hidden = false;
      shown.append(await text(answer, (more) => shown.append(more)));
    } catch (error) {
      outcome.textContent = stop.signal.aborted ? 'Stopped.' : `There is no answer: ${error.message}`;
    }
    stop = undefined;
    button.textContent = 'Send';
  };
  place.append(make('details', { className: 'try' }, make('summary', { textContent: 'Try it' }), form));
}

bars();
document.addEventListener('visibilitychange', refresh);
timer = setTimeout(refresh, EVERY_MS);
