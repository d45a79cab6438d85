"""Style sheet and script of the page. Colours are those of nospof's reports and meet WCAG 2.1 AA in light and dark."""

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--text:#16202b;--muted:#4a5663;--line:#cfd6de;--soft:#f4f6f9;--link:#1b4f8a;
--bad:#a3121f;--badbox:#fdeeee;--weak:#7a3b00;--weakbox:#fff4e5;--open:#4f3d8f;--openbox:#f1effa;--good:#2f5d2f;
--goodbox:#edf5ed;--bar:#1b4f8a}
@media (prefers-color-scheme:dark){:root{--paper:#12171d;--text:#e8edf2;--muted:#b4bfca;--line:#3a4653;--soft:#1d252e;
--link:#8fc1ff;--bad:#ff9b9b;--badbox:#40232a;--weak:#ffc27a;--weakbox:#3a2c17;--open:#c4b8ff;--openbox:#2b2742;
--good:#a5cfa5;--goodbox:#1f3322;--bar:#8fc1ff}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;padding:1rem 1.25rem 3rem;max-width:90rem;background:var(--paper);color:var(--text);
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;
overflow-wrap:break-word}
h1{font-size:1.5rem;line-height:1.2;margin:.3rem 0 .8rem}
h2{font-size:1.2rem;margin:1.8rem 0 .6rem}
h3{font-size:1rem;margin:.2rem 0 .5rem}
h4{font-size:1rem;margin:0}
p{margin:.4rem 0}
a{color:var(--link)}
a:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.muted{color:var(--muted);font-weight:400}
.sign{font-weight:700;display:inline-block;min-width:1em;text-align:center}
.sign.bad{color:var(--bad)}.sign.weak{color:var(--weak)}.sign.open{color:var(--open)}.sign.good{color:var(--good)}
.bad{--box:var(--badbox);--edge:var(--bad)}.weak{--box:var(--weakbox);--edge:var(--weak)}
.open{--box:var(--openbox);--edge:var(--open)}.good{--box:var(--goodbox);--edge:var(--good)}
.banner{padding:.7rem 1rem;border-left:.45rem solid var(--edge);border-radius:.4rem;background:var(--box)}
.verdict{font-size:1.5rem;font-weight:600;line-height:1.25;margin:.1rem 0}
ul{margin:.4rem 0;padding-left:1.2rem}
.plain,.members,.events,.cards{list-style:none;padding:0}
.banner .plain li{margin:.3rem 0;display:flex;gap:.4rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:.7rem;margin:.9rem 0}
.cards li{padding:.6rem .9rem;border-left:.3rem solid var(--edge);border-radius:.4rem;background:var(--box)}
.cards strong{display:block;font-size:1.5rem;line-height:1.25}
.cards .muted,th .muted,td>.muted{display:block;font-size:.9rem}
.course{display:block;width:100%;height:2.2rem;margin-top:.3rem}
.course polyline{fill:none;stroke:var(--bar);stroke-width:1.5;vector-effect:non-scaling-stroke}
.course .fail{fill:none;stroke:var(--bad);stroke-width:2;vector-effect:non-scaling-stroke}
table{border-collapse:collapse;width:100%;font-size:.95rem;margin:0 0 1rem}
caption{text-align:left;color:var(--muted);padding:.2rem 0}
th,td{text-align:left;vertical-align:top;padding:.4rem 1rem .4rem 0;border-bottom:1px solid var(--line)}
th:nth-child(1){width:16rem}th:nth-child(2){width:12rem}th:nth-child(4){width:15rem}
thead th{color:var(--muted);font-weight:600}
.members li{display:inline-block;margin:0 1.1rem .1rem 0}
td ul{margin:0}
.zones{display:grid;grid-template-columns:repeat(auto-fit,minmax(17rem,1fr));gap:1rem}
.zone{background:var(--soft);border-radius:.6rem;padding:.7rem .8rem}
.host{background:var(--paper);border:1px solid var(--line);border-left:.3rem solid var(--edge);border-radius:.4rem;
padding:.5rem .7rem;margin:0 0 .6rem}
.host ul{margin:.3rem 0 0}
.says{font-weight:600}
.age{font-size:.85rem;margin:.2rem 0 0;text-align:right}
.events li{margin:.2rem 0}
time{font-variant-numeric:tabular-nums;color:var(--muted)}
code{font:.9em ui-monospace,"SFMono-Regular",Consolas,"DejaVu Sans Mono",monospace;background:var(--soft);padding:.05em .3em}
.quiet{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
#stale{position:sticky;top:0;margin:0 0 .8rem;padding:.7rem 1rem;border:2px solid var(--bad);border-radius:.4rem;
background:var(--badbox);color:var(--bad);font-weight:600;z-index:1}
footer{margin-top:2rem;padding-top:.6rem;border-top:1px solid var(--line);color:var(--muted);font-size:.9rem}
@media (min-width:110rem){html{font-size:125%}}
@media (max-width:40rem){body{padding:.7rem .8rem 2rem}.verdict{font-size:1.25rem}
.cards{grid-template-columns:1fr 1fr}.cards strong{font-size:1.2rem}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
tr{display:block;padding:.4rem 0;border-bottom:1px solid var(--line)}
tr>:nth-child(n){width:auto}td.none{display:none!important}th,td{display:block;border:0;padding:.1rem 0}
td::before{content:attr(data-heading) ": ";color:var(--muted)}
td>.muted,td ul{display:inline}.members li{display:block;margin:0 0 0 1rem}}
@media print{.banner,.cards li,.host{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""

SCRIPT = """
"use strict";
(() => {
  const every = 1000 * Number(document.body.dataset.every), stale = document.getElementById("stale");
  let last = Date.now(), shown = last, icon = document.querySelector("link[rel=icon]");
  async function load() {
    try {
      const limit = AbortSignal.timeout ? AbortSignal.timeout(5000) : undefined;
      const answer = await fetch(location.href, {cache: "no-store", signal: limit});
      if (!answer.ok) throw new Error("status " + answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = page.querySelector("main"), foot = page.querySelector("footer");
      if (!main || !foot) throw new Error("something else answers here");
      // Who is copying something, or stands on a link, is left alone for a while; not for so long that it gets old unseen.
      const busy = !getSelection().isCollapsed || document.querySelector("footer").contains(document.activeElement);
      if (!busy || Date.now() - shown > 15000) {
        document.querySelector("main").replaceWith(main);
        document.querySelector("footer").replaceWith(foot);
        shown = Date.now();
      }
      document.title = page.title;
      const said = page.getElementById("said").textContent, here = document.getElementById("said");
      if (here.textContent !== said) here.textContent = said;
      const sign = page.querySelector("link[rel=icon]");
      if (sign && sign.href !== icon.href) { icon.replaceWith(sign); icon = sign; }
      last = Date.now();
      stale.hidden = true;
    } catch (error) {
      const seconds = Math.round((Date.now() - last) / 1000);
      if (seconds >= 5) {
        stale.textContent = "This page gets no answer (" + error.message + "): what stands here is " + seconds + " s old.";
        stale.hidden = false;
        if (!document.title.startsWith("!")) document.title = "! " + document.title;
      }
    }
    setTimeout(load, every);
  }
  setTimeout(load, every);
})();
"""
