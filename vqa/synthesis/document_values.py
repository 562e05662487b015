"""What stands on invented documents: names, firms, places, dates, amounts. Any likeness is chance."""

import random

FIRST = (
    "Alice Amara Anders Anita Bruno Carla Chen Clara Daniel Diego Elena Emil Esther Farid Fiona "
    "George Grace Hana Henrik Ingrid Isaac Ivan Jasmin Jonas Julia Karim Kofi Laura Leon Linh "
    "Lucia Magnus Maria Mateo Mina Nadia Noah Nora Olga Omar Paula Peter Priya Rafael Rosa Samir "
    "Sofia Stefan Tariq Teresa Thomas Uma Victor Wanda Yusuf Zoe"
).split()
LAST = (
    "Abbott Almeida Andersen Baker Bauer Becker Bianchi Carter Castro Cohen Dawson Diaz Dubois "
    "Eriksen Evans Fischer Flores Garcia Gupta Hansen Hoffmann Hughes Ivanova Jensen Kaplan "
    "Keller Kim Kovacs Larsen Lopez Mancini Martin Meyer Moreau Mwangi Nguyen Novak Okafor Olsen "
    "Park Patel Pereira Petrov Quinn Ramos Rossi Sato Schmidt Silva Singh Tanaka Torres Vargas "
    "Walsh Weber Wright Yamada Young Zhang Ziegler"
).split()
STREETS = (
    "Oak Street;Mill Lane;Harbour Road;King Street;Station Road;Church Lane;Park Avenue;"
    "Elm Drive;River Walk;Bridge Street;Garden Close;High Street;Market Square;Victoria Road;"
    "Sunset Boulevard;Maple Avenue;Linden Way;Hill Terrace;Orchard Grove;Quay Street"
).split(";")
CITIES = (
    "Ashford;Bergen;Bristol;Cardiff;Dresden;Dublin;Exeter;Fairview;Geneva;Ghent;Halifax;Hobart;"
    "Kingston;Leeds;Lisbon;Lyon;Madison;Malmo;Newport;Oakland;Oxford;Porto;Riverside;Salem;"
    "Springfield;Tampere;Turin;Utrecht;Verona;York"
).split(";")
COUNTRIES = (
    "Brazilian British Canadian Danish Dutch French German Greek Indian Irish Italian Japanese "
    "Kenyan Mexican Norwegian Polish Portuguese Spanish Swedish Turkish Vietnamese"
).split()
FIRM_FIRST = (
    "Alder Atlas Bluefig Bright Cedar Cobalt Copper Crown Delta Eastgate Ember Falcon Granite "
    "Harbor Iris Juniper Keystone Lantern Maple Meridian Northstar Oakhill Orion Pineridge "
    "Quartz Redwood Silverlake Summit Tidal Umber Vertex Willow Zenith"
).split()
FIRM_LAST = {
    "receipt": "Market;Bakery;Cafe;Grocery;Bistro;Pharmacy;Bookshop;Deli;Kitchen;Hardware".split(";"),
    "invoice": "Supplies Ltd;Trading Co.;Logistics GmbH;Design Studio;Engineering Inc.;Consulting LLC;Print "
    "Works;Electronics;Office Furniture;Software AG".split(";"),
    "form": "Clinic;Public Library;City Council;Sports Club;University;Insurance;Housing Office;Language "
    "School;General Hospital;Savings Bank".split(";"),
}
MONTHS = ("January February March April May June July August September October November December").split()


def name(rng: random.Random) -> str:
    """First and last name."""
    return f"{rng.choice(FIRST)} {rng.choice(LAST)}"


def firm(rng: random.Random, kind: str) -> str:
    """A firm or an institution such as a document of this kind comes from."""
    return f"{rng.choice(FIRM_FIRST)} {rng.choice(FIRM_LAST[kind])}"


def street(rng: random.Random) -> str:
    """Street and house number."""
    return f"{rng.randint(1, 240)} {rng.choice(STREETS)}"


def city(rng: random.Random) -> str:
    """A city."""
    return rng.choice(CITIES)


def phone(rng: random.Random) -> str:
    """A phone number in one of three manners."""
    a, b, c = rng.randint(201, 989), rng.randint(200, 999), rng.randint(0, 9999)
    return rng.choice([f"({a}) {b}-{c:04d}", f"+{rng.randint(20, 98)} {a} {b} {c:04d}", f"0{a} {b}{c:04d}"])


def email(rng: random.Random) -> str:
    """An address that cannot receive mail."""
    return (
        f"{rng.choice(FIRST).lower()}.{rng.choice(LAST).lower()}@example.{rng.choice(['com', 'org', 'net'])}"
    )


def digits(rng: random.Random, count: int) -> str:
    """So many digits, the first not 0."""
    return str(rng.randint(10 ** (count - 1), 10**count - 1))


def code(rng: random.Random, prefix: str, count: int) -> str:
    """A number with letters before it, such as INV-20418."""
    return f"{prefix}{rng.choice(['-', '-', '/', ' ', ''])}{digits(rng, count)}"


def date(rng: random.Random, style: int, first: int = 2018, last: int = 2026) -> str:
    """A date between two years; `style` is one of five manners, the same all over a document."""
    year, month, day = rng.randint(first, last), rng.randint(1, 12), rng.randint(1, 28)
    return (
        f"{day:02d}/{month:02d}/{year}",
        f"{year}-{month:02d}-{day:02d}",
        f"{day} {MONTHS[month - 1]} {year}",
        f"{MONTHS[month - 1][:3]} {day}, {year}",
        f"{day:02d}.{month:02d}.{year}",
    )[style % 5]


def time(rng: random.Random) -> str:
    """A time of the day."""
    hour, minute = rng.randint(7, 22), rng.randint(0, 59)
    if rng.random() < 0.3:
        return f"{(hour - 1) % 12 + 1}:{minute:02d} {'AM' if hour < 12 else 'PM'}"
    return f"{hour:02d}:{minute:02d}"


def money(cents: int, currency: str) -> str:
    """An amount as printed: `$1,234.50`, `1,234.50 EUR` or bare."""
    amount = f"{cents / 100:,.2f}"
    if len(currency) == 1:
        return f"{currency}{amount}"
    return f"{amount} {currency}" if currency else amount
