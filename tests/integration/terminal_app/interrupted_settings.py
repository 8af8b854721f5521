"""Settings during whose import somebody presses Ctrl-C."""

import signal

signal.raise_signal(signal.SIGINT)
