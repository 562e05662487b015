"""A model behind an OpenAI-compatible endpoint, as a reader."""

from collections.abc import Sequence

from vqa.documents.openai_client import ChatClient
from vqa.documents.reading import Reading, Record, chat_text, qa_messages, read_answer
from vqa.documents.retrieval import Passage


class OpenAIReader:
    """Answers by one chat completion each. What they may cost and how they fail is the client's business."""

    def __init__(self, client: ChatClient) -> None:
        self.client = client
        self.name = f"openai:{client.model}"

    def read(self, question: str, passages: Sequence[Passage], record: Record) -> Reading:
        """What the model answers to `qa_messages`."""
        messages = qa_messages(question, passages)
        turn = self.client.complete(messages)
        return Reading(read_answer(turn.text), prompt=chat_text(messages), raw=turn.text, usage=turn.usage)
