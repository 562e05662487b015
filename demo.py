"""A page that asks a checkpoint about a picture, shows where it looks, takes that away and asks again.

    python demo.py --model_name_or_path outputs/quickstart/model
    python demo.py --model_name_or_path outputs/quickstart/model --examples data/easy_vqa/test.jsonl
    python demo.py --model_name_or_path Qwen/Qwen2-VL-2B-Instruct --adapter outputs/sft --abstain_below 0.6

Any checkpoint of the collection: style, coordinates and pixel limits are those it was trained with. Only this
machine can reach the page, unless --host says otherwise; nothing is sent anywhere (docs/demo.md).
"""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported

from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

import gradio as gr
import torch

from vqa.abstention_file import AbstentionArguments, read_threshold, weights_sha256
from vqa.adapters import with_adapter
from vqa.answer_settings import answer_settings
from vqa.cli import option, parse_arguments, run
from vqa.counterfactuals import METHODS, pixel_boxes
from vqa.demo import cards
from vqa.demo.examples import add_examples, pick_examples
from vqa.demo.pictures import draw_boxes
from vqa.demo.server import KEPT_SECONDS, free_port, in_plain_words, private_cache, serve, uploaded_path
from vqa.demo.session import Asker, Record, Turn, parse_boxes, write_boxes
from vqa.encoding import PromptEncoder
from vqa.errors import UserError
from vqa.images import open_image
from vqa.models import load_model, load_processor
from vqa.questions import QUESTION_TYPES
from vqa.records import read_records

DTYPES = ("auto", "float32", "bfloat16", "float16")
REGIONS = [("the boxes", False), ("as much elsewhere", True)]
ROWS_PER_EXAMPLE = 100  # records that are looked through for each example
# Browsers show these; others are shown as PNG.
SHOWN_AS_IS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
HEIGHT = 230  # of the pictures, in pixels of the page
SYSTEM_FONTS = ["system-ui", "sans-serif"]


@dataclass
class DemoArguments:
    """Which model, what to offer, and who may reach it."""

    # Model
    model_name_or_path: str | None = option(None, "hub name or folder of a model, or folder of an adapter")
    adapter: str | None = option(None, "folder of an adapter to put on the model")
    dtype: str = option(
        "auto", f"one of {', '.join(DTYPES)}; auto is the checkpoint's, or float32 without a GPU"
    )
    max_new_tokens: int | None = option(None, "limit of an answer in tokens, and of what stands before it")

    # Page
    examples: str | None = option(None, "record file (JSONL) to take examples from")
    image_root: str | None = option(None, "folder that its image paths start from; default: the manifest's")
    num_examples: int = option(10, "examples to offer, each another picture of the file's first ones")
    abstain_below: float = option(0.0, "answers of less confidence are withheld; where the slider stands")
    target_risk: float | None = option(
        None, "in its place the threshold that predict.py keeps with the checkpoint for this share of errors"
    )
    method: str = option("telea", f"how boxes are removed: {', '.join(METHODS)}")

    # Server
    host: str = option("127.0.0.1", "address to listen on; any other lets other machines in")
    port: int = option(7860, "port to listen on; 0 takes a free one")
    max_upload_mb: float = option(10.0, "refuse larger files, in megabytes")
    max_image_pixels: int = option(25_000_000, "refuse pictures of more pixels, without decoding them")
    max_queue: int = option(16, "questions that may wait; one is answered at a time")

    def __post_init__(self) -> None:
        if not self.model_name_or_path:
            raise UserError("--model_name_or_path is needed")
        for name, known in (("dtype", DTYPES), ("method", METHODS)):
            if vars(self)[name] not in known:
                raise UserError(f"--{name} {vars(self)[name]}: choose from {', '.join(known)}")
        for name in ("max_new_tokens", "num_examples", "max_image_pixels", "max_queue"):
            if vars(self)[name] is not None and vars(self)[name] < 1:
                raise UserError(f"--{name} {vars(self)[name]}: 1 or more")
        if not self.max_upload_mb > 0:
            raise UserError(f"--max_upload_mb {self.max_upload_mb}: more than 0")
        if not 0 <= self.abstain_below <= 1:
            raise UserError(f"--abstain_below {self.abstain_below}: from 0 to 1")
        if self.abstain_below and self.target_risk is not None:
            raise UserError("give --abstain_below or --target_risk, not both")


