"""What all tests need of their process."""

import signal

# A shell without job control starts what runs in the background with Ctrl-C ignored, and every child inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
