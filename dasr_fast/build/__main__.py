import sys

from dasr_fast.build.command import main

sys.exit(main())
