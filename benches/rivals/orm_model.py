"""SQLAlchemy's model of the first portal's table."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The models of the first portal."""


class WhatsAppLog(Base):
    """A row of the first portal's table."""

    __tablename__ = "whatsapp_logs"
    __table_args__ = {"schema": "first_portal"}  # noqa: RUF012 - SQLAlchemy's own word
    log_id: Mapped[int] = mapped_column(primary_key=True)
    message_sid: Mapped[str]
    policy_id: Mapped[int | None]
    client_id: Mapped[int | None]
    phone_number: Mapped[str]
    message_type: Mapped[str]
    message_content: Mapped[str | None]
    media_url: Mapped[str | None]
    status: Mapped[str]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    sent_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    read_at: Mapped[datetime | None]
    last_status_check: Mapped[datetime | None]
    created_by: Mapped[str | None]
    created_at: Mapped[datetime | None]
    updated_at: Mapped[datetime | None]
