"""What forms ask for."""

import random
from collections.abc import Callable

from vqa.synthesis import document_values as values
from vqa.synthesis.document_entries import Entry


def _pick(words: str) -> Callable[[random.Random], str]:
    return lambda rng: rng.choice(words.split(";"))


FORM_ENTRIES = (
    Entry(
        "full_name",
        "applicant's name",
        ("Name", "Full Name", "Name of Applicant"),
        values.name,
        more=("Who filled in this form?", "What is the name of the applicant?"),
    ),
    Entry("street", "street address", ("Street", "Street Address", "Street and No."), values.street),
    Entry(
        "city", "city", ("City", "Town / City"), values.city, more=("In which city does the applicant live?",)
    ),
    Entry(
        "postal_code",
        "postal code",
        ("Postal Code", "ZIP Code", "Postcode"),
        lambda rng: values.digits(rng, 5),
    ),
    Entry("phone", "phone number", ("Phone", "Telephone", "Phone No.", "Mobile"), values.phone),
    Entry("email", "email address", ("Email", "E-mail Address"), values.email),
    Entry(
        "nationality", "nationality", ("Nationality", "Citizenship"), lambda rng: rng.choice(values.COUNTRIES)
    ),
    Entry(
        "occupation",
        "occupation",
        ("Occupation", "Profession"),
        _pick(
            "Nurse;Teacher;Carpenter;Accountant;Electrician;Architect;Chemist;Driver;Translator;Cook;Farmer"
        ),
    ),
    Entry(
        "employer",
        "employer",
        ("Employer", "Name of Employer"),
        lambda rng: values.firm(rng, "invoice"),
        more=("Who is the applicant's employer?",),
    ),
    Entry(
        "emergency_contact",
        "emergency contact",
        ("Emergency Contact", "Contact in Emergency"),
        values.name,
        more=("Who should be called in an emergency?",),
    ),
    Entry(
        "passport",
        "passport number",
        ("Passport No.", "Passport Number"),
        lambda rng: f"{rng.choice('ABCEGKLMNPRX')}{values.digits(rng, 8)}",
    ),
    Entry(
        "member_number",
        "member number",
        ("Member No.", "Membership ID"),
        lambda rng: values.code(rng, "M", 6),
    ),
    Entry(
        "insurance_number",
        "insurance number",
        ("Insurance No.", "Policy Number"),
        lambda rng: values.code(rng, "PN", 7),
    ),
    Entry(
        "department",
        "department",
        ("Department", "Division"),
        _pick("Finance;Radiology;Human Resources;Sales;Research;Logistics;Maintenance;Legal;Marketing"),
    ),
    Entry(
        "language",
        "preferred language",
        ("Preferred Language", "Language"),
        _pick("English;French;German;Spanish;Italian;Portuguese;Vietnamese;Polish;Arabic;Turkish"),
    ),
    Entry(
        "height",
        "body height",
        ("Height", "Height (cm)"),
        lambda rng: f"{rng.randint(148, 199)} cm",
        more=("How tall is the person?",),
    ),
    Entry(
        "weight",
        "body weight",
        ("Weight", "Weight (kg)"),
        lambda rng: f"{rng.randint(46, 112)} kg",
        more=("How much does the person weigh?",),
    ),
    Entry(
        "allergies",
        "entry for allergies",
        ("Allergies", "Known Allergies"),
        _pick("Penicillin;Peanuts;Pollen;Latex;Shellfish;Bee stings;House dust;Cat hair"),
    ),
    Entry(
        "reason",
        "reason for the visit",
        ("Reason for Visit", "Purpose of Visit"),
        _pick("Annual check-up;Back pain;Interview;Delivery;Consultation;Site inspection;Follow-up;Training"),
    ),
    Entry(
        "doctor",
        "name of the doctor",
        ("Doctor", "Physician", "Attending Physician"),
        lambda rng: f"Dr. {rng.choice(values.LAST)}",
        more=("Which doctor is named?",),
    ),
    Entry(
        "reference",
        "reference number",
        ("Reference No.", "Ref. Number", "Case No."),
        lambda rng: values.code(rng, rng.choice(["REF", "CS", "F"]), 5),
    ),
    Entry(
        "birth",
        "date of birth",
        ("Date of Birth", "Born on", "DOB"),
        lambda rng: values.date(rng, 0, 1942, 2006),
        more=("When was the applicant born?",),
    ),
    Entry(
        "signed",
        "date of the signature",
        ("Date Signed", "Signed on", "Date of Signature"),
        lambda rng: values.date(rng, 2, 2019, 2026),
        more=("When was the form signed?",),
    ),
    Entry(
        "gender",
        "ticked option for gender",
        ("Gender", "Sex"),
        options=("Female", "Male", "Other"),
        more=("Which gender is ticked?",),
    ),
    Entry(
        "marital",
        "ticked option for marital status",
        ("Marital Status",),
        options=("Single", "Married", "Divorced", "Widowed"),
        more=("Which marital status is ticked?",),
    ),
    Entry(
        "delivery",
        "ticked option for delivery",
        ("Delivery", "Send by"),
        options=("Post", "Courier", "Pick-up"),
        more=("Which kind of delivery is ticked?",),
    ),
)
