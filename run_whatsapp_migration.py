"""Print the SQL that sets up WhatsApp Logs, or apply it: see `python run_whatsapp_migration.py --help`."""

import sys

if __name__ == "__main__":
    try:
        from whatsapp_logs.migration_command import main
    except ImportError as missing:
        sys.exit(f"This Python lacks {missing.name}: use .venv/bin/python, or ./run migrate --sql")
    raise SystemExit(main())
