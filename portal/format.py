"""How values are written for people: money, dates, telephone numbers. Registered as template filters."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import phonenumbers
from flask import Flask, current_app, g

_SIGNS = {"GBP": "£", "USD": "$", "EUR": "€", "INR": "₹"}


def init_app(app: Flask) -> None:
    """Give the templates these filters."""
    app.add_template_filter(money)
    app.add_template_filter(long_date)
    app.add_template_filter(short_date)
    app.add_template_filter(moment)
    app.add_template_filter(day_of)


def money(amount: Decimal, currency: str, *, cents: bool = True) -> str:
    """£1,234.50; an unknown currency as its code."""
    sign = _SIGNS.get(currency, f"{currency} ")
    return f"{sign}{amount:,.2f}" if cents else f"{sign}{amount:,.0f}"


def long_date(day: date) -> str:
    """7 March 2027."""
    return f"{day.day} {day:%B %Y}"


def short_date(day: date) -> str:
    """7 Mar 2027."""
    return f"{day.day} {day:%b %Y}"


def moment(at: datetime) -> str:
    """7 Mar 2027, 14:05, where the person who looks is."""
    person = g.get("person")
    here = at.astimezone(ZoneInfo(person.timezone if person else current_app.config["PORTAL"].timezone))
    return f"{short_date(here)}, {here:%H:%M}"


def day_of(at: datetime) -> date:
    """The day of a moment, where the office is."""
    return at.astimezone(ZoneInfo(current_app.config["PORTAL"].timezone)).date()


def days_away(day: date, today: date) -> str:
    """How far a day is, as people say it: "today", "in 5 days", "3 days ago"."""
    days = (day - today).days
    if days == 0:
        return "today"
    if abs(days) == 1:
        return "tomorrow" if days > 0 else "yesterday"
    return f"in {days} days" if days > 0 else f"{-days} days ago"


def readable_phone(phone: str) -> str:
    """+44 7700 900123."""
    try:
        number = phonenumbers.parse(phone)
    except phonenumbers.NumberParseException:
        return phone
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def masked_phone(phone: str) -> str:
    """•••• 0123, for those who may not see numbers."""
    return "•••• " + phone[-4:]
