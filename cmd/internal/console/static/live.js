// Keeps the live part of a page up to date by server-sent events, as long as somebody can
// see it. Without this script the page shows what was known when it was loaded.
(() => {
  'use strict';
  const live = document.getElementById('live');
  const state = document.getElementById('live-state');
  if (!live || !window.EventSource) return;
  let source = null;
  let waiting = null; // what came while something was being selected

  const say = (text) => { if (state && state.textContent !== text) state.textContent = text; };

  const selecting = () => {
    const s = document.getSelection();
    return s && !s.isCollapsed && live.contains(s.anchorNode);
  };

  // show replaces the live part, and leaves the focus and what was chosen where they are.
  const show = (html) => {
    if (selecting()) { waiting = html; return; }
    waiting = null;
    const active = live.contains(document.activeElement) ? document.activeElement : null;
    const find = active && (active.id ? '#' + CSS.escape(active.id)
      : active.name ? `[name="${CSS.escape(active.name)}"][value="${CSS.escape(active.value)}"]`
      : active.getAttribute('href') ? `[href="${CSS.escape(active.getAttribute('href'))}"]` : '');
    const chosen = new Set([...live.querySelectorAll('input:checked')].map((i) => i.name + '=' + i.value));
    const scrolled = [...live.querySelectorAll('.wide')].map((e) => e.scrollLeft);
    live.innerHTML = html; // rendered and escaped by the server
    const counts = live.querySelector('#live-counts');
    for (const e of document.querySelectorAll('nav [data-count]')) {
      e.textContent = counts.dataset[e.dataset.count];
      e.hidden = e.textContent === '0';
    }
    for (const input of live.querySelectorAll('input[type=checkbox]')) input.checked = chosen.has(input.name + '=' + input.value);
    live.querySelectorAll('.wide').forEach((e, i) => { e.scrollLeft = scrolled[i] || 0; });
    if (find) { const again = live.querySelector(find); if (again) again.focus({preventScroll: true}); }
  };

  const open = () => {
    if (source) return;
    source = new EventSource(live.dataset.live);
    source.onopen = () => { live.dataset.state = 'live'; say('live'); };
    source.onmessage = (e) => show(JSON.parse(e.data));
    source.onerror = () => {
      live.dataset.state = 'lost';
      say('the console does not answer; trying again');
      if (source.readyState === EventSource.CLOSED) { close(); setTimeout(look, 5000); }
    };
  };

  const close = () => {
    if (source) source.close();
    source = null;
    live.dataset.state = 'paused';
  };

  const look = () => { if (document.hidden) close(); else open(); };

  document.addEventListener('visibilitychange', look);
  document.addEventListener('selectionchange', () => { if (waiting !== null && !selecting()) show(waiting); });
  window.addEventListener('pagehide', close);
  window.addEventListener('pageshow', look);
  look();
})();
