// Brings the page up to date while it is looked at. Without it, everything works
// by loading the page again.
(() => {
  'use strict';
  const SOON = 2000, LATER = 15000, PATIENCE = 10000; // milliseconds
  const NOTICE = 10000; // a notice stays that long, or until it is over
  let timer = 0, order = 0, shown = 0, noticeUntil = 0;

  // alike tells whether one node is there to become the other.
  const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName &&
    (a.id || '') === (b.id || '') && (b.id || a.className === b.className);

  // morph makes one node what the other is, and touches only what differs: so
  // focus, scrolling, selected text and what was opened stay.
  function morph(from, to) {
    if (from.nodeType !== Node.ELEMENT_NODE) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return;
    }
    morphAttributes(from, to);
    let old = from.firstChild;
    for (const fresh of to.childNodes) {
      const found = find(old, fresh);
      if (!found) {
        from.insertBefore(document.importNode(fresh, true), old);
        continue;
      }
      while (old !== found) old = discard(old);
      morph(old, fresh);
      old = old.nextSibling;
    }
    while (old) old = discard(old);
  }

  // find looks among what follows for a node that fresh can be made of, and does
  // not skip what has a name.
  function find(old, fresh) {
    for (; old; old = old.nextSibling) {
      if (alike(old, fresh)) return old;
      if (old.id && !fresh.id) return null;
    }
    return null;
  }

  function discard(node) {
    const next = node.nextSibling;
    node.remove();
    return next;
  }

  function morphAttributes(from, to) {
    for (const { name, value } of to.attributes) {
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    for (const { name } of [...from.attributes]) {
      const opened = name === 'open' && from.nodeName === 'DETAILS';
      if (!to.hasAttribute(name) && !opened && name !== 'aria-busy') from.removeAttribute(name);
    }
  }

  // update shows what a page fetched says.
  function update(page) {
    const log = document.getElementById('lines');
    const atEnd = log && log.scrollTop + log.clientHeight >= log.scrollHeight - 20;
    const focused = document.activeElement;
    const card = focused && focused.closest('[id^="job-"], [data-live]');
    document.title = page.title;
    document.body.dataset.busy = page.body.dataset.busy;
    for (const fresh of page.querySelectorAll('[data-live], #news')) {
      const old = document.getElementById(fresh.id);
      const runs = document.getElementById('runs'); // what is new comes before it
      if (old) morph(old, fresh);
      else if (runs) runs.before(document.importNode(fresh, true));
    }
    const lines = document.getElementById('lines');
    if (lines && (atEnd || !log)) lines.scrollTop = lines.scrollHeight;
    if (card && !focused.isConnected) {
      const heading = card.isConnected && card.querySelector('[tabindex="-1"]');
      if (heading) heading.focus({ preventScroll: true });
    }
  }

  function connection(text) {
    const box = document.getElementById('connection');
    if (box.textContent !== text) box.textContent = text;
    box.hidden = text === '';
  }

  function notice(page) {
    const box = document.getElementById('notice'), fresh = page && page.getElementById('notice');
    if (fresh) {
      morph(box, fresh);
      noticeUntil = Date.now() + NOTICE;
    } else if (Date.now() > noticeUntil || document.body.dataset.busy !== 'true') {
      box.replaceChildren();
    }
  }

  // load fetches a page and shows it, unless a later one is shown already.
  async function load(address, options, afterAction) {
    clearTimeout(timer);
    const mine = ++order;
    try {
      const answer = await fetch(address, {
        ...options, headers: { Accept: 'text/html' }, cache: 'no-store', signal: AbortSignal.timeout(PATIENCE),
      });
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      if (page.body.dataset.kind === 'login') { // the session is over
        location.assign('/');
        return;
      }
      if (page.body.dataset.kind !== document.body.dataset.kind) {
        const text = page.querySelector('h1 + p');
        throw new Error(text ? text.textContent : `the answer was ${answer.status}`);
      }
      if (mine < shown) return;
      shown = mine;
      connection('');
      update(page);
      notice(afterAction ? page : null);
    } catch (error) {
      const told = error instanceof TypeError || error.name === 'TimeoutError';
      connection(told ? 'Connection lost: what is shown may be old. Trying again…' : `That did not work: ${error.message}`);
    } finally {
      clearTimeout(timer);
      const soon = afterAction || document.body.dataset.busy === 'true' || !document.getElementById('connection').hidden;
      timer = setTimeout(refresh, soon ? SOON : LATER);
    }
  }

  const refresh = () => { if (!document.hidden) load(location.pathname, {}, false); };

  document.addEventListener('submit', (event) => {
    const form = event.target;
    if (!form.matches('[data-async]')) return;
    event.preventDefault();
    if (form.hasAttribute('aria-busy')) return; // one click is enough
    form.setAttribute('aria-busy', 'true');
    const body = new URLSearchParams(new FormData(form));
    load(form.action, { method: 'POST', body }, true).finally(() => form.removeAttribute('aria-busy'));
  });
  document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(); });

  if (location.search) history.replaceState(null, '', location.pathname); // the notice is no place to come back to
  const lines = document.getElementById('lines');
  if (lines) lines.scrollTop = lines.scrollHeight;
  noticeUntil = Date.now() + NOTICE;
  timer = setTimeout(refresh, document.body.dataset.busy === 'true' ? SOON : LATER);
})();
