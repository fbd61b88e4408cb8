"""A small insurance portal that uses WhatsApp Logs as any portal would."""
