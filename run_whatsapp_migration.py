"""Print the SQL that sets up WhatsApp Logs, or apply it: see `python run_whatsapp_migration.py --help`."""

from whatsapp_logs.migration_command import main

if __name__ == "__main__":
    raise SystemExit(main())