def main() -> None:
    """Check, load, serve."""
    (args,) = parse_arguments(DemoArguments, description=__doc__, prog="demo.py")
    port = free_port(args.host, args.port)
    examples = []
    if args.examples:
        limit = ROWS_PER_EXAMPLE * args.num_examples
        found = read_records(args.examples, args.image_root, args.max_image_pixels, limit=limit)
        examples = pick_examples(found, args.num_examples)
    asker = load_asker(args)
    if args.target_risk is not None:
        args.abstain_below = kept_threshold(args, asker)
    with private_cache():
        page = build_page(asker, examples, args)
        theme = gr.themes.Base(
            primary_hue="indigo", spacing_size="sm", font=SYSTEM_FONTS, font_mono="monospace"
        )
        serve(page, args.host, port, args.max_upload_mb, theme=theme, css=cards.CSS)


def load_asker(args: DemoArguments) -> Asker:
    """The checkpoint, to be asked as it was trained."""
    answers = answer_settings(args.adapter or args.model_name_or_path, args.model_name_or_path)
    processor = load_processor(args.model_name_or_path)
    encoder = PromptEncoder(processor, image_max_pixels=args.max_image_pixels, **answers.pixel_limits)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(args.model_name_or_path, dtype=args.dtype).to(device)
    if args.adapter:
        model = with_adapter(model, args.adapter)
    return Asker(model.eval(), encoder, answers, args.max_image_pixels, args.max_new_tokens)


def kept_threshold(args: DemoArguments, asker: Asker) -> float:
    """The threshold that `predict.py --target_risk` chose for answers as the page gives them.

    Raises:
        UserError: as `vqa.abstention_file.read_threshold`.
    """
    checkpoint = args.adapter or args.model_name_or_path
    path = AbstentionArguments(target_risk=args.target_risk).path(checkpoint)
    how = {"decoding": "constrained", "engine": "transformers", "ground": None, "answer_from_ocr": False}
    settings = asdict(asker.answers) | how | {"weights": weights_sha256(checkpoint)}
    return read_threshold(path, args.target_risk, None, settings)


