#pragma once
// The stylesheet of the report. Light and dark follow the reader's system. Scales grow away from the paper: s0 is the
// paper's neighbour, s10 the strongest; their lightness is monotone, so they read without colour. Arm colours are told
// apart with colour-blind eyes; controls are dashed and hollow besides.

namespace moegrad::report {

inline constexpr const char* kColours = R"css(
:root{color-scheme:light dark;
--paper:#fcfcfa;--card:#fff;--ink:#1b2227;--soft:#57626b;--rule:#dfe2df;--faint:#eef0ee;--focus:#0b5cad;--warn:#9a3b00;
--a0:#0b62a3;--a1:#bb4a07;--a2:#007a57;--a3:#9c3f78;--a4:#7f6000;--a5:#4a56b8;--a6:#5b6470;--a7:#7d4b32;
--s0:#f3f7f5;--s1:#e0efeb;--s2:#c8e5df;--s3:#aad9d3;--s4:#85c8c7;--s5:#62b4bd;--s6:#469db2;--s7:#337c9f;--s8:#2d6391;
--s9:#2c4a7c;--s10:#28305f;--low:#12232c;--high:#fff;
--d0:#8a4a00;--d1:#b26a1b;--d2:#d08f48;--d3:#e6b880;--d4:#f3dcbf;--d5:#f6f6f4;--d6:#dcdcee;--d7:#b9b7dc;--d8:#938dc4;
--d9:#6c61a6;--d10:#4a3c86}
@media (prefers-color-scheme:dark){:root{
--paper:#12171b;--card:#171d22;--ink:#e4e8ea;--soft:#9eaab3;--rule:#2c353c;--faint:#1f262c;--focus:#7ec0ff;--warn:#ffb27a;
--a0:#62b2f0;--a1:#f2935a;--a2:#45c79f;--a3:#e593c6;--a4:#dcb84a;--a5:#a3adff;--a6:#a9b2bd;--a7:#cfa088;
--s0:#1a2229;--s1:#1f2f3d;--s2:#233f55;--s3:#27506d;--s4:#2b6380;--s5:#30778f;--s6:#3d8c9b;--s7:#55a3a6;--s8:#7abcb0;
--s9:#a9d6c1;--s10:#dcefd9;--low:#eef4f5;--high:#0b1418;
--d0:#f0b163;--d1:#d2914a;--d2:#a97137;--d3:#7c5429;--d4:#4d381f;--d5:#20262b;--d6:#302f4a;--d7:#4a4675;--d8:#6a64a3;
--d9:#9089cb;--d10:#bdb8ee}}
.a0{--c:var(--a0)}.a1{--c:var(--a1)}.a2{--c:var(--a2)}.a3{--c:var(--a3)}
.a4{--c:var(--a4)}.a5{--c:var(--a5)}.a6{--c:var(--a6)}.a7{--c:var(--a7)}
.l0{--c:var(--s0)}.l1{--c:var(--s1)}.l2{--c:var(--s2)}.l3{--c:var(--s3)}.l4{--c:var(--s4)}.l5{--c:var(--s5)}
.l6{--c:var(--s6)}.l7{--c:var(--s7)}.l8{--c:var(--s8)}.l9{--c:var(--s9)}.l10{--c:var(--s10)}
.s0{--b:var(--s0);--f:var(--low)}.s1{--b:var(--s1);--f:var(--low)}.s2{--b:var(--s2);--f:var(--low)}
.s3{--b:var(--s3);--f:var(--low)}.s4{--b:var(--s4);--f:var(--low)}.s5{--b:var(--s5);--f:var(--low)}
.s6{--b:var(--s6);--f:var(--mid)}.s7{--b:var(--s7);--f:var(--high)}.s8{--b:var(--s8);--f:var(--high)}
.s9{--b:var(--s9);--f:var(--high)}.s10{--b:var(--s10);--f:var(--high)}
.d0,.d1,.d9,.d10{--f:var(--high)}.d2,.d3,.d4,.d5,.d6,.d7,.d8{--f:var(--low)}
.d0{--b:var(--d0)}.d1{--b:var(--d1)}.d2{--b:var(--d2)}.d3{--b:var(--d3)}.d4{--b:var(--d4)}.d5{--b:var(--d5)}
.d6{--b:var(--d6)}.d7{--b:var(--d7)}.d8{--b:var(--d8)}.d9{--b:var(--d9)}.d10{--b:var(--d10)}
:root{--mid:#0c1a20}
@media (prefers-color-scheme:dark){:root{--mid:#0b1418}}
)css";

inline constexpr const char* kLayout = R"css(
*{box-sizing:border-box}
html{font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;scroll-padding-top:3.5rem}
body{margin:0;background:var(--paper);color:var(--ink);overflow-wrap:break-word}
main,header,footer{max-width:74rem;margin:0 auto;padding:0 clamp(1rem,3vw,2.5rem)}
h1,h2,h3,.statement p,.passage,.question{font-family:Charter,"Iowan Old Style","Palatino Linotype",Palatino,Georgia,serif}
h1{font-size:clamp(1.8rem,1.4rem + 2vw,2.7rem);line-height:1.15;font-weight:600;margin:.1em 0 .3em;letter-spacing:-.01em}
h2{font-size:1.5rem;font-weight:600;margin:0 0 .9rem;line-height:1.2}
h3{font-size:1.08rem;font-weight:600;margin:0 0 .15rem;line-height:1.3}
section>h3{margin:1.8rem 0 .5rem}
header{padding-top:clamp(1.5rem,5vw,3.5rem)}
.eyebrow{color:var(--soft);font-size:.85rem;margin:0}
.facts{color:var(--soft);margin:0 0 1.2rem}
.statement{max-width:48rem;margin:1.2rem 0}
.statement p{margin:0 0 .35rem;font-size:1.08rem;line-height:1.45}
summary{cursor:pointer;color:var(--soft);font-size:.9rem}
pre{font:.82rem/1.5 ui-monospace,"SF Mono",Menlo,Consolas,monospace;margin:.5rem 0}
section{padding:2.2rem 0 .6rem;border-top:1px solid var(--rule);margin-top:2rem}
#result{border-top:0;margin-top:0;padding-top:2rem}
nav{position:sticky;top:0;z-index:3;background:var(--paper);border-bottom:1px solid var(--rule)}
nav ul{max-width:74rem;margin:0 auto;padding:0 clamp(1rem,3vw,2.5rem);display:flex;gap:1.4rem;list-style:none;
overflow-x:auto;white-space:nowrap;scrollbar-width:none}
nav a{display:block;padding:.6rem 0;color:var(--soft);text-decoration:none;font-size:.92rem}
nav a:hover,nav a.here{color:var(--ink);text-decoration:underline;text-underline-offset:.45em;text-decoration-thickness:2px}
a{color:inherit;text-underline-offset:.2em}
:focus-visible{outline:2px solid var(--focus);outline-offset:2px;border-radius:2px}
small,.note,.quiet,.absent{color:var(--soft);font-size:.82rem}
.note{margin:.5rem 0 0;line-height:1.4;max-width:60rem}
.absent{border-left:3px solid var(--rule);padding:.3rem 0 .3rem .8rem;font-size:.95rem}
.assay,.verdict{max-width:52rem;margin:1rem 0}
.warn b{color:var(--warn)}
code{font:.88em ui-monospace,"SF Mono",Menlo,Consolas,monospace}
.scroll{overflow-x:auto;margin:0 0 .3rem}
table{border-collapse:separate;border-spacing:0;font-variant-numeric:tabular-nums;min-width:100%}
caption{text-align:left;padding:0 0 .3rem}
th,td{padding:.42rem 1.1rem .42rem 0;text-align:left;vertical-align:baseline;font-weight:400;border-top:1px solid var(--rule)}
thead th{border:0}
tbody tr:last-child>*{border-bottom:1px solid var(--rule)}
thead th{color:var(--soft);font-size:.82rem;vertical-align:bottom;line-height:1.25}
tbody th{font-weight:600}
.scroll tbody th{position:sticky;left:0;background:var(--paper)}
th:last-child,td:last-child{padding-right:0}
td.says{min-width:15rem;font-size:.88rem;line-height:1.45}
.arm{white-space:nowrap}
.num{text-align:right;padding-left:.5rem}
td.num{white-space:nowrap}
td.num small{display:block;line-height:1.2}
.none{color:var(--soft)}
.spark{width:9rem;min-width:6rem;padding-right:.6rem;vertical-align:middle}
.swatch{display:inline-block;width:.75em;height:.75em;border-radius:50%;background:var(--c);margin-right:.5em;
border:2px solid var(--c)}
.swatch.control{background:none}
svg{display:block;width:100%;overflow:visible}
svg.inline{height:1.1rem}
figure{margin:0;min-width:0}
figure+figure{margin-top:2rem}
.grid-charts figure,.grid-heat figure{margin-top:0}
.panel figcaption p,figcaption p{margin:0;color:var(--soft);font-size:.88rem;line-height:1.4}
.grid-charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20.5rem),1fr));gap:2rem 2rem;margin-top:1rem}
.grid-heat{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:2rem 2.5rem}
.chart{padding:.9rem .6rem 0 3.1rem}
.chart .plot{height:13rem}
.tall .plot{height:clamp(17rem,38vw,25rem)}
.ytitle{margin:0 0 .5rem -3.1rem!important;font-size:.78rem;color:var(--soft)}
.xtitle{margin:1.7rem 0 0;text-align:right;font-size:.78rem;color:var(--soft)}
text{font-size:.75rem;fill:var(--soft);font-variant-numeric:tabular-nums}
text.y{text-anchor:end}
text.x,.cell text{text-anchor:middle}
.grid line{stroke:var(--rule)}
.line{fill:none;stroke:var(--c);stroke-width:2;vector-effect:non-scaling-stroke;stroke-linejoin:round;stroke-linecap:round}
.line.control{stroke-dasharray:5 4;stroke-linecap:butt}
.band{fill:var(--c);opacity:.13;stroke:none}
.front{stroke:var(--soft);stroke-width:1.5;stroke-dasharray:5 4}
.whisker{stroke:var(--c);stroke-width:2;stroke-linecap:round}
.dot{fill:var(--c);stroke:var(--c);stroke-width:2}
.dot.control{fill:var(--paper)}
.seed{fill:var(--c);opacity:.45}
text.mark{fill:var(--ink);font-size:.85rem;paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
.cursor{stroke:var(--soft);stroke-dasharray:2 2}
.heat{padding:.6rem .2rem 1.6rem 4.2rem;container-type:inline-size}
.heat .plot{height:calc(var(--rows)*var(--row,2rem))}
.cell rect{fill:var(--b);stroke:var(--paper);stroke-width:2}
.cell text{fill:var(--f);font-size:.72rem;pointer-events:none}
.fill{fill:var(--b)}
.deadmark{stroke:var(--warn);stroke-width:2;vector-effect:non-scaling-stroke}
.cell.dead rect{stroke:var(--warn);stroke-width:1.5}
.cell.dead text{fill:var(--warn);font-weight:700;font-size:.95rem}
.cell:hover rect{stroke:var(--ink)}
@container (max-width:24rem){.heat .cell text{font-size:.6rem}.many .cell:not(.dead) text,.many .odd{display:none}}
.key{display:flex;align-items:center;margin:.4rem 0 0!important;font-size:.78rem!important;color:var(--soft)}
.key i{display:inline-block;width:1rem;height:.6rem;background:var(--b)}
.key span:first-child{margin-right:.5rem}.key span:last-child{margin-left:.5rem}
.stacks{padding:.8rem 0 .2rem}
.stack{display:grid;grid-template-columns:4.2rem 1fr 2.6rem;align-items:center;gap:.4rem;font-size:.78rem;color:var(--soft);
margin-bottom:3px}
.stack .bar{height:1.6rem}
.after{text-align:right;font-variant-numeric:tabular-nums;color:var(--ink)}
.dots{margin-top:.5rem}
.dotrow,.dotaxis{display:grid;grid-template-columns:minmax(6rem,11rem) 1fr;gap:1rem;align-items:center}
.dotrow{border-top:1px solid var(--rule);padding:.35rem 0}
.dotrow .name small{display:block}
.dotrow>div,.dotaxis p{background:linear-gradient(90deg,var(--rule) 1px,transparent 1px) 0 0/25% 100%;border-right:1px solid
var(--rule)}
.dotaxis p{display:flex;justify-content:space-between;margin:0;background:none;border:0;font-size:.75rem;color:var(--soft)}
.dotrow{align-items:stretch}.dotrow>div{display:grid;align-content:center}.dotaxis i:last-child{justify-content:flex-end}
.dotaxis i:first-child{justify-content:flex-start}
.dotaxis i{font-style:normal;width:0;display:flex;justify-content:center;white-space:nowrap}
)css";

inline constexpr const char* kControls = R"css(
.legend,.tabs{display:flex;flex-wrap:wrap;gap:.4rem;margin:0 0 1rem}
.legend{position:sticky;top:2.75rem;z-index:2;background:var(--paper);padding:.5rem 0}
button,select,input{font:inherit;font-size:.9rem;color:inherit;background:var(--card);border:1px solid var(--rule);
border-radius:1rem;padding:.2rem .8rem;min-height:2rem}
select,input{border-radius:.4rem}
button{cursor:pointer}
button:hover{border-color:var(--soft)}
button[aria-pressed=false]{opacity:.55;text-decoration:line-through}
button[aria-selected=true]{border-color:var(--ink);box-shadow:inset 0 0 0 1px var(--ink)}
button:disabled{opacity:.4;cursor:default}
.off{display:none}
.js .tabpanel .armname{display:none}
.tabpanel+.tabpanel{margin-top:2rem}
.beside{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem 2rem}
.js .beside .armname{display:block}.beside .tabpanel{margin-top:0;min-width:0}.beside .grid-heat{grid-template-columns:minmax(0,1fr)}
.textbar{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;align-items:center}
label{font-size:.9rem;color:var(--soft)}
.reader{display:grid;grid-template-columns:1fr;gap:1rem 2.5rem}
.passage{font-size:1.12rem;line-height:2;margin:0 0 .9rem;max-width:44rem;white-space:pre-wrap}
.pair{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:0 1.5rem}.pair h4{margin:0 0 .4rem}
.t{background:var(--b);color:var(--f);padding:.16em 0;box-decoration-break:clone;-webkit-box-decoration-break:clone;
border-right:1px solid var(--paper)}
.fact{text-decoration:underline;text-decoration-thickness:2px;text-underline-offset:.22em}
.t.on{outline:2px solid var(--ink);outline-offset:0;border-radius:2px}
#token{font-size:.88rem;background:var(--card);border:1px solid var(--rule);border-radius:.5rem;padding:.8rem 1rem;
align-self:start;position:sticky;bottom:.5rem;z-index:1;max-height:60vh;overflow:auto}
#token:empty{display:none}
#token h4{margin:0 0 .1rem;font:600 1.15rem Charter,Georgia,serif;white-space:pre-wrap}
#token p{margin:0 0 .5rem;color:var(--soft)}
#token table{min-width:0;width:100%}
#token tr>*,article tr>*,#tip tr>*{border:0!important}
#token td,#token th{padding:.08rem .5rem .08rem 0;white-space:nowrap}
#token th{font-weight:400;color:var(--soft)}
.pips{display:flex;gap:2px}
.pips i{flex:1;min-width:3px;max-width:1.1rem;height:.8rem;background:var(--faint);border-radius:1px}
.pips i.used{background:var(--s8)}
@media (min-width:60rem){.reader{grid-template-columns:minmax(0,1fr) 19rem}#token{bottom:auto;top:4rem}}
.filters{display:flex;flex-wrap:wrap;gap:.5rem 1.2rem;align-items:center;margin:0 0 1rem}
.pager{display:flex;gap:.5rem;align-items:center;margin-left:auto}
output{font-size:.85rem;color:var(--soft);font-variant-numeric:tabular-nums}
#items{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,30rem),1fr));gap:0 2.5rem}
article{border-top:1px solid var(--rule);padding:1rem 0;min-width:0}
.question{font-size:1.12rem;margin:.1rem 0 .5rem;white-space:pre-wrap}
article table{min-width:0;font-size:.9rem}
html:not(.js) :is(.tabs,.legend,.filters,.textbar label){display:none}
article td,article th{padding:.18rem .9rem .18rem 0;border:0}
article tbody th{font-weight:400;min-width:7rem}
article tr.right th{font-weight:650}
article td.chosen{font-weight:650}
#tip{position:fixed;z-index:9;pointer-events:none;background:var(--ink);color:var(--paper);font-size:.82rem;line-height:1.4;
padding:.4rem .6rem;border-radius:.35rem;max-width:min(22rem,92vw);font-variant-numeric:tabular-nums}
#tip table{min-width:0}
#tip td{border:0;padding:0 .6rem 0 0}
#tip td:last-child{padding:0;text-align:right}
#tip b{font-weight:600}
footer{padding-top:2rem;padding-bottom:3rem;color:var(--soft);font-size:.85rem}
@media (max-width:40rem){.pager{margin-left:0}.legend{position:static}.heat{padding-left:3.7rem}th.spark,td.spark,th.says,td.says{display:none}
.dotrow,.dotaxis{grid-template-columns:1fr;gap:.2rem}.dotrow .name small{display:inline}}
@media (prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
@media print{:root{color-scheme:light;--paper:#fff}html{font-size:11px}nav,.tabs,.filters,#tip,#more,.textbar label{display:none!important}
.legend{position:static}.legend button{border:0;padding:0 .8rem 0 0}.scroll{overflow:visible}h2,h3,figcaption{break-after:avoid}
#items{grid-template-columns:1fr}
.off.tabpanel{display:block}.js .tabpanel .armname{display:block}figure,article,tr{break-inside:avoid}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}main,header{max-width:none;padding:0}#token{display:none}
.reader{grid-template-columns:1fr}.grid-charts{grid-template-columns:repeat(3,1fr)}section{margin-top:1rem;padding-top:1rem}}
)css";

}  // namespace moegrad::report
