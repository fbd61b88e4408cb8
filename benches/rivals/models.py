"""Django's model of the first portal's table."""

from __future__ import annotations

from django.contrib import admin
from django.db import models


class WhatsAppLog(models.Model):
    """A row of the first portal's table."""

    log_id = models.AutoField(primary_key=True)
    message_sid = models.CharField(max_length=100)
    policy_id = models.IntegerField(null=True)
    client_id = models.IntegerField(null=True)
    phone_number = models.CharField(max_length=20)
    message_type = models.CharField(max_length=50)
    message_content = models.TextField(null=True)
    status = models.CharField(max_length=50)
    error_code = models.CharField(max_length=20, null=True)
    error_message = models.TextField(null=True)
    sent_at = models.DateTimeField(null=True)

    class Meta:
        """The table is the first portal's own."""

        app_label = "rivals"
        managed = False
        db_table = "whatsapp_logs"


class LogAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The list of messages."""

    list_display = (
        "sent_at",
        "phone_number",
        "message_type",
        "status",
        "policy_id",
        "message_content",
        "error_message",
    )
    list_filter = ("status", "message_type")
    search_fields = ("phone_number",)
    ordering = ("-sent_at",)
    list_per_page = 50


admin.site.register(WhatsAppLog, LogAdmin)
