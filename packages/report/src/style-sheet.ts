/** How the page looks: one column, system fonts, figures of any width, light or dark as the reader has it, and black on white on paper. */
import { customProperties, DARK, LIGHT } from './palette.ts';

export const styleSheet = (): string => `
:root{${customProperties(LIGHT)};color-scheme:light dark;
--text:ui-serif,"Iowan Old Style","Palatino Linotype",Palatino,"URW Palladio L",Georgia,serif;
--plain:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans",sans-serif;
--fixed:ui-monospace,"SF Mono",Menlo,Consolas,"Liberation Mono",monospace}
@media (prefers-color-scheme:dark){:root{${customProperties(DARK)}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;padding:0 clamp(1rem,4vw,3rem) 4rem;max-width:68rem;background:var(--paper);color:var(--ink);
font:1rem/1.55 var(--text);font-variant-numeric:lining-nums;overflow-wrap:break-word}
p,figcaption,li,dd{max-width:42rem;text-wrap:pretty}
h1,h2,h3{line-height:1.2;font-weight:600;text-wrap:balance;overflow-wrap:anywhere}
h1{font-size:clamp(1.75rem,5vw,2.6rem);margin:.2rem 0 1rem;letter-spacing:-.01em}
h2{font-size:1.45rem;margin:0 0 .75rem}
h3{font:600 .8125rem/1.3 var(--plain);margin:0 0 .25rem}
a{color:var(--first);text-underline-offset:.15em;text-decoration-thickness:from-font}
:focus-visible{outline:2px solid var(--first);outline-offset:3px;border-radius:2px}
main:focus,h2:focus{outline:none}
code,pre{font-family:var(--fixed);font-size:.8125rem}
small{font-size:.8125rem;color:var(--muted)}
.skip{position:absolute;left:-100vw;top:.5rem;padding:.5rem 1rem;background:var(--paper);z-index:1}
.skip:focus{left:1rem}
header{padding-top:clamp(2rem,6vw,4.5rem)}
.kind{margin:0;font:.8125rem/1.4 var(--plain);letter-spacing:.08em;text-transform:uppercase;color:var(--muted)}
.lead{font-size:1.1875rem;line-height:1.5;margin:0 0 1.5rem}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:0;padding:.75rem 0;list-style:none;border-block:1px solid var(--rule);font:.875rem/1.4 var(--plain)}
nav a{display:inline-block;padding:.35rem 0;text-decoration:none}
nav a:hover{text-decoration:underline}
section{padding-top:3.25rem}
figure{margin:1.75rem 0 2.25rem}
figcaption,caption{font:.875rem/1.45 var(--plain);color:var(--muted);text-align:left;margin-bottom:.75rem}
caption{padding-bottom:.5rem;margin:0}
caption span{display:inline-block;position:sticky;left:0;max-width:min(42rem,calc(100vw - 2rem));white-space:normal}
.note,.parts,.legend,details,footer dl{font:.8125rem/1.5 var(--plain);color:var(--muted)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:1.25rem 1.5rem;margin:0 0 2rem}
.figures dt{font:.8125rem/1.4 var(--plain);color:var(--muted)}
.figures dd{margin:0;font-size:1.625rem;line-height:1.25;font-variant-numeric:lining-nums tabular-nums}
.figures small{display:block;font-family:var(--plain);line-height:1.4}
.scroll{overflow-x:auto;margin:0 0 1rem;max-width:100%;background:linear-gradient(to left,var(--paper) 1.25rem,transparent) right/3rem 100% no-repeat local,linear-gradient(to left,var(--rule),transparent) right/1rem 100% no-repeat scroll}
tbody th{position:sticky;left:0;background:var(--paper)}
table{border-collapse:collapse;font:.8125rem/1.4 var(--plain);font-variant-numeric:lining-nums tabular-nums;color:var(--ink);border-bottom:1px solid var(--rule)}
th,td{padding:.35rem .9rem .35rem 0;text-align:left;vertical-align:baseline;font-weight:400;white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
thead th{color:var(--muted);border-block:1px solid var(--rule);vertical-align:bottom}
tbody tr+tr>*{border-top:1px solid color-mix(in srgb,var(--rule) 55%,transparent)}
.number{text-align:right}
.marked>*{font-weight:600}
.barred{display:inline-grid;grid-template-columns:minmax(3rem,7rem) 5.5em;align-items:center;gap:.5rem;vertical-align:middle}
.bar,.w8,.m8-8{fill:var(--first)}
.w4,.m4-8{fill:var(--third)}
.w16,.m8-16,.m4-16{fill:var(--second)}
rect{fill:var(--past)}
.stack{margin-bottom:1.1rem}
.stack p{margin:0}
.stack-name{font:.8125rem/1.6 var(--plain)}
.stack>svg{display:block;background:var(--shade)}
.parts{display:flex;flex-wrap:wrap;gap:.1rem 1rem;padding-top:.25rem}
.legend{display:flex;flex-wrap:wrap;gap:.35rem 1.25rem;list-style:none;margin:0 0 .75rem;padding:0;font-variant-numeric:tabular-nums}
.legend svg{vertical-align:middle}
.steps{display:grid;grid-template-columns:repeat(8,minmax(0,4.25rem)) auto;gap:0;font-size:.75rem}
.steps li{padding-right:.25rem}
.steps svg{display:block;margin-bottom:.2rem}
.steps li{padding:0}
.steps .unit{align-self:end;padding-left:.4rem}
.heat{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:2px .75rem;align-items:center;font:.75rem/1.3 var(--plain)}
.heat>svg{display:block;width:100%;height:15px;background:repeating-linear-gradient(135deg,var(--shade) 0 3px,transparent 3px 6px)}
.heat>.axis{height:1.4em;background:none;overflow:visible}
.heat rect{stroke:var(--paper);stroke-width:.75;vector-effect:non-scaling-stroke}
.heat text,.ticks text{fill:var(--muted);font:.75rem var(--plain);font-variant-numeric:tabular-nums}
.axis-name{color:var(--muted);text-align:right}
${LIGHT.heat.map((_, i) => `.h${i}{fill:var(--heat-${i})}`).join('')}
.plot{padding:1.6rem .9rem 2.6rem 3.4rem;max-width:44rem}
.plot svg{display:block;overflow:visible}
.grid line{stroke:var(--rule);stroke-width:1}
path{fill:none;vector-effect:non-scaling-stroke}
.past{fill:color-mix(in srgb,var(--past) 22%,transparent);stroke:var(--past);stroke-width:1;stroke-dasharray:3 2}
.now{fill:color-mix(in srgb,var(--first) 22%,transparent);stroke:var(--first);stroke-width:1.25}
.line{fill:none;stroke-width:1.75}
.kept{fill:var(--paper);stroke-width:2}
.l0{stroke:var(--first)}.l1{stroke:var(--second);stroke-dasharray:7 3}.l2{stroke:var(--third);stroke-dasharray:2 3}
.kept.l1,.kept.l2{stroke-dasharray:none}
.multiples{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:.5rem 1.5rem}
.multiples .plot{padding:.5rem .75rem 1.9rem 3.25rem}
details{margin:.5rem 0}
summary{cursor:pointer;padding:.35rem 0;width:max-content;max-width:100%;color:var(--first)}
details[open]>summary{margin-bottom:.5rem}
q{quotes:"“" "”"}
q span{color:var(--muted)}
q{white-space:pre}
mark{background:color-mix(in srgb,var(--second) 22%,transparent);color:inherit;padding:0 .1em}
pre{margin:0;padding:.9rem 1rem;max-height:22rem;overflow:auto;background:var(--shade);border:1px solid var(--rule);border-radius:4px;line-height:1.5;tab-size:2}
pre code{user-select:all}
.override{margin:0 0 2rem}
.override h3{font-size:.9375rem}
footer{margin-top:4rem;padding-top:1.25rem;border-top:1px solid var(--rule)}
footer h2{font:600 .875rem/1.4 var(--plain)}
footer dl{margin:0}
footer div{display:grid;grid-template-columns:minmax(6rem,12rem) 1fr;gap:0 1.25rem;margin-bottom:.35rem}
footer dt,footer dd{margin:0;overflow-wrap:anywhere;min-width:0}
@media (max-width:40rem){
.heat{grid-template-columns:minmax(0,1fr);gap:1px}
.heat>svg{margin-bottom:.35rem}
.axis-name{text-align:left}
.steps{grid-template-columns:repeat(8,minmax(0,1fr))}.steps .unit{grid-column:1/-1;padding:.1rem 0 0}
.steps{font-size:.6875rem}
footer div{grid-template-columns:1fr}
.barred{grid-template-columns:3rem 5em}
}
@media print{
:root{${customProperties({ ...LIGHT, paper: '#ffffff' })}}
body{max-width:none;padding:0;font-size:10pt}
nav,.skip{display:none}
section{padding-top:1.5rem}
figure,.multiples>div,tr,.stack,.figures,.override{break-inside:avoid}
h2,h3,figcaption{break-after:avoid}
rect,path,mark,.scroll,pre{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.scroll{overflow:visible;background:none}
pre{max-height:none;white-space:pre-wrap}
a{color:inherit;text-decoration:none}
}
`;
