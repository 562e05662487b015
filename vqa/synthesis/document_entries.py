"""What receipts and invoices hold beside their articles: how it is labelled, called and made up."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from vqa.synthesis import document_values as values
from vqa.synthesis.document_canvas import Ask
from vqa.synthesis.document_questions import ask_for


@dataclass(frozen=True)
class Entry:
    """Something a kind of document may hold.

    Attributes:
        key: unique among the entries of a kind.
        noun: what questions call it.
        labels: how it may be labelled in print.
        make: its value. With `options` there is a row of boxes to tick instead.
        more: questions of its own, beside the general ones.
    """

    key: str
    noun: str
    labels: tuple[str, ...]
    make: Callable[[random.Random], str] | None = None
    options: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

    def ask(self, kind: str) -> Ask:
        """How it is asked for on a document of `kind`."""
        return ask_for(self.key, self.noun, kind, self.more)


RECEIPT_TOP = (
    Entry(
        "address",
        "address of the shop",
        ("",),
        lambda rng: f"{values.street(rng)}, {values.city(rng)}",
        more=("Where is the shop?",),
    ),
    Entry("phone", "phone number of the shop", ("Tel: ", "Phone: ", "Tel. "), values.phone),
    Entry("tax_id", "tax number of the shop", ("VAT No. ", "Tax ID: "), lambda rng: values.digits(rng, 9)),
)
RECEIPT_FACTS = (
    Entry("number", "receipt number", ("Receipt No", "Receipt #", "Bon"), lambda rng: values.digits(rng, 6)),
    Entry(
        "date",
        "date of purchase",
        ("Date",),
        lambda rng: values.date(rng, 0),
        more=("On which date was the purchase made?",),
    ),
    Entry("time", "time of purchase", ("Time",), values.time, more=("At what time was the purchase made?",)),
    Entry(
        "cashier",
        "name of the cashier",
        ("Cashier", "Served by"),
        lambda rng: rng.choice(values.FIRST),
        more=("Who was the cashier?",),
    ),
    Entry("till", "number of the till", ("Till", "Register", "POS"), lambda rng: f"{rng.randint(1, 30):02d}"),
    Entry("table", "table number", ("Table", "Table No"), lambda rng: str(rng.randint(1, 60))),
)
RECEIPT_END = (
    Entry(
        "payment",
        "method of payment",
        ("Paid by", "Payment"),
        lambda rng: rng.choice("VISA;Mastercard;Cash;Debit card;Gift card;Amex".split(";")),
        more=("How was the bill paid?",),
    ),
    Entry("card", "card number", ("Card", "Card No"), lambda rng: f"**** {values.digits(rng, 4)}"),
    Entry("approval", "approval code", ("Approval", "Auth code"), lambda rng: values.digits(rng, 6)),
    Entry(
        "points",
        "number of loyalty points",
        ("Points earned", "Loyalty points"),
        lambda rng: str(rng.randint(1, 400)),
        more=("How many loyalty points were earned?",),
    ),
)


def invoice_facts(style: int) -> tuple[Entry, ...]:
    """Numbers, dates and terms; all dates of one invoice are printed in the same `style`."""

    def day(rng: random.Random) -> str:
        return values.date(rng, style)

    return (
        Entry(
            "number",
            "invoice number",
            ("Invoice No.", "Invoice #", "Invoice Number"),
            lambda rng: values.code(rng, rng.choice(["INV", "R", "A"]), 5),
        ),
        Entry(
            "date",
            "invoice date",
            ("Invoice Date", "Date of Issue", "Issued"),
            day,
            more=("When was the invoice issued?",),
        ),
        Entry(
            "due",
            "due date",
            ("Due Date", "Payable by", "Payment due"),
            day,
            more=("When is the payment due?", "By which date must the invoice be paid?"),
        ),
        Entry(
            "delivered",
            "delivery date",
            ("Delivery Date", "Delivered on"),
            day,
            more=("When were the goods delivered?",),
        ),
        Entry(
            "order",
            "purchase order number",
            ("PO Number", "Your Order", "Purchase Order"),
            lambda rng: values.code(rng, "PO", 6),
        ),
        Entry(
            "customer_number",
            "customer number",
            ("Customer No.", "Client ID"),
            lambda rng: values.digits(rng, 6),
        ),
        Entry(
            "contact",
            "contact person",
            ("Contact", "Your contact"),
            values.name,
            more=("Who is the contact person?",),
        ),
        Entry(
            "terms",
            "terms of payment",
            ("Terms", "Payment Terms"),
            lambda rng: rng.choice(
                ["Net 14 days", "Net 30", "30 days net", "Due on receipt", "2% 10, net 30"]
            ),
        ),
    )


INVOICE_FOOT = (
    Entry(
        "iban",
        "IBAN",
        ("IBAN",),
        lambda rng: " ".join(
            [f"GB{rng.randint(10, 99)}", *(f"{rng.randint(0, 9999):04d}" for _ in range(4))]
        ),
    ),
    Entry(
        "bank",
        "name of the bank",
        ("Bank",),
        lambda rng: f"{rng.choice(values.FIRM_FIRST)} {rng.choice(['Bank', 'Savings Bank', 'Credit Union'])}",
        more=("At which bank is the account?",),
    ),
    Entry("phone", "phone number of the seller", ("Phone", "Tel."), values.phone),
    Entry("email", "email address of the seller", ("Email",), values.email),
    Entry(
        "tax_id",
        "VAT registration number",
        ("VAT Reg. No.", "Tax ID"),
        lambda rng: f"GB {values.digits(rng, 9)}",
    ),
)
