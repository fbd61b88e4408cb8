"""`python -m whatsapp_logs …`"""

import sys

from whatsapp_logs.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