def build_page(asker: Asker, examples: list[Record], args: DemoArguments) -> gr.Blocks:
    """The page: on the left what is asked, then the answer with the evidence, then the answer without it."""
    name = args.adapter or args.model_name_or_path
    with gr.Blocks(title="faithful-vqa", delete_cache=KEPT_SECONDS, analytics_enabled=False) as page:
        asked, asked_without = gr.State(None), gr.State(None)
        no_first = cards.empty_card("The answer will stand here.")
        no_answer = cards.empty_card("The answer without the evidence will stand here.")
        gr.HTML(cards.head("/".join(Path(name).parts[-2:]), asker.answers.style))
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                picture = gr.Image(
                    label="Picture", format="png", image_mode=None, sources=["upload"], buttons=[],
                    height=HEIGHT, elem_id="picture",
                )  # fmt: skip
                question = gr.Textbox(label="Question", lines=1, elem_id="question")
                with gr.Row():
                    types = [("inferred", ""), *QUESTION_TYPES]
                    kind = gr.Dropdown(types, value="", label="Question type", min_width=120)
                    candidates = gr.Textbox(
                        label="Candidates", placeholder="red, blue", min_width=120, elem_id="candidates"
                    )
                threshold = gr.Slider(
                    0,
                    1,
                    args.abstain_below,
                    step=0.01,
                    label="Abstain below a confidence of",
                    elem_id="abstain",
                )
                ask_button = gr.Button("Ask", variant="primary", elem_id="ask")
            with gr.Column(scale=2, min_width=600):
                with gr.Row():
                    with gr.Column(min_width=280):
                        evidence = shown_picture("Where the model looks", "evidence")
                        card = gr.HTML(no_first, elem_id="card")
                    with gr.Column(min_width=280):
                        evidence_without = shown_picture("With that removed", "evidence_without")
                        card_without = gr.HTML(no_answer, elem_id="card_without")
                verdict = gr.HTML(cards.no_verdict(), elem_id="verdict")
                with gr.Row():
                    boxes = gr.Textbox(
                        label="Boxes in pixels: x0, y0, x1, y1", lines=1, scale=2, elem_id="boxes"
                    )
                    elsewhere = gr.Dropdown(REGIONS, value=False, label="Remove", min_width=150)
                    method = gr.Dropdown(list(METHODS), value=args.method, label="By", min_width=100)
                remove_button = gr.Button("Remove and ask again", variant="primary", elem_id="remove")
        if examples:
            add_examples(examples, [picture, question, kind, candidates], asker.max_image_pixels)
        with gr.Accordion("What the model wrote", open=False), gr.Row():
            raw = gr.Textbox(label="With the evidence", lines=2, interactive=False, elem_id="raw")
            raw_without = gr.Textbox(label="Without it", lines=2, interactive=False)
        second = [asked_without, evidence_without, card_without, verdict, raw_without]
        no_second = (None, None, no_answer, cards.no_verdict(), "")

        def check(file: dict | None):
            path = uploaded_path(file)
            try:
                asker.check(path)
            except UserError as error:
                gr.Warning(escape(str(error)))
                return None
            if Path(path).suffix.lower() in SHOWN_AS_IS:
                return gr.skip()
            return open_image(path, asker.max_image_pixels)

        def forget():
            return None, None, no_first, "", "", *no_second

        def ask(file: dict | None, text: str, question_type: str, texts: str, abstain_below: float):
            path = uploaded_path(file)
            with in_plain_words():
                turn = asker.ask(path, text, question_type, texts)
            image, found = open_image(path, asker.max_image_pixels), turn.line["boxes"]
            card = cards.answer_card(turn, abstain_below)
            typed = write_boxes(pixel_boxes(found, image.size))
            return turn, draw_boxes(image, found), card, typed, turn.line["raw"], *no_second

        def ask_without(turn: Turn | None, text: str, other: bool, how: str, abstain_below: float):
            with in_plain_words():
                if turn is None:
                    raise UserError("ask a question first")
                regions = parse_boxes(text, turn.record["image_sizes"][0])
                new, image = asker.ask_without(turn, regions, how, other)
            shown = draw_boxes(image, new.line["boxes"], new.removed)
            said = cards.verdict(turn, new, other)
            return new, shown, cards.answer_card(new, abstain_below), said, new.line["raw"]

        def rate(first: Turn | None, other: Turn | None, abstain_below: float):
            return [
                gr.skip() if turn is None else cards.answer_card(turn, abstain_below)
                for turn in (first, other)
            ]

        # One at a time: there is one model.
        model = {"concurrency_id": "model", "concurrency_limit": 1, "show_progress": "minimal"}
        raw_file = {"preprocess": False}  # gradio would decode it
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        first = [asked, evidence, card, boxes, raw, *second]
        picture.upload(check, picture, picture, api_name="check", show_progress="hidden", **raw_file)
        picture.change(forget, None, first, **hidden)
        gr.on(
            [ask_button.click, question.submit], ask, [picture, question, kind, candidates, threshold], first,
            api_name="ask", show_progress_on=evidence, **raw_file, **model,
        )  # fmt: skip
        remove_button.click(
            ask_without, [asked, boxes, elsewhere, method, threshold], second,
            api_name="without", show_progress_on=evidence_without, **model,
        )  # fmt: skip
        threshold.release(rate, [asked, asked_without, threshold], [card, card_without], **hidden)
    page.queue(max_size=args.max_queue, api_open=False, default_concurrency_limit=1)
    return page


def shown_picture(label: str, identity: str) -> gr.Image:
    """A place for a picture that is only looked at."""
    return gr.Image(label=label, format="png", interactive=False, buttons=[], height=HEIGHT, elem_id=identity)


if __name__ == "__main__":
    run(main)
