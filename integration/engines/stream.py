#!/usr/bin/env python3
"""A kubelet's end of a stream of the Container Runtime Interface: exec or attach over a WebSocket.

    stream.py URL [COLUMNSxROWS]

Sends its standard input, after the size of the terminal if there is one, and prints what comes back until the other side
closes. Its exit code is the command's.
"""

import base64
import json
import os
import socket
import struct
import sys
import urllib.parse

PROTOCOL = "v4.channel.k8s.io"
STDIN, STDOUT, STDERR, STATUS, RESIZE = range(5)
BINARY, CLOSE, PING = 2, 8, 9


def connect(url):
    place = urllib.parse.urlsplit(url)
    connection = socket.create_connection((place.hostname, place.port), timeout=30)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n".encode()
    )
    reader = connection.makefile("rb")
    status = reader.readline().decode()
    if " 101 " not in status:
        sys.exit(f"stream: {status.strip()}")
    while reader.readline().strip():
        pass
    return connection, reader


def send(connection, channel, data):
    payload = bytes([channel]) + data
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    connection.sendall(struct.pack("!BBH", 0x80 | BINARY, 0x80 | 126, len(payload)) + mask + masked)


def frames(reader):
    while header := reader.read(2):
        kind, length = header[0] & 0xF, header[1] & 0x7F
        if length >= 126:
            form = "!H" if length == 126 else "!Q"
            (length,) = struct.unpack(form, reader.read(struct.calcsize(form)))
        payload = reader.read(length)
        if kind == CLOSE:
            return
        if kind != PING and payload:
            yield payload[0], payload[1:]


def exit_code(status):
    if status["status"] == "Success":
        return 0
    causes = status.get("details", {}).get("causes", [])
    codes = [cause["message"] for cause in causes if cause["reason"] == "ExitCode"]
    if not codes:
        print(f"stream: {status.get('message')}", file=sys.stderr)
    return int(codes[0]) if codes else 125


def main():
    connection, reader = connect(sys.argv[1])
    if len(sys.argv) > 2:
        width, height = map(int, sys.argv[2].split("x"))
        send(connection, RESIZE, json.dumps({"Width": width, "Height": height}).encode())
    if typed := sys.stdin.buffer.read():
        send(connection, STDIN, typed)
    code = 0
    for channel, data in frames(reader):
        if channel == STATUS:
            code = exit_code(json.loads(data))
        else:
            {STDOUT: sys.stdout, STDERR: sys.stderr}[channel].buffer.write(data)
    sys.stdout.flush()
    sys.exit(code)


main()
