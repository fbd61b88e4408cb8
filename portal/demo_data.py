"""The invented office's names and numbers. Nobody of them exists; the telephone numbers are reserved for fiction."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

# (user name, name, role)
PEOPLE = (
    ("anna.admin", "Anna Lindqvist", "administrator"),
    ("arjun.agent", "Arjun Mehta", "agent"),
    ("clara.compliance", "Clara Okafor", "compliance"),
    ("vera.viewer", "Vera Hughes", "viewer"),
)

NAMES = (
    "Asha Rao", "Oliver Bennett", "Mei-Ling Chen", "Kwame Asante", "Sofia Rossi", "Daniel O’Connor", "Fatima Al-Sayed",
    "Łukasz Nowak", "Grace Thompson", "Hiroshi Tanaka", "Priya Nair", "Thomas Wright", "Amara Diallo", "Isabel García",
    "Noah Williams", "Yusuf Demir", "Charlotte Evans", "Nguyễn Thị Lan", "George Papadakis", "Zainab Hussain",
    "Emily Carter", "Mateo Fernández", "Ingrid Solberg", "Rajesh Iyer", "Hannah Fischer", "Samuel Adeyemi",
    "Aoife Murphy", "Viktor Horváth", "Leila Haddad", "James Whitfield", "Chloé Dubois", "Tariq Mahmood",
    "Megan Price", "Anders Nyström", "Nomvula Dlamini", "Harpreet Singh", "Beatriz Costa", "Peter Novák",
    "Esther Mwangi", "William Ashford", "Sana Qureshi", "Marco Bianchi", "Kavita Desai", "Benjamin Clarke",
    "Rosa Jiménez", "Ibrahim Kone", "Freya Johansson", "Dmitri Volkov", "Nadia Benali", "Alice Pemberton",
    "Suresh Pillai", "Catrin Morgan", "Omar Farouk", "Eleanor Fox", "Kenji Watanabe", "Adaeze Eze",
    "Rhys Davies", "Mariam Kassab", "Patrick Doyle", "Simone Laurent",
)  # fmt: skip

# Numbers at which something happens in the simulator; the names do not tell.
REMARKABLE_PHONES = {
    "Grace Thompson": "+447700900003",
    "Thomas Wright": "+447700900100",
    "Charlotte Evans": "+447700900101",
    "Emily Carter": "+447700900105",
    "Hannah Fischer": "+447700900014",
    "James Whitfield": "+447700900106",
    "Megan Price": "+447700900102",
    "William Ashford": "+447700900103",
    "Benjamin Clarke": "+447700900108",
    "Alice Pemberton": "+447700900026",
    "Eleanor Fox": "+447700900107",
    "Patrick Doyle": "+447700900111",
}
AMERICAN_AREAS = (212, 415, 617, 312)

STREETS = (
    "Harbour Street", "Quay Road", "Mill Lane", "Chapel Hill", "Station Road", "Orchard Close", "Victoria Terrace",
    "Kings Avenue", "Church Walk", "Meadow View", "Bridge Street", "Park Crescent", "Castle Road", "Elm Grove",
)  # fmt: skip
TOWNS = (
    "Bristol BS1 0AA", "Bath BA1 0AB", "Cardiff CF10 0AC", "Exeter EX1 0AD", "Gloucester GL1 0AE", "Swindon SN1 0AF",
    "Plymouth PL1 0AG", "Newport NP20 0AH", "Taunton TA1 0AJ", "Cheltenham GL50 0AK",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What the office sells of one kind; premium in whole pounds from … to."""

    name: str
    prefix: str
    insurers: tuple[str, ...]
    insured: tuple[str, ...]
    sums: tuple[int, ...]
    excess: int
    premium: tuple[int, int]


PRODUCTS = {
    product.name: product
    for product in (
        Product(
            name="motor", prefix="MOT", insurers=("Meridian Mutual", "Northgate Motor"),
            insured=("Ford Fiesta 1.0, 2019", "Volkswagen Golf 1.5, 2021", "Toyota Yaris Hybrid, 2022",
                     "Nissan Leaf, 2020", "Vauxhall Corsa, 2018", "Skoda Octavia Estate, 2020"),
            sums=(8500, 11200, 14900, 18400), excess=350, premium=(340, 980),
        ),
        Product(
            name="home", prefix="HOM", insurers=("Beacon Home & Life", "Meridian Mutual"),
            insured=("Two-bedroom flat, first floor", "Terraced house, three bedrooms", "Semi-detached house, 1936",
                     "Cottage with slate roof", "Detached house, four bedrooms"),
            sums=(240000, 310000, 385000, 520000), excess=250, premium=(180, 520),
        ),
        Product(
            name="travel", prefix="TRV", insurers=("Albatross Travel Cover",),
            insured=("Annual multi-trip, Europe", "Annual multi-trip, worldwide", "Annual multi-trip, family of four"),
            sums=(5000000, 10000000), excess=100, premium=(62, 210),
        ),
        Product(
            name="health", prefix="HLT", insurers=("Fernhill Health", "Beacon Home & Life"),
            insured=("Individual, comprehensive", "Couple, comprehensive", "Family, essential"),
            sums=(100000, 250000), excess=150, premium=(640, 2400),
        ),
        Product(
            name="life", prefix="LIF", insurers=("Beacon Home & Life",),
            insured=("Level term, 20 years", "Decreasing term, 25 years"),
            sums=(150000, 250000, 400000), excess=0, premium=(140, 460),
        ),
        Product(
            name="business", prefix="BUS", insurers=("Northgate Commercial", "Meridian Mutual"),
            insured=("Café with outdoor seating", "Dental practice", "Joinery workshop", "Online shop with stock"),
            sums=(75000, 180000, 420000), excess=500, premium=(480, 3200),
        ),
    )
}  # fmt: skip
MOST_SOLD = ("motor",) * 4 + ("home",) * 4 + ("travel",) * 2 + ("health",) * 2 + ("life", "business")

WORDS_BY_HAND = (
    "Thank you for the photos, {first_name}. Your claim is with the insurer; we expect an answer within two days.",
    "Hello {first_name}, the repairer can take your car on Thursday at 9:00. Does that suit you?",
    "Good news, {first_name}: the insurer has accepted your claim. The payment should arrive by Friday.",
    "Hello {first_name}, we have changed your address as you asked. A new schedule follows.",
    "{first_name}, the insurer would like one more photo of the damage, from the left side. You can send it here.",
    "Your direct debit is set up, {first_name}. The first payment leaves your account on the 1st.",
    "Hello {first_name}, our office is closed on Monday. In an emergency call the number on your policy.",
    "We have your signed form, {first_name}. Thank you, nothing else is needed.",
)
DOCUMENT_READY = (
    "Hello {first_name}, your policy document {number} has come in the post. "
    "You can collect it at our office, or ask us here."
)
# What has always happened to messages to these numbers, as it does in the simulator: Twilio's word, code and text.
UNREACHABLE = {
    "+447700900003": ("failed", "63003", "Channel could not find To address"),
    "+447700900014": ("failed", "63014", "Message failed to be delivered because it was blocked by a user action"),
    "+447700900026": ("undelivered", "63026", "Message was flagged as spam"),
}
WINDOW_CLOSED = ("failed", "63016", "Failed to send freeform message because you are outside the allowed window.")


def plain(name: str) -> str:
    """The name in ASCII letters, for an address of e-mail."""
    letters = unicodedata.normalize("NFKD", name.replace("Ł", "L").replace("’", "")).encode("ascii", "ignore")
    return letters.decode()
