"""A server on this machine that gives files, and gives them badly when told to."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """`files` by path. `drop` cuts the first answers off after so many bytes each; `said` replaces lengths in headers."""

    def __init__(self):
        self.files, self.status, self.said, self.to = {}, {}, {}, {}
        self.drop, self.ranges, self.asked = [], True, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def url(self, name):
        return f"{self.address}/{name}"

    def answer(self, h):
        name, given = h.path[1:], h.headers.get("Range")
        self.asked.append((name, given))
        if name in self.to:
            h.send_response(302)
            h.send_header("Location", self.to[name])
            h.end_headers()
            return
        if name not in self.files or name in self.status:
            h.send_error(self.status.get(name, 404))
            return
        data, start = self.files[name], 0
        if given and self.ranges:
            start = int(given.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                h.send_error(416)
                return
            h.send_response(206)
            h.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            h.send_response(200)
        part = data[start:]
        h.send_header("Content-Length", self.said.get(name, len(part)))
        h.end_headers()
        if self.drop:
            part = part[: self.drop.pop(0)]
        with contextlib.suppress(OSError):
            h.wfile.write(part)

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()
