"""The style sheet of the pages: that of the design document, with signs, cards and drawings. Colours meet WCAG 2.1 AA."""

from nospof.explain.html import STYLE as BASE

STYLE = (
    BASE
    + """
:root{--bad:#a3121f;--badbox:#fdeeee;--weak:#7a3b00;--weakbox:#fff4e5;--open:#4f3d8f;--openbox:#f1effa;--good:#2f5d2f;
--goodbox:#edf5ed;--bar:#1b4f8a;--slow:#5f7f9f;--role:#cfdcec}
@media screen and (prefers-color-scheme:dark){:root{--bad:#ff9b9b;--badbox:#40232a;--weak:#ffc27a;--weakbox:#3a2c17;
--open:#c4b8ff;--openbox:#2b2742;--good:#a5cfa5;--goodbox:#1f3322;--bar:#8fc1ff;--slow:#8ea6bd;--role:#2f4560}}
.sign{font-weight:600}td .sign.good{font-weight:400}
.sign.bad{color:var(--bad)}.sign.weak{color:var(--weak)}.sign.open{color:var(--open)}.sign.good{color:var(--good)}
.banner{font-size:1.15rem;padding:.8rem 1rem;border-left:.45rem solid;border-radius:.4rem;max-width:none}
.banner.bad,.cards .bad{background:var(--badbox);border-color:var(--bad)}
.banner.weak,.cards .weak{background:var(--weakbox);border-color:var(--weak)}
.banner.open,.cards .open{background:var(--openbox);border-color:var(--open)}
.banner.good,.cards .good{background:var(--goodbox);border-color:var(--good)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:.7rem;list-style:none;padding:0;max-width:none}
.cards li{margin:0;padding:.7rem .9rem;border-left:.3rem solid;border-radius:.4rem}
.cards strong{display:block;font-size:1.35rem;line-height:1.3}
nav li{margin:0 0 .3rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.2rem}
dl dt,dl dd{margin:0}
dt{font-weight:600}
.plain{list-style:none;padding:0;max-width:none}
.muted,.why{color:var(--muted)}
.part{white-space:nowrap}
.down{font-weight:600}
details{margin:.5rem 0}
summary{cursor:pointer;padding:.35rem .2rem;font-weight:600}
summary:focus-visible{outline:2px solid var(--link);outline-offset:2px}
details.drill{border:1px solid var(--line);border-radius:.5rem}
details.drill>summary{padding:.5rem .7rem;font-weight:400}
details.drill[open]>summary{border-bottom:1px solid var(--line);background:var(--soft);border-radius:.5rem .5rem 0 0}
.course{padding:.2rem .9rem 1rem;scroll-margin-top:4rem}
.place{color:var(--muted);font-variant-numeric:tabular-nums}
.short{display:inline-block;margin-left:.8rem;color:var(--muted);font-size:.93rem}
.notes{color:var(--muted);font-size:.95rem}
th[scope=row]{color:var(--text);white-space:normal}
table.goals th,table.losses th{white-space:normal}
table.goals td,table.losses td{min-width:4.5rem}
.phases td:last-child{width:50%;min-width:6rem}
.bar{display:inline-block;height:.7rem;min-width:1px;background:var(--bar)}
td code{overflow-wrap:anywhere}
figure.timeline{border:0;border-radius:0;overflow:visible}
figure.timeline svg{width:100%;min-width:0;margin:0}
figcaption{font-size:.93rem;color:var(--muted)}
.events{max-width:none;margin:.3rem 0}
.events li{margin:.1rem 0}
.swatch{display:inline-block;width:1.1rem;height:.8rem;border:1px solid;vertical-align:-.08rem}
.swatch.fault{background:var(--badbox);border-color:var(--bad)}
.swatch.healing{background:var(--weakbox);border-color:var(--weak);border-style:dashed}
svg.time{font-size:12px;display:block}
svg.time text{fill:var(--text)}
svg.time .small{font-size:10px;fill:var(--muted);paint-order:stroke;stroke:var(--paper);stroke-width:3px}
svg.time .good{fill:var(--bar)}svg.time .bad{fill:var(--bad)}svg.time .slow{fill:var(--slow)}
svg.time .band.fault{fill:var(--badbox)}svg.time .band.healing{fill:var(--weakbox)}
svg.time .edge.fault{stroke:var(--bad)}svg.time .edge.healing{stroke:var(--weak);stroke-dasharray:4 3}
svg.time .base{stroke:var(--muted)}svg.time .grid{stroke:var(--line)}
svg.time .moment{stroke:var(--muted);stroke-dasharray:1 3}
svg.time .mark{fill:var(--paper);stroke:var(--muted)}
svg.time .in-mark{font-size:10px;font-weight:600}
svg.time .role{fill:var(--role)}
figure.diagram img{display:block;width:100%;min-width:44rem;height:auto}
@media (max-width:40rem){dl{display:block}dl dd{margin-bottom:.5rem}
.losses thead{display:none}.losses tr{display:block;padding:.4rem 0;border-bottom:1px solid var(--line)}
.losses th,.losses td{display:block;border:0;padding:.1rem 0}
.losses td::before{content:attr(data-heading) ": ";color:var(--muted)}
.short{display:block;margin-left:0}table{font-size:.88rem}th,td{padding-right:.5rem}
.course{padding:.2rem .6rem .8rem}}
@media print{details::details-content{content-visibility:visible;display:block;height:auto}
details.drill{break-inside:auto;border:0}
figure.timeline,.cards li{break-inside:avoid}figure.diagram img{min-width:0}
.banner,.cards li,.band,.swatch,.bar,.role{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""
)
