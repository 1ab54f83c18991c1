"""A server that is asked by forms over HTTPS: introspection of tokens (RFC 7662), a token endpoint (RFC 6749)."""

import http.server
import ssl
import threading
import urllib.parse


class FormServer:
    """answer(path, form, authorization) -> (status, body); form: {name: [values]}. All questions are in .asked."""

    def __init__(self, pair, answer, path="/"):
        self.asked, self.answer = [], answer
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                question = (self.path, form, self.headers.get("Authorization"))
                outer.asked.append(question)
                status, body = outer.answer(*question)
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # it did not want to hear all of it

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                pass  # a client that hangs up

        self.server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, pair))
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_port
        self.url = f"https://localhost:{self.port}{path}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
