"""Personal data in texts: addresses of e-mail, telephone numbers, and account and card numbers with the right check digits."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# Chinese characters may stand directly before and behind.
EMAIL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}(?![A-Za-z0-9_])")
IBAN = re.compile(r"(?<![A-Za-z0-9_])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}(?![A-Za-z0-9_])")
CARD = re.compile(r"(?<![A-Za-z0-9_+])[0-9](?:[ -]?[0-9]){12,18}(?![A-Za-z0-9_])")
PHONE = re.compile(r"(?<![A-Za-z0-9_+])(?:\+[0-9]|00[0-9]|\(0|0[0-9]|1[3-9][0-9])(?:[ ()./-]{0,2}[0-9]){6,13}(?![A-Za-z0-9_])")


@dataclass(frozen=True)
class Personal:
    """Personal data in a text.

    Args:
        kind: `e-mail`, `IBAN`, `card` or `phone`.
        value: The data without spaces and signs between digits, in small letters.
    """

    kind: str
    value: str


def personal_data(text: str) -> Iterator[Personal]:
    """The personal data in a text, each part of it once."""
    for kind, (pattern, is_valid) in KINDS.items():
        left = []
        place = 0
        for match in pattern.finditer(text):
            if is_valid(match[0]):
                yield Personal(kind, _plain(match[0], kind))
                left.append(text[place : match.start()])
                place = match.end()
        text = " ; ".join([*left, text[place:]])  # so that the digits of an account are no telephone number, too


def _plain(text: str, kind: str) -> str:
    return text.lower() if kind == "e-mail" else re.sub(r"[^0-9A-Za-z+]", "", text).lower()


def is_iban(text: str) -> bool:
    """Whether the check digits of an international account number are right (ISO 13616, modulo 97)."""
    plain = text.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1


def is_card(text: str) -> bool:
    """Whether the check digit of a card number is right (Luhn)."""
    digits = [int(one) for one in text if one.isdigit()]
    doubled = [sum(divmod(2 * one, 10)) for one in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(digits[::-2]) + sum(doubled)) % 10 == 0


def is_phone(text: str) -> bool:
    """Whether a number has as many digits as one of a telephone (E.164 allows 15)."""
    return 9 <= sum(one.isdigit() for one in text) <= 15


KINDS: dict[str, tuple[re.Pattern[str], Callable[[str], bool]]] = {
    "e-mail": (EMAIL, lambda text: True),
    "IBAN": (IBAN, is_iban),
    "card": (CARD, is_card),
    "phone": (PHONE, is_phone),
}
