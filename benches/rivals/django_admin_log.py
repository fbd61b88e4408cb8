"""The first portal's table in Django's admin, as its manual shows: columns, a search by phone, filters by status and type."""

from __future__ import annotations

import os
from typing import Any

import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

_APPS = ("admin", "auth", "contenttypes", "sessions", "messages")


def configured(dsn: str) -> Any:
    """A signed-in client of the admin; its list is at /admin/rivals/whatsapplog/."""
    parts = conninfo_to_dict(dsn)
    settings.configure(
        SECRET_KEY="only for the bench",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="benches.rivals.django_urls",
        INSTALLED_APPS=[*(f"django.contrib.{name}" for name in _APPS), "benches.rivals"],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": parts["dbname"],
                "USER": parts.get("user", "postgres"),
                "HOST": parts["host"],
                "OPTIONS": {"options": "-c search_path=bench_django,first_portal,public"},
                "CONN_MAX_AGE": None,
            }
        },
        STATIC_URL="/static/",
        USE_TZ=False,
    )
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    django.setup()
    return _signed_in()


def _signed_in() -> Any:
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client

    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA IF NOT EXISTS bench_django")
    call_command("migrate", verbosity=0)
    user, _ = User.objects.get_or_create(username="reader", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(user)
    return client
