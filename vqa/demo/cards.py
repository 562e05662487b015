"""Answers as pieces of HTML. Every text that a model or a visitor wrote is escaped."""

from html import escape

from vqa.demo.session import Turn, answer_changed, is_withheld

CANDIDATES_SHOWN = 3
CSS = """
.gradio-container { max-width: 1240px !important; }
.gradio-container > .main { padding: 10px 20px !important; }
.demo-head { display: flex; align-items: baseline; gap: 6px 18px; flex-wrap: wrap; }
.demo-head h1 { font-size: 21px; margin: 0; }
.demo-head span { color: var(--body-text-color-subdued); font-size: 13px; }
.demo-head span:last-child { margin-left: auto; }
.demo-head i { display: inline-block; width: 18px; height: 11px; margin: 0 5px -1px 12px;
               border: 2px solid #e11d48; }
.demo-head i.removed { border: 2px dashed #475569; }
#picture img, #evidence img, #evidence_without img {
  width: 100%; height: 100%; padding-top: 26px; box-sizing: border-box; object-fit: contain; }
#examples .grid-wrap { overflow-y: auto; }
#examples .caption-label { left: 0; right: 0; bottom: 0; max-width: 100%; font-size: 11px; line-height: 1.2;
                           white-space: normal; text-align: center; }
.card { min-height: 172px; padding: 2px 4px; font-size: 14px; line-height: 1.45; overflow-wrap: anywhere; }
.card .answer { font-size: 24px; font-weight: 600; line-height: 1.25; }
.card .withheld { color: var(--body-text-color-subdued); }
.card .note { color: var(--body-text-color-subdued); font-size: 13px; }
.card .bar { display: grid; grid-template-columns: 92px 1fr 56px; gap: 8px;
             align-items: center; margin: 3px 0; }
.card .bar i { display: block; height: 9px; border-radius: 5px; overflow: hidden;
               background: var(--neutral-200); }
.card .bar b { display: block; height: 100%; background: var(--primary-500); }
.card .bar span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.card .bar span:last-child { text-align: right; font-variant-numeric: tabular-nums; }
.card ol { margin: 2px 0; padding-left: 20px; }
.card ol li { margin: 0; }
.verdict { border-left: 5px solid var(--neutral-400); padding: 7px 12px; font-size: 15px;
           background: var(--background-fill-secondary); }
.verdict.good { border-color: #16a34a; } .verdict.bad { border-color: #d97706; }
"""
# (the answer changed, something else than the evidence was removed) -> (class, text)
_VERDICTS = {
    (True, False): ("good", "The answer changes without its evidence."),
    (False, False): ("bad", "The answer stays without its evidence: it does not rest on it."),
    (True, True): ("bad", "The answer changes though its evidence is still there."),
    (False, True): ("good", "The answer stays: what was removed is not its evidence."),
}


def head(model: str, style: str) -> str:
    """The page's title, and which checkpoint answers."""
    return (
        '<div class="demo-head"><h1>Ask, then take the evidence away</h1>'
        f"<span>{escape(model)} &middot; answers in the style {escape(style)}</span>"
        '<span><i></i>where it looks<i class="removed"></i>removed</span></div>'
    )


def empty_card(text: str) -> str:
    """A place where an answer will stand."""
    return f'<div class="card"><div class="note">{escape(text)}</div></div>'


def answer_card(turn: Turn, abstain_below: float) -> str:
    """Answer or abstention, confidence, the likeliest candidates, caption and reasoning."""
    line = turn.line
    if not is_withheld(line, abstain_below):
        parts = [f'<div class="answer">{escape(line["pred"]) or "(empty)"}</div>']
    elif line["abstained"]:
        parts = ['<div class="answer withheld">No answer: the picture does not hold it</div>']
    else:
        parts = [
            '<div class="answer withheld">Answer withheld</div>'
            f'<div class="note">not sure enough (below {abstain_below:.0%}); '
            f"it would have been: {escape(line['pred'])}</div>"
        ]
    if turn.shares:
        parts += [_bar(text, share) for text, share in list(turn.shares.items())[:CANDIDATES_SHOWN]]
    elif line["confidence"] is not None:
        parts.append(_bar("confidence", line["confidence"]))
    if line["caption"]:
        parts.append(f"<div>{escape(line['caption'])}</div>")
    if line["reasoning"]:
        steps = "".join(f"<li>{escape(step)}</li>" for step in line["reasoning"])
        parts.append(f"<ol>{steps}</ol>")
    parts.append(f'<div class="note">question type {escape(line["qtype"])}{_boxes_note(turn)}</div>')
    return f'<div class="card">{"".join(parts)}</div>'


def no_verdict() -> str:
    """The verdict's place before there is one."""
    return '<div class="verdict">Does the answer change when what the model looks at is gone?</div>'


def verdict(before: Turn, after: Turn, elsewhere: bool) -> str:
    """Whether the answer changed without the evidence, or without as much elsewhere, and what that says."""
    kind, judged = _VERDICTS[answer_changed(before.line, after.line), elsewhere]
    said = f"{_said(before)} &rarr; {_said(after)}"
    return f'<div class="verdict {kind}"><b>{judged}</b> {said}</div>'


def _said(turn: Turn) -> str:
    line = turn.line
    sure = "" if line["confidence"] is None else f" ({line['confidence']:.1%})"
    return ("no answer" if line["abstained"] else escape(line["pred"])) + sure


def _bar(name: str, share: float) -> str:
    name = escape(name)
    return (
        f'<div class="bar"><span title="{name}">{name}</span>'
        f'<i><b style="width: {share:.1%}"></b></i><span>{share:.1%}</span></div>'
    )


def _boxes_note(turn: Turn) -> str:
    count = len(turn.line["boxes"])
    return f", {count} evidence box{'es' * (count != 1)}"
