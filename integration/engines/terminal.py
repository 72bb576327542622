#!/usr/bin/env python3
"""Runs a command on a real terminal and talks to it, as a person would.

    terminal.py COMMAND STEP...

The steps: `see TEXT` waits until it has been printed after what was seen before, `type TEXT` types it (with \\r, \\x03
and the like), `size ROWSxCOLUMNS` resizes the window. At the end it waits for the command; its exit code is the exit
code, everything that was printed is the output.
"""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

PATIENCE = 15  # seconds for each step


class Terminal:
    def __init__(self, command):
        self.printed = b""
        self.seen = 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp("sh", ["sh", "-c", "exec " + command])
        self.size("24x80")

    def read(self):
        """Reads what comes within a second at most; False at the end."""
        if select.select([self.fd], [], [], 1)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # EIO: nobody holds the other side any more
                return False
            self.printed += data
            return bool(data)
        return True

    def see(self, text):
        deadline = time.monotonic() + PATIENCE
        while (found := self.printed.find(text, self.seen)) < 0:
            if not self.read() or time.monotonic() > deadline:
                sys.exit(f"waited for {text!r}, saw {self.printed[self.seen:]!r}")
        self.seen = found + len(text)

    def type(self, text):
        os.write(self.fd, text)
        time.sleep(0.05)  # nobody types faster, and engines read keys one by one

    def size(self, text):
        rows, columns = map(int, text.split("x"))
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self):
        deadline = time.monotonic() + PATIENCE
        while self.read():
            if time.monotonic() > deadline:
                sys.exit(f"the command does not end, saw {self.printed[self.seen:]!r}")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def main():
    terminal = Terminal(sys.argv[1])
    for step in sys.argv[2:]:
        verb, _, text = step.partition(" ")
        if verb == "size":
            terminal.size(text)
        else:
            getattr(terminal, verb)(text.encode().decode("unicode_escape").encode())
    code = terminal.end()
    sys.stdout.buffer.write(terminal.printed)
    sys.exit(code if code >= 0 else 128 - code)


main()
