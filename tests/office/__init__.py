"""Somebody else's portal: plain Flask, its own sign-in, tables, layout and forms. It knows nothing of WhatsApp Logs."""

from __future__ import annotations

import psycopg
from flask import Flask, g, redirect, render_template, request, session, url_for
from flask_wtf.csrf import CSRFProtect
from werkzeug.wrappers import Response

STAFF = {
    "ann": {"name": "Ann Onymous", "role": "agent"},
    "vic": {"name": "Vic Iewer", "role": "viewer"},
}
TABLES = {
    "TEXT clients, BIGINT policies": """
        CREATE TABLE clients (client_id TEXT PRIMARY KEY, name TEXT NOT NULL, phone TEXT);
        CREATE TABLE policies (policy_id BIGINT PRIMARY KEY, client_id TEXT NOT NULL REFERENCES clients, sent_at TIMESTAMPTZ);
        CREATE TABLE messages (id SERIAL PRIMARY KEY, note TEXT);  -- its own, as is "users"
        CREATE TABLE users (id SERIAL PRIMARY KEY);
        INSERT INTO clients VALUES ('C-0042', 'Asha Example', '07700 900123');
        INSERT INTO policies VALUES (9000000001, 'C-0042');
        INSERT INTO messages (note) VALUES ('ours');
        """,
    "TEXT clients, UUID policies": """
        CREATE TABLE clients (client_id TEXT PRIMARY KEY, name TEXT NOT NULL, phone TEXT);
        CREATE TABLE policies (policy_id UUID PRIMARY KEY, client_id TEXT NOT NULL REFERENCES clients, sent_at TIMESTAMPTZ);
        INSERT INTO clients VALUES ('C-0042', 'Asha Example', '07700 900123');
        INSERT INTO policies VALUES ('5e000000-0000-4000-8000-000000000001', 'C-0042');
        """,
}


def make_office(dsn: str) -> Flask:
    """The portal as it was before anything moved in."""
    app = Flask(__name__)
    app.config.update(SECRET_KEY="the office's own secret key", DSN=dsn, TESTING=True)

    @app.before_request
    def load_user() -> None:
        g.user = STAFF.get(session.get("staff", ""))

    @app.route("/sign-in", methods=["GET", "POST"])
    def sign_in() -> str | Response:
        if request.method == "POST":
            session["staff"] = request.form["who"]
            return redirect(request.args.get("next") or url_for("home"))
        return render_template("sign_in.html")

    @app.get("/")
    def home() -> str:
        return render_template("home.html")

    @app.post("/clients")
    def add_client() -> str:
        with psycopg.connect(app.config["DSN"]) as conn:
            conn.execute("INSERT INTO clients VALUES (%s, %s)", [request.form["id"], request.form["name"]])
        return "added"

    @app.errorhandler(404)
    def not_found(_error: Exception) -> tuple[str, int]:
        return "The office has no such page.", 404

    return app


def protect(app: Flask) -> None:
    """What the office's programmer did about forged forms: every POST needs a token."""
    CSRFProtect(app)
