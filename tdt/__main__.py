"""`python -m tdt` is the `tdt` command."""

import sys

from tdt.commands import main

sys.exit(main())
