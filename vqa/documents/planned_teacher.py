"""The teacher whose model decides on the steps itself, by tool calls; the fixed plan is its fallback."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vqa.documents.openai_client import ChatClient
from vqa.documents.pages import OcrPage
from vqa.documents.planner import plan_and_answer
from vqa.documents.reading import Reading
from vqa.documents.retrieval import Passage
from vqa.documents.traces import Record, Teacher, Trace, write_trace


@dataclass(frozen=True, kw_only=True)
class PlanningTeacher(Teacher):
    """Calls steps in the order its model wants.

    Args:
        client: of the model that plans.
        max_steps: calls of tools a question.
    """

    client: ChatClient
    max_steps: int

    def answer(self, record: Record, trace: Trace) -> None:
        """As `Teacher.answer`; a plan that comes to no answer is noted, and the fixed steps are taken."""
        pages = self.read(trace, record)
        found: list[Passage] = []

        def find_text(query: str, k: int | None = None) -> list[dict[str, Any]]:
            passages = self.find(query, pages)[: k and max(k, 1)]
            found.extend(passages)
            return [{"text": passage.text, "page": passage.page} for passage in passages]

        def ocr_page(page: int) -> str:
            if not 0 <= page < len(pages):
                raise ValueError(f"there is no page {page}")
            return pages[page].text

        def ground(text: str) -> dict[str, Any] | None:
            place = self.place(text, pages, found)
            return place and {"text": place.text, "page": place.page, "boxes": place.boxes}

        tools = {"ocr_page": ocr_page, "find_text": find_text, "ground_answer": ground}
        with trace.step("plan", {"model": self.client.model, "question": record["question"]}) as step:
            plan = plan_and_answer(self.client, record["question"], tools, self.max_steps, len(pages))
            step["output"] = {"steps": plan.steps, "answer": plan.answer, "fault": plan.fault}
            step["cost"] = asdict(plan.usage)
        if plan.answer is None:
            self.take_fixed_steps(trace, record, pages)
            return
        near = _on_page(plan.page, pages) + found
        place = self.ground(trace, plan.answer, pages, near)
        write_trace(trace, record, pages, found, Reading(plan.answer), place)


def _on_page(number: int | None, pages: Sequence[OcrPage]) -> list[Passage]:
    """The page that the model says the answer stands on, as a passage."""
    if number is None or not 0 <= number < len(pages):
        return []
    page = pages[number]
    return [Passage(page.text, number, tuple(range(len(page.words))))] if page.words else []
