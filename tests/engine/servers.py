"""Servers that do not do their work: they take connections and say nothing, or greet and say nothing more."""

import contextlib
import http.server
import socketserver
import threading


@contextlib.contextmanager
def silent(greets=False):
    """The address of a server that answers nothing; with `greets`, GET alone."""
    free = threading.Event()

    class Silent(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if not greets:
                free.wait()
            self.send_response(200)
            self.end_headers()

        def do_POST(self):
            free.wait()

        def log_message(self, *_):
            pass

    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads, block_on_close = True, False

    server = Server(("127.0.0.1", 0), Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        free.set()
        server.shutdown()
        server.server_close()
